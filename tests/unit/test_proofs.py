"""Who is late with the proof of its contact details, and what follows. Contract: C7.1, C15.1."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from hoster.clients.proofs import Demand, Due, due
from hoster.incidents.measures import Measure

HOUR = timedelta(hours=1)
VPSS = ["acme/web", "other/web"]


@pytest.fixture
def asked(now: datetime) -> Demand:
    """A demand whose time is just over."""
    return Demand(
        id=1,
        client="acme",
        note="",
        hours=72,
        author="ops",
        demanded_at=now - 80 * HOUR,
        told_at=now - 73 * HOUR,
        settled_at=None,
        settled_by=None,
        settlement=None,
    )


@pytest.fixture
def suspended(now: datetime) -> Measure:
    """A suspension for it, in force."""
    return Measure(
        id=1,
        vps="acme/web",
        kind="suspend",
        ground="identity",
        incident=None,
        note="",
        author="ops",
        wanted_at=now - HOUR,
        in_force_at=now - HOUR,
        lift_wanted_at=None,
        lift_author=None,
        lift_note=None,
        lifted_at=None,
    )


def settled(asked: Demand, at: datetime) -> Demand:
    return replace(asked, settled_at=at, settled_by="ops", settlement="seen")


def test_only_the_vpss_of_who_is_late_are_suspended(asked: Demand, now: datetime) -> None:
    assert Due(suspend=("acme/web",), resume=()) == due(VPSS, [asked], [], now)


@pytest.mark.parametrize(
    "change",
    [{"told_at": None}, {"hours": 74}, {"settled_at": datetime.fromtimestamp(0).astimezone()}],
)
def test_who_is_not_late_is_left_alone(
    asked: Demand, now: datetime, change: dict[str, object]
) -> None:
    assert Due((), ()) == due(VPSS, [replace(asked, **change)], [], now)  # type: ignore[arg-type]


def test_what_is_in_force_is_left_alone(asked: Demand, suspended: Measure, now: datetime) -> None:
    assert Due((), ()) == due(VPSS, [asked], [suspended], now)


def test_what_a_run_that_was_cut_left_is_done_again(
    asked: Demand, suspended: Measure, now: datetime
) -> None:
    wanted = replace(suspended, in_force_at=None)
    assert Due(("acme/web",), ()) == due(VPSS, [asked], [wanted], now)
    lifting = replace(suspended, lift_wanted_at=now)
    assert Due((), ("acme/web",)) == due(VPSS, [settled(asked, now)], [lifting], now)


def test_a_proof_that_came_resumes_also_what_its_node_does_not_have_yet(
    asked: Demand, suspended: Measure, now: datetime
) -> None:
    came = settled(asked, now)
    for measure in (suspended, replace(suspended, in_force_at=None)):
        assert Due((), ("acme/web",)) == due(VPSS, [came], [measure], now)


def test_a_new_demand_in_time_does_not_lift_the_suspension_for_the_one_before(
    asked: Demand, suspended: Measure, now: datetime
) -> None:
    again = replace(asked, id=2, told_at=now)
    assert Due((), ()) == due(VPSS, [settled(asked, now), again], [suspended], now)


def test_what_was_suspended_by_hand_before_anybody_was_asked_stays(
    asked: Demand, suspended: Measure, now: datetime
) -> None:
    """And a proof that came before says nothing of it."""
    assert Due((), ()) == due(VPSS, [], [suspended], now)
    earlier = settled(asked, suspended.wanted_at - HOUR)
    assert Due((), ()) == due(VPSS, [earlier], [suspended], now)


def test_other_reasons_stay(asked: Demand, suspended: Measure, now: datetime) -> None:
    """C15.1: each is lifted by itself."""
    unpaid = replace(suspended, ground="unpaid")
    assert Due((), ()) == due(VPSS, [settled(asked, now)], [unpaid], now)
    assert Due(("acme/web",), ()) == due(VPSS, [asked], [unpaid], now)
