"""What clients are told beforehand: a maintenance of nodes, an update of an image (C5.1, C7.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field, NaiveDatetime

from hoster.acts.choice import Names, require_known
from hoster.acts.reply import Reply
from hoster.clients.announcements import Kind, of_image, on_nodes
from hoster.mail import outbox
from hoster.project.declarations import read_all

if TYPE_CHECKING:
    from datetime import datetime

    from hoster.acts.reply import Clock
    from hoster.catalogue import Catalogue
    from hoster.ledger import Ledger, Told
    from hoster.project import Project

Hours = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Announced(Reply):
    """An announcement, and who was told of it now; a dry run gives it no number."""

    told: Told
    dry_run: bool

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        told = self.told
        return {
            "changed": bool(told.clients),
            "announcement": None if self.dry_run else told.announcement.id,
            "clients": list(told.clients),
            "unknown": list(told.unknown),
            "vps": [one.vps for one in told.announcement.concerned],
            "left": told.announcement.left,
        }

    def remarks(self) -> list[str]:
        """Return who was not told."""
        return [f"no client {name} is known here: nobody was told" for name in self.told.unknown]


def maintenance(
    project: Project,
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    node: Names,
    start: NaiveDatetime,
    hours: Hours,
    what: str = "",
    dry_run: bool = False,
) -> Announced:
    """Tell every client with a VPS on these host nodes when they are worked on, and how long.

    *start* is what the clocks of `policy.timezone` show then.

    Raises:
        ConfigurationError: there is no such host node.
    """
    require_known("host node", node, catalogue.nodes)
    vpss = on_nodes(read_all(project), node)
    at, about = _local(catalogue, start), ", ".join(sorted(set(node)))

    def tell(zone: str) -> Told:
        until = at + timedelta(hours=hours)
        return ledger.announcements.announce(
            Kind.MAINTENANCE, about, vpss, clock(), at=at, until=until, what=what, timezone=zone
        )

    return _told(catalogue, ledger, clock, tell, dry_run=dry_run)


def update(
    project: Project,
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    image: str,
    due: NaiveDatetime,
    what: str,
    dry_run: bool = False,
) -> Announced:
    """Tell every client whose VPS runs an image that a security update is to be made (C7.3).

    *due* is until when, as the clocks of `policy.timezone` show it.

    Raises:
        ConfigurationError: there is no such image.
    """
    require_known("image", [image], catalogue.images)
    vpss, at = of_image(read_all(project), image), _local(catalogue, due)

    def tell(zone: str) -> Told:
        return ledger.announcements.announce(
            Kind.UPDATE, image, vpss, clock(), at=at, what=what, timezone=zone
        )

    return _told(catalogue, ledger, clock, tell, dry_run=dry_run)


def remind(
    catalogue: Catalogue, ledger: Ledger, clock: Clock, *, number: int, dry_run: bool = False
) -> Announced:
    """Remind the clients whose VPSs have not made an update; at most once a day (C7.3).

    Raises:
        ConfigurationError: no update was announced under that number.
    """
    now = clock()

    def tell(zone: str) -> Told:
        today = now.astimezone(ZoneInfo(zone)).date()
        return ledger.announcements.remind(number, now, today=today, timezone=zone)

    return _told(catalogue, ledger, clock, tell, dry_run=dry_run)


def _told(
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    tell: Callable[[str], Told],
    *,
    dry_run: bool,
) -> Announced:
    with ledger.together(dry_run=dry_run):
        told = tell(catalogue.policy.timezone)
    if not dry_run:
        outbox.send_due(ledger, catalogue.company, clock)
    return Announced(told, dry_run)


def _local(catalogue: Catalogue, when: datetime) -> datetime:
    return when.replace(tzinfo=ZoneInfo(catalogue.policy.timezone))
