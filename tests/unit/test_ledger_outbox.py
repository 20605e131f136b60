"""Mails in the ledger, and what stays of a password. Contract: C4.2."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from sqlalchemy import Engine

from hoster.clients.contact import Client
from hoster.errors import ConfigurationError, RuleError
from hoster.ledger import FAILED, SENT, Ledger
from hoster.ledger.tables import Base

EngineOf = Callable[[str], Engine]
Events = Callable[[str], list[tuple[str, str]]]
SideBySide = Callable[[str, list[list[str]]], list[str]]
LEASE = timedelta(minutes=5)
WEB = IPv4Address("203.0.113.17")
VALUES = {"vps": "acme/web", "ipv4": str(WEB)}


def test_a_claimed_mail_is_nobody_elses_until_the_claim_runs_out(
    delivered: Ledger, now: datetime
) -> None:
    first = delivered.outbox.claim(now, LEASE)

    assert first is not None
    assert delivered.outbox.claim(now + LEASE - timedelta(seconds=1), LEASE) is None
    again = delivered.outbox.claim(now + LEASE, LEASE)
    assert again is not None
    assert (1, 2, first.message_id) == (first.attempts, again.attempts, again.message_id)


CLAIM = """
import sys
from datetime import UTC, datetime, timedelta
from hoster.ledger import Ledger

with Ledger.open(sys.argv[1]) as ledger:
    while mail := ledger.outbox.claim(datetime.now(UTC), timedelta(minutes=5)):
        print(mail.id)
"""


def test_two_senders_at_once_claim_each_mail_once(
    ledger: Ledger, ledger_url: str, now: datetime, side_by_side: SideBySide
) -> None:
    for number in range(6):
        ledger.orders.begin(f"acme/v{number}", WEB + number, user="debian", now=now)
        ledger.orders.deliver(f"acme/v{number}", VALUES, now)

    said = side_by_side(CLAIM, [[ledger_url]] * 2)

    assert sorted(str(mail.id) for mail in ledger.outbox.mails()) == sorted("".join(said).split())


def test_a_sent_mail_takes_its_password_along(delivered: Ledger, now: datetime) -> None:
    mail = delivered.outbox.claim(now, LEASE)
    assert mail is not None
    assert delivered.outbox.codes_of(mail) is not None

    delivered.outbox.mark_sent(mail, now)

    assert [(SENT, now)] == [(each.state, each.sent_at) for each in delivered.outbox.mails()]
    with pytest.raises(RuleError, match="were sent before"):
        delivered.outbox.codes_of(mail)


def test_a_sender_whose_claim_ran_out_brings_no_sent_mail_back(
    delivered: Ledger, now: datetime
) -> None:
    slow = delivered.outbox.claim(now, LEASE)
    quick = delivered.outbox.claim(now + LEASE, LEASE)
    assert slow is not None
    assert quick is not None
    delivered.outbox.mark_sent(quick, now + LEASE)

    delivered.outbox.mark_refused(slow, "421 too slow", now + LEASE, again_at=now + LEASE)

    assert [(SENT, None)] == [(each.state, each.last_error) for each in delivered.outbox.mails()]
    assert delivered.outbox.claim(now + 10 * LEASE, LEASE) is None


def test_a_retry_lets_no_earlier_sender_bring_a_sent_mail_back(
    delivered: Ledger, now: datetime
) -> None:
    slow = delivered.outbox.claim(now, LEASE)
    assert slow is not None
    delivered.outbox.retry(slow.id, now)  # counts the attempts from the start again
    quick = delivered.outbox.claim(now + LEASE, LEASE)
    assert quick is not None
    delivered.outbox.mark_sent(quick, now + LEASE)

    delivered.outbox.mark_refused(slow, "421 too slow", now + LEASE, again_at=now + LEASE)

    assert SENT == delivered.outbox.mails()[0].state


def test_a_sender_whose_claim_ran_out_takes_no_mail_from_the_next(
    delivered: Ledger, now: datetime
) -> None:
    slow = delivered.outbox.claim(now, LEASE)
    assert slow is not None
    assert delivered.outbox.claim(now + LEASE, LEASE) is not None

    delivered.outbox.mark_refused(slow, "421 too slow", now + LEASE, again_at=now + LEASE)

    assert delivered.outbox.claim(now + LEASE, LEASE) is None


def test_a_refused_mail_waits_until_it_is_due_again(delivered: Ledger, now: datetime) -> None:
    mail = delivered.outbox.claim(now, LEASE)
    assert mail is not None
    due = now + timedelta(minutes=1)

    delivered.outbox.mark_refused(mail, "451 later", now, again_at=due)

    assert delivered.outbox.claim(due - timedelta(seconds=1), LEASE) is None
    assert delivered.outbox.claim(due, LEASE) is not None


def test_a_mail_that_failed_is_tried_again_when_a_person_says_so(
    delivered: Ledger, ledger_url: str, now: datetime, events: Events
) -> None:
    mail = delivered.outbox.claim(now, LEASE)
    assert mail is not None
    delivered.outbox.mark_refused(mail, "550 nobody", now, again_at=None)
    assert FAILED == delivered.outbox.mails()[0].state
    assert delivered.outbox.claim(now + timedelta(days=30), LEASE) is None

    delivered.outbox.retry(mail.id, now)

    assert delivered.outbox.claim(now, LEASE) is not None
    assert ["mail-failed", "mail-retried"] == [kind for kind, _ in events(ledger_url)][-2:]


def test_a_sent_mail_is_not_sent_again(delivered: Ledger, now: datetime) -> None:
    mail = delivered.outbox.claim(now, LEASE)
    assert mail is not None
    delivered.outbox.mark_sent(mail, now)

    with pytest.raises(RuleError, match="was sent on 2026-03-01 09:30 UTC"):
        delivered.outbox.retry(mail.id, now)


def test_a_mail_that_there_is_not_cannot_be_tried_again(ledger: Ledger, now: datetime) -> None:
    with pytest.raises(ConfigurationError, match="the outbox has no mail 17"):
        ledger.outbox.retry(17, now)


def test_a_sent_password_is_in_no_byte_of_the_files(
    tmp_path: Path, ada: Client, now: datetime
) -> None:
    folder = tmp_path / "ledger"

    def held(secret: str) -> list[str]:
        return sorted(
            file.name for file in folder.iterdir() if secret.encode() in file.read_bytes()
        )

    with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}") as ledger:
        ledger.clients.add(ada, now)
        secret = ledger.orders.begin("acme/web", WEB, user="debian", now=now).password
        # Kept for its mail: without this, the search below would prove nothing.
        assert held(secret)
        ledger.orders.deliver("acme/web", VALUES, now)
        mail = ledger.outbox.claim(now, LEASE)
        assert mail is not None

        ledger.outbox.mark_sent(mail, now)

        assert [] == held(secret)
    assert [] == held(secret)


def test_a_sent_password_is_in_no_table(
    delivered: Ledger, ledger_url: str, now: datetime, engine_of: EngineOf
) -> None:
    mail = delivered.outbox.claim(now, LEASE)
    assert mail is not None
    codes = delivered.outbox.codes_of(mail)
    assert codes is not None

    delivered.outbox.mark_sent(mail, now)

    engine = engine_of(ledger_url)
    with engine.connect() as connection:
        rows = [
            str(row)
            for table in Base.metadata.tables.values()
            for row in connection.execute(table.select())
        ]
    engine.dispose()
    assert [] == [row for row in rows if codes.password in row]
    assert 1 == len([row for row in rows if codes.password_hash in row])
