"""A client is told once, and one that is not known here hinders nothing: every mail's caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from hoster.clients.announcements import Kind
from hoster.errors import ConfigurationError
from hoster.ledger import Ledger
from hoster.ledger._outbox import tell
from hoster.wire.events import NodeEvent

ZONE = "Europe/Paris"
QUOTA: dict[str, Any] = {
    "ipv4": "203.0.113.17",
    "timezone": ZONE,
    "bytes": 8 * 10**12,
    "quota_bytes": 10**13,
    "throttle_mbit_s": 1,
    "cycle_end": "2026-04-01T00:00:00+02:00",
}
AT = datetime(2026, 3, 10, tzinfo=UTC)


def announce(ledger: Ledger, now: datetime, client: str) -> object:
    told = ledger.announcements.announce(
        Kind.MAINTENANCE, "paris-1", [f"{client}/web"], now, at=AT, timezone=ZONE
    )
    return told.clients, told.unknown


def remind(ledger: Ledger, now: datetime, client: str) -> object:
    told = ledger.announcements.announce(
        Kind.UPDATE, "debian-12", [f"{client}/web"], now, at=AT, timezone=ZONE
    )
    again = ledger.announcements.remind(
        told.announcement.id, now, today=date(2026, 3, 5), timezone=ZONE
    )
    return again.clients, again.unknown


def confirm(ledger: Ledger, now: datetime, client: str) -> object:
    number = ledger.measures.suspend(f"{client}/web", "unpaid", "", now).measure.id
    [done] = ledger.measures.confirm([number], now, ZONE)
    return done.changed, done.told


def terminate(ledger: Ledger, now: datetime, client: str) -> object:
    ledger.terminations.begin(f"{client}/web", "request", "", {"ipv4": "203.0.113.17"}, now)
    return ledger.terminations.finish(f"{client}/web", ZONE, now)


def keep(ledger: Ledger, now: datetime, client: str) -> object:
    stream, anew = ("a" * 32, "b" * 32) if client == "acme" else ("c" * 32, "d" * 32)
    page = [
        NodeEvent(
            stream=stream,
            number=number,
            at=now,
            kind="quota-80",
            subject=f"{client}/web",
            details=QUOTA,
        )
        for number in (1, 2)
    ]
    kept = ledger.node_events.keep("paris-1", page, now)
    # A node whose state was lost tells the same under another stream.
    same = [replace(one, stream=anew) for one in page]
    again = ledger.node_events.keep("paris-1", same, now)
    return len(kept.mails), kept.unknown, len(again.mails), again.unknown


def demand(ledger: Ledger, now: datetime, client: str) -> object:
    return ledger.proofs.demand(client, "", now, hours=72, timezone=ZONE)


def settle(ledger: Ledger, now: datetime, client: str) -> object:
    demand(ledger, now, client)
    return ledger.proofs.settle(client, "", now)


CALLERS = [
    # who tells, what it says the first time and again, the mails, what it says for a stranger
    (announce, (("acme",), ()), ((), ()), ["maintenance"], ((), ("nobody",))),
    (remind, (("acme",), ()), ((), ()), ["update", "update-reminder"], ((), ("nobody",))),
    (confirm, (True, True), (False, True), ["suspend-in-force"], (True, False)),
    (terminate, True, False, ["terminated"], True),
    (keep, (1, (), 0, ()), (0, (), 0, ()), ["quota-80"], (0, ("nobody",), 0, ("nobody",))),
    (demand, True, False, ["proof-demanded"], ConfigurationError),
    (settle, True, True, ["proof-demanded", "proof-settled"] * 2, ConfigurationError),
]


@pytest.mark.parametrize(
    ("act", "first", "again", "mails", "stranger"),
    CALLERS,
    ids=[each[0].__name__ for each in CALLERS],
)
def test_each_tells_once_and_passes_over_who_is_not_known(
    ledger: Ledger,
    now: datetime,
    act: Callable[[Ledger, datetime, str], object],
    first: object,
    again: object,
    mails: list[str],
    stranger: object,
) -> None:
    assert [first, again] == [act(ledger, now, "acme") for _ in range(2)]
    assert mails == [mail.template for mail in ledger.outbox.mails()]

    if stranger is ConfigurationError:
        with pytest.raises(ConfigurationError, match="no client nobody"):
            act(ledger, now, "nobody")
    else:
        assert stranger == act(ledger, now, "nobody")
    assert mails == [mail.template for mail in ledger.outbox.mails()]


def test_an_occasion_is_told_once_to_who_is_known(ledger: Ledger, now: datetime) -> None:
    def told(occasion: str, client: str) -> bool:
        with ledger._sessions.transaction() as session:
            return tell(session, occasion, now, client=client, template="any", values={})

    said = [told("a", "acme"), told("a", "acme"), told("b", "acme"), told("c", "nobody")]

    assert [True, False, True, False] == said
    assert ["a", "b"] == [mail.occasion for mail in ledger.outbox.mails()]


def test_codes_that_would_reach_nobody_are_not_handed_over(ledger: Ledger, now: datetime) -> None:
    """C4.2: such a mail carries the only copy; passing it over in silence would lose it."""
    ledger.orders.begin("nobody/web", IPv4Address("203.0.113.17"), user="debian", now=now)

    with pytest.raises(IntegrityError):
        ledger.orders.deliver("nobody/web", {}, now)


def test_a_vps_that_came_after_a_reminder_waits_for_the_next_day(
    ledger: Ledger, now: datetime
) -> None:
    """C7.3: its client hears of it once a day, and of it only counts what was said of it."""

    def announced(*vpss: str) -> int:
        return ledger.announcements.announce(
            Kind.UPDATE, "debian-12", vpss, now, at=AT, timezone=ZONE
        ).announcement.id

    def reminded(day: int) -> tuple[str, ...]:
        today = date(2026, 3, day)
        return ledger.announcements.remind(number, now, today=today, timezone=ZONE).clients

    number = announced("acme/web")
    assert ("acme",) == reminded(5)
    announced("acme/web", "acme/db")
    assert () == reminded(5)
    [known] = ledger.announcements.all()
    assert {"acme/db": 0, "acme/web": 1} == {one.vps: one.reminders for one in known.concerned}
    assert ("acme",) == reminded(6)
    assert ["acme/db", "acme/web"] == ledger.outbox.mails()[-1].values["vpss"]


def test_a_lifted_measure_is_told_by_itself(ledger: Ledger, now: datetime) -> None:
    number = ledger.measures.suspend("acme/web", "unpaid", "", now).measure.id
    ledger.measures.confirm([number], now, ZONE)
    ledger.measures.resume("acme/web", "unpaid", "", now + timedelta(hours=1))
    for _ in range(2):
        ledger.measures.confirm([number], now, ZONE)

    occasions = [mail.occasion for mail in ledger.outbox.mails()]
    assert [f"measure:{number}:in-force", f"measure:{number}:lifted"] == occasions
