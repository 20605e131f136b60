"""Outbound volume: what the kernel's counter means (C4.9, C4.10)."""

from __future__ import annotations

from hoster.wire.events import QUOTA_LEVELS


def counted(stored: int, kernel: int) -> int:
    """Return the bytes of the cycle, of which *stored* were known and the kernel says *kernel*.

    The kernel's counter is started with what is stored, so that it says the whole cycle. Where
    it says less, it was started anew from zero by somebody else, and its bytes come on top.
    """
    return kernel if kernel >= stored else stored + kernel


def level_reached(used: int, limit: int | None) -> int:
    """Return which of `QUOTA_LEVELS` is reached, 0 for none; of unlimited traffic, none is."""
    if limit is None:
        return 0
    return max((level for level in QUOTA_LEVELS if used * 100 >= limit * level), default=0)
