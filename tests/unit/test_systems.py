"""What asks for a new system, and what stands in its way. Contract: C6.3, C7.4, C7.5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from hoster.errors import RuleError
from hoster.incidents.measures import Incident, Measure
from hoster.orders import systems
from hoster.orders.systems import Reinstall

WEB = "acme/web"

MakeReinstall = Callable[..., Reinstall]
MakeIncident = Callable[..., Incident]
MakeMeasure = Callable[..., Measure]


@pytest.fixture
def reinstall(now: datetime) -> MakeReinstall:
    """Make a reinstall that is under way."""

    def make(number: int, request: str, **fields: object) -> Reinstall:
        usual = Reinstall(
            id=number,
            vps=WEB,
            request=request,
            image="debian-12@2",
            installation=number + 1,
            former_installation=number,
            former_image="debian-12@1",
            keep_days=0,
            author="ops",
            wanted_at=now,
            seen_at=None,
            finished_at=None,
            given_up_at=None,
            erase_after=None,
            erased_at=None,
        )
        return replace(usual, **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def incident(now: datetime) -> MakeIncident:
    """Make an open incident that demands a reinstall."""

    def make(number: int, *, demands: bool = True, is_open: bool = True) -> Incident:
        return Incident(
            id=number,
            vps=WEB,
            kind="hacked",
            severity="serious",
            evidence="",
            reinstall=demands,
            expected_until=None,
            opened_at=now,
            opened_by="ops",
            closed_at=None if is_open else now,
            closed_by=None if is_open else "ops",
            closing=None,
        )

    return make


@pytest.fixture
def measure(now: datetime) -> MakeMeasure:
    """Make the quarantine of an incident."""

    def make(
        number: int, incident: int | None, kind: str = "quarantine", **fields: object
    ) -> Measure:
        usual = Measure(
            id=number,
            vps=WEB,
            kind=kind,
            ground="hacked",
            incident=incident,
            note="",
            author="ops",
            wanted_at=now,
            in_force_at=now,
            lift_wanted_at=None,
            lift_author=None,
            lift_note=None,
            lifted_at=None,
        )
        return replace(usual, **fields)  # type: ignore[arg-type]

    return make


def test_a_clients_request_counts_by_its_reference(reinstall: MakeReinstall, now: datetime) -> None:
    done = reinstall(1, "ticket-1", finished_at=now)

    assert ("ticket-1", done) == systems.asked(WEB, "ticket-1", [done], [])
    assert ("ticket-2", None) == systems.asked(WEB, "ticket-2", [done], [])


def test_an_incident_asks_by_its_number_and_the_last_one_first(incident: MakeIncident) -> None:
    """C7.4."""
    known = [incident(1), incident(2), incident(3, demands=False), incident(4, is_open=False)]

    assert ("incident-2", None) == systems.asked(WEB, "", [], known)
    assert ("ticket-1", None) == systems.asked(WEB, "ticket-1", [], known)


def test_what_an_incident_asked_for_is_answered_once(
    reinstall: MakeReinstall, incident: MakeIncident, now: datetime
) -> None:
    """Also when it is closed since: a run that was cut is run again."""
    done = reinstall(1, "incident-1", finished_at=now)
    later = reinstall(2, "ticket-2", finished_at=now)

    assert ("incident-1", done) == systems.asked(WEB, "", [done], [incident(1)])
    assert ("incident-1", done) == systems.asked(WEB, "", [done, later], [])
    assert ("incident-2", None) == systems.asked(WEB, "", [done], [incident(2)])


def test_what_is_under_way_is_meant_without_a_name_and_refuses_another(
    reinstall: MakeReinstall, incident: MakeIncident
) -> None:
    here = reinstall(1, "ticket-1")

    assert ("ticket-1", here) == systems.asked(WEB, "", [here], [incident(1)])
    assert ("ticket-1", here) == systems.asked(WEB, "ticket-1", [here], [])
    with pytest.raises(RuleError, match="being reinstalled already, as ticket-1 asked"):
        systems.asked(WEB, "ticket-2", [here], [])


def test_what_was_given_up_is_asked_for_anew(
    reinstall: MakeReinstall, incident: MakeIncident, now: datetime
) -> None:
    gone = reinstall(1, "incident-1", given_up_at=now)

    assert ("incident-1", None) == systems.asked(WEB, "", [gone], [incident(1)])
    with pytest.raises(RuleError, match="nothing asks for a reinstall of acme/web"):
        systems.asked(WEB, "", [gone], [])


def test_a_new_system_ends_what_demanded_it_and_nothing_else(
    incident: MakeIncident, measure: MakeMeasure, now: datetime
) -> None:
    """C7.4, C15.1."""
    known = [incident(1), incident(2), incident(3, demands=False), incident(4, is_open=False)]
    first, second = measure(1, 1), measure(2, 2)
    others = [
        measure(3, 3),
        measure(4, 4),
        measure(5, None, "suspend"),
        measure(6, 1, lift_wanted_at=now),
        measure(7, 1, lift_wanted_at=now, lifted_at=now),
    ]

    assert [second, first] == systems.ended_by_new_system(known, [first, second, *others])


@pytest.mark.parametrize(
    ("is_delivered", "are_waiting", "refused"),
    [(False, False, "was not delivered"), (True, True, "were not sent yet")],
)
def test_new_codes_come_after_those_that_went_out(
    is_delivered: bool, are_waiting: bool, refused: str
) -> None:
    """C4.2."""
    systems.require_new_codes(WEB, is_delivered=True, are_waiting=False)
    with pytest.raises(RuleError, match=refused):
        systems.require_new_codes(WEB, is_delivered=is_delivered, are_waiting=are_waiting)


def test_the_way_back_is_open_until_the_new_system_was_seen(
    reinstall: MakeReinstall, now: datetime
) -> None:
    """C6.3; and the way on from then."""
    here = reinstall(1, "ticket-1")
    seen = replace(here, seen_at=now)
    finished = replace(seen, finished_at=now)

    systems.require_unseen(here)
    systems.require_seen(seen)
    systems.require_handed_over(finished)
    with pytest.raises(RuleError, match="seen up on 2026-03-01 09:30 UTC, and is its client's now"):
        systems.require_unseen(seen)
    with pytest.raises(RuleError, match="not seen up yet"):
        systems.require_seen(here)
    with pytest.raises(RuleError, match="the only one that is known to work"):
        systems.require_handed_over(seen)
