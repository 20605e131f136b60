"""Each mail once; later where the mail server is away. Contract: C4.2."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.message import EmailMessage
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from hoster.catalogue import Company
from hoster.ledger import FAILED, QUEUED, SENT, Ledger
from hoster.mail import message as mail
from hoster.mail.outbox import LEASE, LONGEST_PAUSE, MOST_ATTEMPTS, pause, send_due

if TYPE_CHECKING:
    from conftest import MailServer

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
}
OCCASION = "delivery:acme/web"


class Clock:
    """Says what time it is, and can be put forward."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Killed(BaseException):
    """The sender's end, between two of its steps: nothing catches it."""


@pytest.fixture
def clock(now: datetime) -> Clock:
    return Clock(now)


@pytest.fixture
def due(ledger: Ledger, now: datetime) -> Ledger:
    """A ledger with one mail that is due."""
    ledger.orders.begin("acme/web", IPv4Address("203.0.113.17"), user="debian", now=now)
    ledger.orders.deliver("acme/web", VALUES, now)
    return ledger


def state(ledger: Ledger) -> tuple[str, int]:
    [mail] = ledger.outbox.mails()
    return mail.state, mail.attempts


def test_a_due_mail_is_sent_once_with_its_codes(
    due: Ledger, company: Company, clock: Clock, mail_server: MailServer
) -> None:
    [waiting] = due.outbox.mails()
    codes = due.outbox.codes_of(waiting)
    assert codes is not None

    first = send_due(due, company, clock)
    second = send_due(due, company, clock)

    assert ([OCCASION], []) == (first.sent, second.sent)
    [taken] = mail_server.taken
    assert waiting.message_id == taken["Message-ID"]
    assert "debian@203.0.113.17" in taken.get_content()
    assert codes.password in taken.get_content()


def test_a_mail_waits_for_a_server_that_is_away(
    due: Ledger, company: Company, clock: Clock, mail_server: MailServer
) -> None:
    mail_server.stop()
    report = send_due(due, company, clock)
    mail_server.start()

    assert [OCCASION] == list(report.later)
    assert [] == send_due(due, company, clock).sent  # not due again yet
    clock.now += timedelta(minutes=1)
    assert [OCCASION] == send_due(due, company, clock).sent
    assert 1 == len(mail_server.taken)


def test_a_mail_that_is_put_off_is_sent_later(
    due: Ledger, company: Company, clock: Clock, mail_server: MailServer
) -> None:
    mail_server.answer = "451 greylisted"
    assert {OCCASION: "451 greylisted"} == send_due(due, company, clock).later

    mail_server.answer = "250 OK"
    clock.now += timedelta(minutes=1)

    assert [OCCASION] == send_due(due, company, clock).sent
    assert (SENT, 2) == state(due)


def test_a_mail_that_is_refused_for_good_fails_with_the_servers_words(
    due: Ledger, company: Company, clock: Clock, mail_server: MailServer
) -> None:
    mail_server.answer_to_recipient = "550 nobody of that name"

    report = send_due(due, company, clock)

    assert {OCCASION: "550 nobody of that name"} == report.failed
    assert (FAILED, 1) == state(due)
    assert "550 nobody of that name" == due.outbox.mails()[0].last_error
    clock.now += timedelta(days=365)
    assert [] == send_due(due, company, clock).sent


def test_a_failed_mail_still_has_its_password_for_a_retry(
    due: Ledger, company: Company, clock: Clock, mail_server: MailServer
) -> None:
    mail_server.answer_to_recipient = "550 nobody of that name"
    send_due(due, company, clock)
    mail_server.answer_to_recipient = "250 OK"

    due.outbox.retry(due.outbox.mails()[0].id, clock.now)

    assert [OCCASION] == send_due(due, company, clock).sent


def test_a_mail_that_nobody_takes_is_given_up_in_the_end(
    due: Ledger, company: Company, clock: Clock, mail_server: MailServer
) -> None:
    mail_server.answer = "451 later"
    while due.outbox.mails()[0].state == QUEUED:
        send_due(due, company, clock)
        clock.now += LONGEST_PAUSE

    assert (FAILED, MOST_ATTEMPTS) == state(due)


def test_a_pause_doubles_from_a_minute_to_four_hours() -> None:
    assert [1, 2, 4, 8] == [pause(attempts).total_seconds() / 60 for attempts in (1, 2, 3, 4)]
    assert timedelta(hours=4) == pause(MOST_ATTEMPTS) == LONGEST_PAUSE


def test_a_mail_is_tried_for_about_four_days() -> None:
    tried_for = sum((pause(attempts) for attempts in range(1, MOST_ATTEMPTS)), timedelta())

    assert timedelta(days=3) < tried_for < timedelta(days=5)


def test_one_mail_that_is_refused_holds_up_no_other(
    due: Ledger, company: Company, clock: Clock
) -> None:
    due.orders.begin("acme/mail", IPv4Address("203.0.113.18"), user="debian", now=clock.now)
    due.orders.deliver("acme/mail", VALUES | {"vps": "acme/mail"}, clock.now)
    taken: list[str] = []

    def sender(message: EmailMessage) -> None:
        if "acme/web" in message["Subject"]:
            raise mail.MailNotTakenError("550 no", final=True)
        taken.append(message["Subject"])

    report = send_due(due, company, clock, sender=sender)

    assert (["delivery:acme/mail"], [OCCASION]) == (report.sent, list(report.failed))
    assert ["Votre VPS acme/mail est prêt"] == taken


def test_a_sender_that_dies_before_the_server_took_the_mail_loses_none(
    due: Ledger, company: Company, clock: Clock, mail_server: MailServer
) -> None:
    def dies(_message: EmailMessage) -> None:
        raise Killed

    with pytest.raises(Killed):
        send_due(due, company, clock, sender=dies)

    assert [] == send_due(due, company, clock).sent  # the dead sender's claim still holds
    clock.now += LEASE
    assert [OCCASION] == send_due(due, company, clock).sent
    assert 1 == len(mail_server.taken)


def test_a_sender_that_dies_after_the_server_took_the_mail_repeats_it_recognisably(
    due: Ledger, company: Company, clock: Clock, mail_server: MailServer
) -> None:
    def dies_afterwards(message: EmailMessage) -> None:
        mail.send(message, company.smtp)
        raise Killed

    with pytest.raises(Killed):
        send_due(due, company, clock, sender=dies_afterwards)
    clock.now += LEASE
    send_due(due, company, clock)

    first, second = mail_server.taken
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Date"] == second["Date"]
    assert first.get_content() == second.get_content()
