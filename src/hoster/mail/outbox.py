"""Sends the mails that the ledger holds: each once, later where the mail server is away."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from hoster.mail.message import MailNotTakenError, compose, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from email.message import EmailMessage

    from hoster.catalogue import Company
    from hoster.ledger import Ledger, Mail

LEASE = timedelta(minutes=5)
"""How long a mail belongs to the sender that claimed it; longer than any sending takes."""
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=4)
MOST_ATTEMPTS = 30
"""About four days with these pauses; then a person has to look (`hoster outbox`)."""


@dataclass
class Report:
    """What became of the due mails, by their occasion."""

    sent: list[str] = field(default_factory=list)
    later: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def pause(attempts: int) -> timedelta:
    """Return how long to wait after *attempts* attempts: doubling from a minute to four hours."""
    from tenacity import RetryCallState, Retrying, wait_exponential

    policy = wait_exponential(
        multiplier=FIRST_PAUSE.total_seconds(), max=LONGEST_PAUSE.total_seconds()
    )
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempts
    return timedelta(seconds=policy(state))


def send_due(
    ledger: Ledger,
    company: Company,
    clock: Callable[[], datetime],
    *,
    sender: Callable[[EmailMessage], None] | None = None,
) -> Report:
    """Send every mail that is due and return what became of each.

    A mail is claimed before it is sent and marked after it was taken. Between the two a crash can
    repeat it once the claim has run out, under the same Message-ID; it is never lost.
    """
    hand_over = sender or (lambda message: send(message, company.smtp))
    report = Report()
    while (mail := ledger.outbox.claim(clock(), LEASE)) is not None:
        _send_one(ledger, company, mail, clock=clock, hand_over=hand_over, report=report)
    return report


def _send_one(
    ledger: Ledger,
    company: Company,
    mail: Mail,
    *,
    clock: Callable[[], datetime],
    hand_over: Callable[[EmailMessage], None],
    report: Report,
) -> None:
    message = _message(ledger, company, mail)
    try:
        hand_over(message)
    except MailNotTakenError as error:
        final = error.final or mail.attempts >= MOST_ATTEMPTS
        again_at = None if final else clock() + pause(mail.attempts)
        ledger.outbox.mark_refused(mail, str(error), clock(), again_at=again_at)
        (report.failed if final else report.later)[mail.occasion] = str(error)
    else:
        ledger.outbox.mark_sent(mail, clock())
        report.sent.append(mail.occasion)


def _message(ledger: Ledger, company: Company, mail: Mail) -> EmailMessage:
    codes = ledger.outbox.codes_of(mail)
    secrets = {"user": codes.user, "password": codes.password} if codes else {}
    return compose(
        mail.template,
        client=ledger.clients.named(mail.client),
        company=company,
        values=mail.values | secrets,
        message_id=mail.message_id,
        date=mail.queued_at,
    )
