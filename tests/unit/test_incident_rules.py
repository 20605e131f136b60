"""What incidents and measures are, and what may follow them. Contract: C6.2, C10.2, C15.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from hoster.errors import RuleError
from hoster.incidents.measures import (
    TERMINATIONS,
    Incident,
    Measure,
    Step,
    earlier,
    require_no_court_order,
)
from hoster.incidents.situation import Act, Situation, meant

WEB = "acme/web"
YEAR = timedelta(days=365)

MakeMeasure = Callable[..., Measure]


@pytest.fixture
def incident(now: datetime) -> Incident:
    return Incident(
        id=7,
        vps=WEB,
        kind="spam",
        severity="minor",
        evidence="",
        reinstall=False,
        expected_until=None,
        opened_at=now,
        opened_by="ops",
        closed_at=None,
        closed_by=None,
        closing=None,
    )


@pytest.fixture
def measure(now: datetime) -> MakeMeasure:
    """Make a measure in force."""

    def make(
        number: int, kind: str = "quarantine", ground: str = "spam", **fields: object
    ) -> Measure:
        usual = Measure(
            id=number,
            vps=WEB,
            kind=kind,
            ground=ground,
            incident=number if kind == "quarantine" else None,
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


@pytest.mark.parametrize(
    ("in_force", "lift_wanted", "lifted", "awaits"),
    [
        (False, False, False, Step.IN_FORCE),
        (True, False, False, None),
        (True, True, False, Step.LIFTED),
        (False, True, False, Step.LIFTED),  # it was lifted before its node had it
        (True, True, True, None),
    ],
)
def test_a_measure_says_what_its_node_is_still_to_do(
    measure: MakeMeasure,
    now: datetime,
    in_force: bool,
    lift_wanted: bool,
    lifted: bool,
    awaits: Step | None,
) -> None:
    one = measure(
        1,
        in_force_at=now if in_force else None,
        lift_wanted_at=now if lift_wanted else None,
        lifted_at=now if lifted else None,
    )

    assert awaits == one.awaits


def test_what_came_before_counts_for_a_while_and_for_its_vps_alone(
    incident: Incident, now: datetime
) -> None:
    """C6.2."""
    known = [
        replace(incident, id=1, opened_at=now - YEAR - timedelta(seconds=1)),
        replace(incident, id=2, opened_at=now - YEAR),
        replace(incident, id=3, vps="acme/db"),
        replace(incident, id=4, closed_at=now),
        incident,
        replace(incident, id=8),
    ]

    assert 2 == earlier(incident, known, YEAR)
    assert 0 == earlier(incident, [], YEAR)


@pytest.mark.parametrize("reason", [each for each in TERMINATIONS if each != "court-order"])
def test_what_a_court_wants_kept_ends_by_its_order_alone(
    measure: MakeMeasure, now: datetime, reason: str
) -> None:
    """C10.2, C15.1."""
    held = measure(3, kind="suspend", ground="court-order")

    with pytest.raises(RuleError, match=r"order of a court \(measure 3\)") as caught:
        require_no_court_order(WEB, reason, [measure(1), held])
    assert "-e reason=court-order" in str(caught.value)
    require_no_court_order(WEB, "court-order", [held])
    require_no_court_order(WEB, reason, [measure(1), replace(held, lifted_at=now)])


def test_a_measure_is_wanted_already_by_its_kind_and_ground(
    measure: MakeMeasure, now: datetime
) -> None:
    spam, unpaid = measure(1), measure(2, kind="suspend", ground="unpaid")
    here = Situation((spam, unpaid))

    assert spam == here.wanted(Act.QUARANTINE, "spam")
    assert unpaid == here.wanted(Act.SUSPEND, "unpaid")
    assert here.wanted(Act.SUSPEND, "spam") is None
    lifting = Situation((replace(spam, lift_wanted_at=now),))
    assert lifting.wanted(Act.QUARANTINE, "spam") is None


def test_an_act_means_the_only_measure_that_fits(measure: MakeMeasure) -> None:
    spam, scan, unpaid = measure(1), measure(2, ground="scan"), measure(3, "suspend", "unpaid")

    assert spam == meant(WEB, Act.RECONNECT, Situation((spam, unpaid)), [])
    assert scan == meant(WEB, Act.RECONNECT, Situation((spam, scan)), [], incident=2)
    assert unpaid == meant(WEB, Act.RESUME, Situation((spam, unpaid)), [], ground="unpaid")


def test_the_same_act_again_means_what_it_lifted_last(measure: MakeMeasure, now: datetime) -> None:
    first, last = (measure(number, lifted_at=now) for number in (1, 2))
    unpaid = measure(3, "suspend", "unpaid")

    assert last == meant(WEB, Act.RECONNECT, Situation(), [first, last])
    assert first == meant(WEB, Act.RECONNECT, Situation(), [first, last], incident=1)
    # A measure of another kind that is in force changes nothing of it.
    assert last == meant(WEB, Act.RECONNECT, Situation((unpaid,)), [first, last, unpaid])


@pytest.mark.parametrize(
    ("act", "grounds", "named", "refused"),
    [
        (Act.RECONNECT, [], {}, "connected, and no quarantine is in force"),
        (Act.RESUME, ["quarantine"], {"ground": "unpaid"}, "no suspension is in force"),
        (Act.RECONNECT, ["quarantine"] * 2, {}, r"name one .*: 1 \(spam\), 2 \(spam\)"),
        (Act.RECONNECT, ["quarantine"], {"incident": 9}, r"name one .*: 1 \(spam\)"),
        (Act.RESUME, ["suspend"], {"ground": "unpaid"}, "name one .*: spam"),
    ],
)
def test_where_it_is_not_clear_what_is_meant_what_is_in_force_is_named(
    measure: MakeMeasure, act: Act, grounds: list[str], named: dict[str, object], refused: str
) -> None:
    here = [measure(number, kind) for number, kind in enumerate(grounds, start=1)]

    with pytest.raises(RuleError, match=refused):
        meant(WEB, act, Situation(here), here, **named)  # type: ignore[arg-type]
