"""One unit of work: all of it or nothing, and what is read in it sees what was written in it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from ipaddress import IPv4Address
from threading import Thread

import pytest

from hoster.catalogue import IncidentPolicy
from hoster.clients.announcements import Kind
from hoster.errors import RuleError
from hoster.incidents.situation import State
from hoster.ledger import SENT, Ledger

LEASE = timedelta(minutes=5)
WEB = "acme/web"
ZONE = "Europe/Paris"


class StoppedError(Exception):
    """What ends a unit of work in its middle."""


def kept(ledger: Ledger) -> list[str]:
    """The grounds of all measures that are kept."""
    return [each.ground for each in ledger.measures.all()]


def test_a_read_in_a_unit_of_work_sees_its_writes(ledger: Ledger, now: datetime) -> None:
    with ledger.together():
        number = ledger.measures.quarantine(WEB, "hacked", "serious", now).measure.id
        assert State.CUT == ledger.measures.situation(WEB).state
        assert ["hacked"] == [each.kind for each in ledger.incidents.all(WEB, open_only=True)]
        ledger.measures.confirm([number], now, ZONE)
        assert ["quarantine-in-force"] == [mail.template for mail in ledger.outbox.mails()]
        ledger.proofs.demand("acme", "", now, hours=72, timezone=ZONE)
        assert [True] == [each.is_open for each in ledger.proofs.demands("acme")]
        ledger.terminations.begin(WEB, "request", "", {}, now)
        assert [WEB] == [each.vps for each in ledger.terminations.all()]
        assert "termination-wanted" == ledger.trail.entries(limit=1)[0].kind
        assert ledger.trail.verify().broken is None


def test_others_see_nothing_of_it_before_its_end(
    ledger: Ledger, ledger_url: str, now: datetime
) -> None:
    """Nor does another thread with the same ledger: `hoster collect` asks its nodes in many."""
    seen: list[list[str]] = []
    with Ledger.open(ledger_url) as other:
        with ledger.together():
            ledger.measures.suspend(WEB, "unpaid", "", now)
            seen.append(kept(other))
            thread = Thread(target=lambda: seen.append(kept(ledger)))
            thread.start()
            thread.join()
            assert ["unpaid"] == kept(ledger)
        seen.append(kept(other))

    assert [[], [], ["unpaid"]] == seen


def test_an_error_in_the_middle_undoes_all(ledger: Ledger, now: datetime) -> None:
    def stopped() -> None:
        with ledger.together():
            ledger.measures.suspend(WEB, "unpaid", "", now)
            with ledger.together():
                ledger.measures.suspend(WEB, "identity", "", now)
            raise StoppedError

    with pytest.raises(StoppedError):
        stopped()

    assert [] == kept(ledger)
    assert ["client-added"] == [entry.kind for entry in ledger.trail.entries()]
    ledger.measures.suspend(WEB, "licence", "", now)  # it is over: the next one is by itself
    assert ["licence"] == kept(ledger)


def test_an_error_that_somebody_catches_inside_undoes_what_it_left(
    ledger: Ledger, now: datetime
) -> None:
    """The rest goes on: an act on many VPSs passes over those for which it makes no sense."""

    def stopped() -> None:
        with ledger.together():
            ledger.measures.suspend(WEB, "identity", "", now)
            raise StoppedError

    with ledger.together():
        ledger.measures.suspend(WEB, "unpaid", "", now)
        with pytest.raises(StoppedError):
            stopped()
        with pytest.raises(RuleError):
            ledger.measures.resume(WEB, "licence", "", now)
        ledger.measures.suspend(WEB, "compliance", "", now)

    assert ["unpaid", "compliance"] == kept(ledger)
    assert ledger.trail.verify().broken is None


def test_one_inside_another_is_kept_with_it(ledger: Ledger, now: datetime) -> None:
    with ledger.together():
        with ledger.together():
            ledger.measures.suspend(WEB, "unpaid", "", now)
        assert ["unpaid"] == kept(ledger)

    assert ["unpaid"] == kept(ledger)


@pytest.mark.parametrize(("outer", "inner"), [(True, False), (False, True), (True, True)])
def test_a_dry_run_in_another_or_around_it_keeps_nothing_of_both(
    ledger: Ledger, now: datetime, outer: bool, inner: bool
) -> None:
    with ledger.together(dry_run=outer):
        ledger.measures.suspend(WEB, "unpaid", "", now)
        with ledger.together(dry_run=inner):
            ledger.measures.suspend(WEB, "identity", "", now)
        # Nothing inside is undone by itself: what comes next finds it.
        assert ["unpaid", "identity"] == kept(ledger)
        assert not ledger.measures.suspend(WEB, "identity", "", now).changed

    assert [] == kept(ledger)
    with ledger.together():
        ledger.measures.suspend(WEB, "unpaid", "", now)
    assert ["unpaid"] == kept(ledger)  # the next one is no dry run


def test_a_dry_run_says_what_would_be_and_keeps_no_entry_of_the_trail(
    ledger: Ledger, now: datetime
) -> None:
    with ledger.together(dry_run=True):
        wanted = ledger.measures.quarantine(WEB, "spam", "minor", now)
        undone = ledger.measures.reconnect(WEB, now, policy=IncidentPolicy())
        told = ledger.announcements.announce(
            Kind.UPDATE, "debian-12", [WEB], now, at=now, timezone=ZONE
        )
        number, today = told.announcement.id, date(2026, 3, 1)
        assert ("acme",) == ledger.announcements.remind(
            number, now, today=today, timezone=ZONE
        ).clients

    assert (True, True, ("acme",)) == (wanted.changed, undone.changed, told.clients)
    assert ([], [], []) == (kept(ledger), ledger.outbox.mails(), ledger.announcements.all())
    assert ["client-added"] == [entry.kind for entry in ledger.trail.entries()]


def test_a_mail_is_claimed_and_sent_in_a_unit_of_work(delivered: Ledger, now: datetime) -> None:
    """C4.2: the password is overwritten once that is kept, and without waiting for itself."""
    with delivered.together():
        mail = delivered.outbox.claim(now, LEASE)
        assert mail is not None
        assert delivered.outbox.claim(now, LEASE) is None
        assert delivered.outbox.codes_of(mail) is not None
        delivered.outbox.mark_sent(mail, now)
        with pytest.raises(RuleError, match="were sent before"):
            delivered.outbox.codes_of(mail)

    assert [SENT] == [each.state for each in delivered.outbox.mails()]


def test_a_claim_that_is_undone_leaves_the_mail_to_the_next(
    delivered: Ledger, now: datetime
) -> None:
    with delivered.together(dry_run=True):
        tried = delivered.outbox.claim(now, LEASE)
    claimed = delivered.outbox.claim(now, LEASE)

    assert tried is not None
    assert claimed is not None
    assert (1, tried.id) == (claimed.attempts, claimed.id)


def test_a_password_in_a_unit_of_work_that_is_undone_stays_for_its_mail(
    delivered: Ledger, now: datetime
) -> None:
    with delivered.together(dry_run=True):
        mail = delivered.outbox.claim(now, LEASE)
        assert mail is not None
        delivered.outbox.mark_sent(mail, now)

    assert delivered.outbox.codes_of(mail) is not None


def test_an_order_that_is_undone_holds_no_address(ledger: Ledger, now: datetime) -> None:
    address = IPv4Address("203.0.113.17")
    with ledger.together(dry_run=True):
        ledger.orders.begin(WEB, address, user="debian", now=now)
        assert {address} == ledger.addresses.held(besides="acme/mail")

    assert set() == ledger.addresses.held(besides="acme/mail")
