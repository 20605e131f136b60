"""Whom a change touches, and how: what a ref declares beside what is declared now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.changes import impact
from hoster.changes.impact import Side
from hoster.project import declarations

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from decimal import Decimal

    from hoster.acts.change import Change
    from hoster.changes.impact import NodeRoom, Reached


@dataclass(frozen=True)
class Comparison:
    """The VPSs and the host nodes that a change touches, and what it sums up to in EUR.

    ``month_eur`` is the difference of a month, ``pro_rata_eur`` what of it falls on the days that
    are left of the months that are paid.
    """

    vps: tuple[Reached, ...]
    nodes: tuple[NodeRoom, ...]
    month_eur: Decimal
    pro_rata_eur: Decimal


def compare(change: Change, clock: Callable[[], datetime]) -> Comparison:
    """Return whom *change* touches.

    Raises:
        ConfigurationError: there is no such ref, or what is declared is not valid.
    """
    old, new = _sides(change)
    reached = impact.reached(old, new, clock())
    rooms = impact.rooms(old, new)
    return Comparison(tuple(reached), tuple(rooms), *impact.total(reached))


def _sides(change: Change) -> tuple[Side, Side]:
    """Return what the ref says and what is declared now; what does not differ was read once."""
    catalogue = change.catalogue
    declarations.require_sound(change.declared)
    before = change.before
    if before is None:
        return Side(catalogue, {}), Side(catalogue, {})
    declared = {vps.full_name: vps for vps in change.declared}
    same = {name: vps for name, vps in declared.items() if vps.client not in before.differing}
    was = {vps.full_name: vps for client in before.clients.values() for vps in client.vps}
    return Side(before.catalogue, same | was), Side(catalogue, declared)
