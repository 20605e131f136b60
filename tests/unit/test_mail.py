"""What a client reads, and what a mail server's answer means. Contract: C4.2, C4.4, C6.3, C14.1."""

from __future__ import annotations

import itertools
import socket
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import UndefinedError

from hoster.catalogue import Company, Smtp
from hoster.clients.contact import Client, client_of
from hoster.errors import ConfigurationError
from hoster.incidents.measures import KINDS, SUSPENSIONS, TERMINATIONS
from hoster.mail.message import MailNotTakenError, compose, send
from hoster.templates import folder, moment, volume

if TYPE_CHECKING:
    from conftest import CertificateAuthority, MailServer

EXPECTED = Path(__file__).parent / "cases" / "mail"
VALUES = {
    "vps": "acme/web",
    "ipv4": "203.0.113.17",
    "city": "Paris",
    "country": "FR",
    "plan": "KVM 2",
    "vcpus": 2,
    "memory_mib": 2048,
    "disk_gib": 20,
    "image": "Debian 12",
    "user": "debian",
    "password": "aaaaa-bbbbb-ccccc-ddddd-eeeee",
}


@pytest.fixture
def message(ada: Client, company: Company, now: datetime) -> EmailMessage:
    return composed(ada, company, now)


def composed(client: Client, company: Company, now: datetime, **values: Any) -> EmailMessage:
    return compose(
        "delivery",
        client=client,
        company=company,
        values=VALUES | values,
        message_id="<1@hoster>",
        date=now,
    )


@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_delivery_mail_reads_as_it_was_approved(
    details: dict[str, Any], company: Company, now: datetime, language: str
) -> None:
    client = client_of(details | {"language": language})

    message = composed(client, company, now)

    approved = (EXPECTED / f"delivery-{language}.txt").read_text(encoding="utf-8")
    assert approved == f"{message['Subject']}\n{message.get_content()}"


@pytest.mark.parametrize("missing", sorted(VALUES))
@pytest.mark.parametrize("language", ["fr", "en"])
def test_a_mail_with_a_gap_is_not_made(
    details: dict[str, Any], company: Company, now: datetime, language: str, missing: str
) -> None:
    with pytest.raises(UndefinedError, match=missing):
        compose(
            "delivery",
            client=client_of(details | {"language": language}),
            company=company,
            values={key: value for key, value in VALUES.items() if key != missing},
            message_id="<1@hoster>",
            date=now,
        )


def test_the_headers_say_who_to_whom_and_that_no_person_wrote_it(message: EmailMessage) -> None:
    assert {
        "From": "Exemple Hébergement <vps@hoster.example>",
        "To": "Ada Martin <ada@client.example>",
        "Subject": "Votre VPS acme/web est prêt",
        "Date": "Sun, 01 Mar 2026 09:30:00 +0000",
        "Message-ID": "<1@hoster>",
        "Auto-Submitted": "auto-generated",
        "Content-Language": "fr",
        "Content-Type": 'text/plain; charset="utf-8"',
    } == {
        name: value
        for name, value in message.items()
        if name not in {"MIME-Version", "Content-Transfer-Encoding"}
    }


def test_a_mail_crosses_any_mail_server_in_ascii(message: EmailMessage) -> None:
    assert message.as_bytes().isascii()


def test_a_mail_arrives_as_it_was_made(
    message: EmailMessage, company: Company, mail_server: MailServer
) -> None:
    send(message, company.smtp)

    [taken] = mail_server.taken
    assert (message["Subject"], message["Message-ID"]) == (taken["Subject"], taken["Message-ID"])
    assert message.get_content().splitlines() == taken.get_content().splitlines()


@pytest.mark.parametrize(
    ("answer", "final"),
    [("451 try later", False), ("550 nobody of that name", True), ("552 too much", True)],
)
@pytest.mark.parametrize("where", ["answer", "answer_to_recipient"])
def test_the_answer_says_whether_to_try_again(
    message: EmailMessage,
    company: Company,
    mail_server: MailServer,
    where: str,
    answer: str,
    final: bool,
) -> None:
    setattr(mail_server, where, answer)

    with pytest.raises(MailNotTakenError) as caught:
        send(message, company.smtp)

    assert (answer, final) == (str(caught.value), caught.value.final)
    assert [] == mail_server.taken


def test_a_mail_server_that_is_away_is_tried_again(
    message: EmailMessage, company: Company, mail_server: MailServer
) -> None:
    mail_server.stop()
    try:
        with pytest.raises(MailNotTakenError) as caught:
            send(message, company.smtp)
    finally:
        mail_server.start()

    assert not caught.value.final
    assert f"127.0.0.1:{mail_server.port}" in str(caught.value)


def test_a_server_without_starttls_gets_nothing_where_it_is_asked_for(
    message: EmailMessage, company: Company, mail_server: MailServer
) -> None:
    with pytest.raises(MailNotTakenError) as caught:
        send(message, company.smtp.model_copy(update={"starttls": True}))

    assert "STARTTLS" in str(caught.value)
    assert not caught.value.final
    assert [] == mail_server.taken


def test_a_mail_goes_over_tls_where_starttls_is_asked_for(
    message: EmailMessage,
    company: Company,
    mail_server: MailServer,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    mail_server.require_starttls(authority.server_context())

    send(message, company.smtp.model_copy(update={"starttls": True}))

    assert ["TLSv1.3"] == mail_server.tls_versions
    assert [message["Message-ID"]] == [taken["Message-ID"] for taken in mail_server.taken]


def test_a_server_that_requires_starttls_takes_nothing_in_the_clear(
    message: EmailMessage,
    company: Company,
    mail_server: MailServer,
    authority: CertificateAuthority,
) -> None:
    mail_server.require_starttls(authority.server_context())

    with pytest.raises(MailNotTakenError, match="530 Must issue a STARTTLS command first"):
        send(message, company.smtp)

    assert [] == mail_server.taken


@pytest.mark.parametrize(
    ("trusted", "name", "reason"),
    [
        ("other_authority", "IP:127.0.0.1", "unable to get local issuer certificate"),
        ("authority", "DNS:other.hoster.example", "IP address mismatch"),
    ],
)
def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    request: pytest.FixtureRequest,
    message: EmailMessage,
    company: Company,
    mail_server: MailServer,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    trusted: str,
    name: str,
    reason: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(request.getfixturevalue(trusted).certificate))
    mail_server.require_starttls(authority.server_context(name))

    with pytest.raises(MailNotTakenError) as caught:
        send(message, company.smtp.model_copy(update={"starttls": True}))

    assert f"127.0.0.1:{mail_server.port}: " in str(caught.value)
    assert "certificate verify failed" in str(caught.value)
    assert reason in str(caught.value)
    assert not caught.value.final  # the server's certificate can be put right
    assert [] == mail_server.taken


def test_a_server_that_never_speaks_is_left_after_a_while(
    message: EmailMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hoster.mail.message.TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        smtp = Smtp(host="127.0.0.1", port=silent.getsockname()[1], starttls=False)

        with pytest.raises(MailNotTakenError, match="timed out"):
            send(message, smtp)


@pytest.mark.parametrize(
    ("password_file", "reason"),
    [(None, "no password_file"), ("/nonexistent/password", "No such file")],
)
def test_a_user_without_a_password_is_a_matter_of_the_inventory(
    message: EmailMessage, company: Company, password_file: str | None, reason: str
) -> None:
    smtp = company.smtp.model_copy(update={"user": "vps", "password_file": password_file})

    with pytest.raises(ConfigurationError, match=reason):
        send(message, smtp)


def test_no_answer_repeats_the_password(
    message: EmailMessage, company: Company, mail_server: MailServer
) -> None:
    mail_server.answer = "550 no"

    with pytest.raises(MailNotTakenError) as caught:
        send(message, company.smtp)

    assert VALUES["password"] not in str(caught.value)


TEMPLATES = sorted(path.name for path in (folder() / "mail" / "en").glob("*.txt.j2"))
EVERY_VALUE: dict[str, Any] = VALUES | {
    "at": "2026-03-15T10:00:00+00:00",
    "timezone": "Europe/Paris",
    "bytes": 8_120_000_000_000,
    "quota_bytes": 10**13,
    "throttle_mbit_s": 1,
    "cycle_end": "2026-04-01T00:00:00+02:00",
    "ground": "hacked",
    "incident": 17,
    "reinstall": True,
    "expected_until": "2026-03-16T10:00:00+00:00",
    "left": ["unpaid", "spam"],
    "vpss": ["acme/web", "acme/db"],
    "about": "debian-12",
    "what": "openssl, DSA-5999",
    "until": "2026-03-15T12:00:00+00:00",
    "announcement": 4,
    "former_until": "2026-03-22T10:00:00+00:00",
    "hours": 72,
}


def test_every_mail_is_there_in_both_languages() -> None:
    assert TEMPLATES == sorted(path.name for path in (folder() / "mail" / "fr").glob("*.txt.j2"))


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_mail_is_rendered_with_every_value(
    details: dict[str, Any], company: Company, now: datetime, language: str, template: str
) -> None:
    """C4.10, C6.1, C7.4: whatever it is about, whole sentences; nothing is left of a template."""
    client = client_of(details | {"language": language})
    less = {
        "reinstall": False,
        "expected_until": None,
        "left": [],
        "what": "",
        "former_until": None,
    }
    for ground, other in itertools.product(KINDS | SUSPENSIONS | TERMINATIONS, ({}, less)):
        message = compose(
            template.removesuffix(".txt.j2"),
            client=client,
            company=company,
            values=EVERY_VALUE | {"ground": ground} | other,
            message_id="<1@hoster>",
            date=now,
        )
        text = message.get_content()
        assert 10 < len(message["Subject"]) < 100
        about = "Martin" if template.startswith("proof") else "acme/web"
        assert about in f"{message['Subject']}\n{text}"
        assert not any(left in text for left in ("{{", "{%", "None", "\n\n\n"))
        assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize(
    ("language", "day", "amount"),
    [
        ("en", "15 March 2026, 11:00 (Europe/Paris)", "8.12 TB"),
        ("fr", "15 mars 2026, 11:00 (Europe/Paris)", "8,12 To"),
    ],
)
def test_times_and_volumes_are_the_readers(language: str, day: str, amount: str) -> None:
    assert day == moment("2026-03-15T10:00:00+00:00", "Europe/Paris", language)
    assert "12:00" in moment("2026-07-15T10:00:00+00:00", "Europe/Paris", language)
    assert amount == volume(8_120_000_000_000, language)
    assert amount[-1] == volume(999, language)[-1]
    assert volume(2 * 10**9, language).startswith("2 G")


@pytest.mark.parametrize(("language", "day"), [("en", "23 November"), ("fr", "23 novembre")])
def test_a_day_is_that_of_the_readers_clock(language: str, day: str) -> None:
    """C4.10: before midnight in UTC, after it in Paris; there also in the night of the clocks."""
    assert f"{day} 2026, 00:30 (Europe/Paris)" == moment(
        "2026-11-22T23:30:00+00:00", "Europe/Paris", language
    )
    for utc, paris in (("00:30", "02:30"), ("01:30", "02:30"), ("02:30", "03:30")):
        assert f", {paris} (" in moment(f"2026-10-25T{utc}:00+00:00", "Europe/Paris", language)
