"""A client's contact details: valid, or refused with every reason. Contract: C7.1."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from hoster.catalogue import Company, Smtp
from hoster.clients.contact import Client, client_of
from hoster.errors import ConfigurationError, ExitCode
from hoster.mail.message import compose

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
    "password": "not-a-password",
}
COMPANY = Company(
    name="Exemple Hébergement",
    mail_from="vps@hoster.example",
    support_url="https://support.hoster.example",
    smtp=Smtp(host="mail.hoster.example"),
)


def refused(details: dict[str, Any]) -> list[str]:
    """Return the reasons, one a line."""
    with pytest.raises(ConfigurationError) as caught:
        client_of(details)
    return [line.strip() for line in caught.value.message.splitlines()[1:]]


@pytest.mark.parametrize(
    ("country", "written"),
    [
        ("FR", "01 99 00 12 34"),
        ("FR", "+33 1 99 00 12 34"),
        ("FR", "0033199001234"),
        ("DE", "+33 (0)1 99.00.12.34"),
    ],
)
def test_a_telephone_number_is_kept_in_e164_however_it_is_written(
    details: dict[str, Any], country: str, written: str
) -> None:
    assert "+33199001234" == client_of(details | {"country": country, "phone": written}).phone


def test_the_organisation_is_optional_and_mails_are_french_unless_told(
    details: dict[str, Any],
) -> None:
    client = client_of(details)

    assert (None, "fr") == (client.organisation, client.language)


def test_a_client_does_not_change(ada: Client) -> None:
    with pytest.raises(ValidationError):
        ada.email = "eve@client.example"


@pytest.mark.parametrize(
    ("field", "given", "reason"),
    [
        ("name", "Acme", "name: «Acme» is not a name; one has small letters"),
        ("name", "a-", "name: «a-» is not a name"),
        ("name", "a" * 32, "is not a name"),
        ("last_name", "", "--last-name: is empty"),
        ("first_name", "   ", "--first-name: is empty"),
        ("city", "Paris\nBcc: eve@example.org", "--city: holds a line break"),
        ("street", "1 rue\x85Bcc: eve", "--street: holds a line break"),
        ("street", "1" * 201, "--street: is longer than 200 characters"),
        ("country", "France", "--country: «France» is no ISO 3166-1 alpha-2 country; one is FR"),
        ("country", "fr", "--country: «fr» is no ISO 3166-1 alpha-2 country"),
        ("phone", "call me", "--phone: «call me» is no telephone number; one is +33199001234"),
        ("phone", "12345", "--phone: «12345» is a number that nobody can have in FR"),
        ("email", "ada", "--email: "),
        ("email", "ada@", "--email: "),
        ("email", "élise@client.example", "--email: Internationalized characters"),
        ("email", "ada@client.example, eve@client.example", "--email: "),
        ("language", "de", "--language: «de» is none of fr, en"),
    ],
)
def test_what_is_wrong_is_told_by_its_option_with_what_is_allowed(
    details: dict[str, Any], field: str, given: str, reason: str
) -> None:
    [told] = refused(details | {"phone": "+33199001234", field: given})

    assert reason in told


def test_all_that_is_wrong_is_told_at_once() -> None:
    told = refused({"name": "Acme", "last_name": "", "phone": "12", "email": "ada"})

    assert [
        "--city",
        "--country",
        "--email",
        "--first-name",
        "--last-name",
        "--phone",
        "--postal-code",
        "--street",
        "name",
    ] == sorted(reason.partition(":")[0] for reason in told)


def test_details_that_are_not_valid_are_a_usage_error(details: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client_of(details | {"phone": ""})

    assert ExitCode.USAGE == caught.value.exit_code


def test_a_domain_of_another_script_becomes_the_one_that_mail_servers_know(
    details: dict[str, Any],
) -> None:
    client = client_of(details | {"email": "ada@bücher.example"})

    assert "ada@xn--bcher-kva.example" == client.email


def test_a_space_that_does_not_break_is_a_space(details: dict[str, Any]) -> None:
    assert "1 rue" == client_of(details | {"street": "1\u00a0rue"}).street


@given(st.text(max_size=60), st.text(max_size=60))
@example("Ada", "é <eve@client.example>")
@example("Ada, eve@client.example", "é")
@example(";", "\u00a1")
def test_whatever_a_client_is_called_the_mail_goes_to_the_client_alone(
    first_name: str, last_name: str
) -> None:
    told = {
        "name": "acme",
        "last_name": last_name,
        "first_name": first_name,
        "street": "1 rue de l'Exemple",
        "postal_code": "75010",
        "city": "Paris",
        "country": "FR",
        "phone": "+33199001234",
        "email": "ada@client.example",
    }
    try:
        client = client_of(told)
    except ConfigurationError:
        return

    message = compose(
        "delivery",
        client=client,
        company=COMPANY,
        values=VALUES,
        message_id="<1@hoster>",
        date=datetime(2026, 3, 1, tzinfo=UTC),
    )

    read = message_from_bytes(message.as_bytes(), policy=policy.default)
    assert ["ada@client.example"] == [each.addr_spec for each in read["To"].addresses]
    assert read["Bcc"] is None
    assert read["Cc"] is None
