"""Billing cycles: when one begins and ends (C4.9); the node counts by them."""

from __future__ import annotations

import functools
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta


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
