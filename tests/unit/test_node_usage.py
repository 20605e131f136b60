"""Billing cycles, the volume of each, and the levels that are told (C4.9, C4.10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hoster.billing.cycles import cycle_end, cycle_start
from hoster.node.quota import counted, level_reached

PARIS = "Europe/Paris"
TB = 10**12
# Rules of daylight saving as they have been since; before, single zones set their clocks back
# from just after midnight to the day before.
SINCE = date(2012, 1, 1)
zones = st.sampled_from(sorted(available_timezones() - {"localtime", "posixrules", "Factory"}))
days = st.dates(SINCE, date(2100, 12, 31))
instants = st.integers(0, 89 * 365 * 86_400).map(
    lambda seconds: datetime(2012, 2, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


def cycle(anchor: date, zone: str, now: datetime) -> tuple[datetime, datetime]:
    """The cycle that *now* is in, in UTC: two times of one zone are compared by their clocks."""
    start, end = cycle_start(anchor, zone, now), cycle_end(anchor, zone, now)
    return start.astimezone(UTC), end.astimezone(UTC)


@pytest.mark.parametrize(
    ("anchor", "now", "start", "end"),
    [
        ("2026-01-31", "2026-01-31", "2026-01-31", "2026-02-28"),
        ("2026-01-31", "2026-02-27", "2026-01-31", "2026-02-28"),
        ("2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        ("2026-01-31", "2026-03-30", "2026-02-28", "2026-03-31"),
        ("2026-01-31", "2026-03-31", "2026-03-31", "2026-04-30"),
        ("2026-01-31", "2026-12-31", "2026-12-31", "2027-01-31"),
        ("2028-01-30", "2028-02-15", "2028-01-30", "2028-02-29"),
        ("2028-01-31", "2028-02-29", "2028-02-29", "2028-03-31"),
        ("2028-02-29", "2029-02-28", "2029-02-28", "2029-03-29"),
        ("2028-02-29", "2032-02-29", "2032-02-29", "2032-03-29"),
        ("2026-01-01", "2026-06-15", "2026-06-01", "2026-07-01"),
        ("2026-01-15", "2026-06-14", "2026-05-15", "2026-06-15"),
        ("2026-01-15", "2026-06-15", "2026-06-15", "2026-07-15"),
    ],
)
def test_a_cycle_begins_on_the_anchors_day_or_the_months_last(
    anchor: str, now: str, start: str, end: str
) -> None:
    """C4.9."""
    here = ZoneInfo(PARIS)
    noon = datetime.fromisoformat(now).replace(hour=12, tzinfo=here)
    found = [when(date.fromisoformat(anchor), PARIS, noon) for when in (cycle_start, cycle_end)]

    assert [f"{start} 00:00", f"{end} 00:00"] == [f"{when:%Y-%m-%d %H:%M}" for when in found]
    assert all(when.tzinfo is here for when in found)


def test_a_long_month_comes_back_after_a_short_one() -> None:
    """C4.9: February does not move the 31st to the 28th for good."""
    now, starts = datetime(2026, 1, 31, 12, tzinfo=UTC), []
    for _ in range(14):
        starts.append(cycle_start(date(2026, 1, 31), "UTC", now))
        now = cycle_end(date(2026, 1, 31), "UTC", now)

    last_days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28]
    assert last_days == [start.day for start in starts]


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("UTC", "2026-05-01T00:00:00+00:00"),
        (PARIS, "2026-04-30T22:00:00+00:00"),
        ("America/New_York", "2026-05-01T04:00:00+00:00"),
        ("Pacific/Kiritimati", "2026-04-30T10:00:00+00:00"),
        ("Asia/Kathmandu", "2026-04-30T18:15:00+00:00"),
    ],
)
def test_a_cycle_turns_at_midnight_where_the_vps_is(zone: str, start: str) -> None:
    """C4.9: one instant, and another in each zone; a moment before it is the cycle before."""
    turn, anchor = datetime.fromisoformat(start), date(2026, 1, 1)

    assert turn == cycle(anchor, zone, turn)[0]
    assert turn == cycle(anchor, zone, turn - timedelta(microseconds=1))[1]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (PARIS, 29, 31 * 24 - 1),  # the night of 29 March 2026 has no 02:30
        (PARIS, 25, 31 * 24 + 1),  # that of 25 October has it twice
        ("America/Havana", 8, 31 * 24 - 1),  # 8 March 2026 has no midnight
        ("America/Havana", 1, 30 * 24 + 1),  # 1 November has it twice
    ],
)
def test_an_hour_more_or_less_is_within_one_cycle(zone: str, day: int, hours: int) -> None:
    """C4.9: no hour of daylight saving is counted twice, or in no cycle."""
    anchor = date(2026, 1, day)
    begun = [
        cycle(anchor, zone, datetime(2026, month, 15, tzinfo=UTC)) for month in (3, 4, 10, 11, 12)
    ]

    assert timedelta(hours=hours) in {end - start for start, end in begun}


def test_before_the_anchor_it_is_the_first_cycle() -> None:
    """C4.9: a clock that is late makes no cycle before the contract."""
    anchor, early = date(2026, 3, 31), datetime(2026, 1, 5, tzinfo=UTC)

    assert cycle(anchor, PARIS, datetime(2026, 4, 2, tzinfo=UTC)) == cycle(anchor, PARIS, early)


@given(anchor=days, zone=zones, now=instants)
@example(date(2018, 1, 4), "America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC))
@example(date(2018, 1, 18), "America/Sao_Paulo", datetime(2018, 2, 18, 2, 30, tzinfo=UTC))
@example(date(2026, 1, 1), "America/Havana", datetime(2026, 11, 1, 4, 30, tzinfo=UTC))
def test_every_instant_is_within_its_cycle(anchor: date, zone: str, now: datetime) -> None:
    """C4.9."""
    start, end = cycle(anchor, zone, now)
    first = cycle_start(anchor, zone, datetime.combine(anchor, datetime.min.time(), tzinfo=UTC))

    assert timedelta(days=27) < end - start < timedelta(days=32)
    assert now < end
    assert start <= now or start == first.astimezone(UTC)


@given(anchor=days, zone=zones, now=instants)
def test_cycles_follow_each_other_without_gap_or_overlap(
    anchor: date, zone: str, now: datetime
) -> None:
    """C4.9: the instant at which one ends is the one at which the next begins."""
    moment = timedelta(microseconds=1)
    for _ in range(4):
        start, end = cycle(anchor, zone, now)
        assert (start, end) == cycle(anchor, zone, start)
        assert (start, end) == cycle(anchor, zone, end - moment)
        assert end == cycle(anchor, zone, end)[0]
        now = end


@pytest.mark.parametrize(
    ("stored", "kernel", "cycle_bytes"),
    [
        (0, 0, 0),
        (0, 700, 700),
        (1000, 1000, 1000),
        (1000, 1700, 1700),
        (1000, 0, 1000),
        (1000, 300, 1300),
        (2**63, 2**64 - 1, 2**64 - 1),
        (2**64 - 10, 5, 2**64 - 5),
    ],
    ids=["new", "first", "equal", "larger", "reset", "reset and on", "huge", "wrapped"],
)
def test_the_kernels_count_is_the_whole_cycles(stored: int, kernel: int, cycle_bytes: int) -> None:
    """C4.9: and where it started anew, what is stored comes on top."""
    assert cycle_bytes == counted(stored, kernel)


@given(stored=st.integers(0, 2**62), kernel=st.integers(0, 2**64 - 1))
def test_a_byte_is_neither_counted_twice_nor_lost(stored: int, kernel: int) -> None:
    """C4.9: the kernel's bytes are all in it, and so are those that were stored."""
    found = counted(stored, kernel)

    assert max(stored, kernel) <= found <= stored + kernel


@dataclass
class Meter:
    """A kernel's counter with the agent beside it; and what the VPS sent in truth."""

    stored: int = 0
    kernel: int = 0
    sent: int = 0

    def send(self, octets: int) -> None:
        self.kernel += octets
        self.sent += octets

    def poll(self, _: int) -> None:
        # As the agent does: what is stored is what the kernel counts on from.
        self.stored = self.kernel = counted(self.stored, self.kernel)

    def die_before_storing(self, _: int) -> None:
        """The kernel was told, the state was not."""
        self.kernel = counted(self.stored, self.kernel)

    def reload_rules(self, _: int) -> None:
        """Everything was taken away: elements are made from what is stored."""
        self.kernel = self.stored

    def reset(self, _: int) -> None:
        """By somebody else."""
        self.kernel = 0


acts = st.sampled_from(
    [Meter.send, Meter.send, Meter.poll, Meter.die_before_storing, Meter.reload_rules, Meter.reset]
)


@given(st.lists(st.tuples(acts, st.integers(0, 10**6)), max_size=40))
def test_whatever_happens_to_a_counter_nothing_is_counted_twice_or_forgotten(
    steps: list[tuple[object, int]],
) -> None:
    """C4.9: polls missed, agents dead, rules gone, counters reset; in any order."""
    meter = Meter()
    for act, octets in steps:
        before = meter.stored
        act(meter, octets)  # type: ignore[operator]
        assert before <= meter.stored <= meter.sent


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10**6)), max_size=40))
def test_without_a_reset_the_count_is_exact_however_many_polls_are_missed(
    steps: list[tuple[bool, int]],
) -> None:
    """C4.9."""
    meter = Meter()
    for polled, octets in steps:
        meter.send(octets)
        if polled:
            meter.poll(0)
    meter.poll(0)

    assert meter.sent == meter.stored


@pytest.mark.parametrize(
    ("used", "limit", "level"),
    [
        (0, 10 * TB, 0),
        (8 * TB - 1, 10 * TB, 0),
        (8 * TB, 10 * TB, 80),
        (10 * TB - 1, 10 * TB, 80),
        (10 * TB, 10 * TB, 100),
        (25 * TB, 10 * TB, 100),
        (0, 1, 0),
        (1, 1, 100),
        (4, 6, 0),  # 66.7 %
        (5, 6, 80),  # 83.3 %
    ],
)
def test_a_level_is_reached_at_its_very_byte(used: int, limit: int, level: int) -> None:
    """C4.10."""
    assert level == level_reached(used, limit)


@given(st.integers(0, 2**64 - 1))
def test_unlimited_reaches_no_level(used: int) -> None:
    """C4.9: a panel throttled them all."""
    assert 0 == level_reached(used, None)
