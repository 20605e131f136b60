"""Outbound volume and billing cycles: what the kernel's counter means (C4.9, C4.10)."""

from __future__ import annotations

import functools
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

WARNING_PERCENT = 80
LEVELS = (WARNING_PERCENT, 100)


def cycle_start(anchor: date, timezone: str, now: datetime) -> datetime:
    """Return when the billing cycle that *now* is in began.

    Cycles begin on the anchor's day of the month at midnight in *timezone*; a month without that
    day begins its cycle on its last one. Before the anchor it is the first cycle.
    """
    zone = ZoneInfo(timezone)
    return _midnight(_first_day(anchor, now.astimezone(zone).date()), zone)


@functools.lru_cache(maxsize=4096)  # most VPSs of a node share their day with others
def _first_day(anchor: date, today: date) -> date:
    months = (today.year - anchor.year) * 12 + today.month - anchor.month
    if anchor + relativedelta(months=months) > today:
        months -= 1
    return anchor + relativedelta(months=max(months, 0))


def cycle_end(anchor: date, timezone: str, now: datetime) -> datetime:
    """Return when the billing cycle that *now* is in ends, and the next begins."""
    zone = ZoneInfo(timezone)
    began = cycle_start(anchor, timezone, now).astimezone(zone).date()
    months = (began.year - anchor.year) * 12 + began.month - anchor.month
    return _midnight(anchor + relativedelta(months=months + 1), zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone)


def counted(stored: int, kernel: int) -> int:
    """Return the bytes of the cycle, of which *stored* were known and the kernel says *kernel*.

    The kernel's counter is started with what is stored, so that it says the whole cycle. Where
    it says less, it was started anew from zero by somebody else, and its bytes come on top.
    """
    return kernel if kernel >= stored else stored + kernel


def level_reached(used: int, limit: int | None) -> int:
    """Return which of `LEVELS` (per cent of the quota) is reached, 0 for none; never unlimited."""
    if limit is None:
        return 0
    return max((level for level in LEVELS if used * 100 >= limit * level), default=0)
