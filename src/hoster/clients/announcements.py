"""What clients are told beforehand: a maintenance of nodes, an update of an image (C7.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hoster.errors import RuleError
from hoster.wire import names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from hoster.orders.declarations import VpsDeclaration


class Kind(StrEnum):
    """What can be announced; each is its mail's template, too."""

    MAINTENANCE = "maintenance"
    UPDATE = "update"


@dataclass(frozen=True)
class Concerned:
    """A VPS that an announcement concerns; ``is_settled`` once its client did what was asked."""

    vps: str
    reminders: int
    is_settled: bool


@dataclass(frozen=True)
class Announcement:
    """What was announced, to whom. ``about`` names nodes or an image.

    ``at`` is when a maintenance starts, or until when an update is due; ``until`` when a
    maintenance is expected to end.
    """

    id: int
    kind: Kind
    about: str
    what: str
    at: datetime
    until: datetime | None
    announced_at: datetime
    author: str
    concerned: tuple[Concerned, ...] = field(default=())

    @property
    def left(self) -> list[str]:
        """The VPSs that still are to do it."""
        return [one.vps for one in self.concerned if not one.is_settled]


def on_nodes(declared: Iterable[VpsDeclaration], nodes: Collection[str]) -> list[str]:
    """Return the VPSs that a maintenance of *nodes* concerns."""
    return sorted(vps.full_name for vps in declared if vps.node in nodes)


def of_image(declared: Iterable[VpsDeclaration], image: str) -> list[str]:
    """Return the VPSs that an update of *image* concerns, of whatever release."""
    return sorted(vps.full_name for vps in declared if vps.image_name == image)


def by_client(vpss: Iterable[str]) -> dict[str, list[str]]:
    """Return the VPSs of each client: who has several gets one mail."""
    found: dict[str, list[str]] = {}
    for vps in vpss:
        found.setdefault(names.client_of(vps), []).append(vps)
    return found


def require_overdue(vps: str, announced: Sequence[Announcement], now: datetime) -> None:
    """See that *vps* may be cut for an update that was not made (C7.3).

    Raises:
        RuleError: no update was announced to it that is overdue, and of which it was reminded.
    """
    open_ = [
        (one, each)
        for one in announced
        if one.kind is Kind.UPDATE
        for each in one.concerned
        if each.vps == vps and not each.is_settled
    ]
    if any(one.at < now and each.reminders for one, each in open_):
        return
    reason = "no update was announced to it that is not made"
    if open_:
        one, _ = open_[-1]
        reason = f"announcement {one.id} gives it until {one.at:%Y-%m-%d %H:%M} UTC"
        if one.at < now:
            reason = f"it was never reminded of announcement {one.id}"
    raise RuleError(
        f"{vps} cannot be cut for a missing update: {reason}",
        remedy="Announce it, remind, and wait until it is due: hoster announce --help",
    )
