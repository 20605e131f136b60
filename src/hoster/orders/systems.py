"""The systems of a VPS: how a new one comes onto it, and how it ends (C6.3, C7.4, C7.5, C15.2).

A reinstall goes forward in steps that the ledger knows: *wanted*, *seen* up from its node, and
*finished* once its client was told; then the former disk is erased, at once or after some days.
Until the new system was seen, the way back is open: the former disk is as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoster.errors import ConfigurationError, RuleError
from hoster.orders import placement
from hoster.orders.declarations import FormerDisk, VpsDeclaration
from hoster.problems import near

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from hoster.catalogue import Catalogue
    from hoster.incidents.measures import Incident, Measure
    from hoster.orders.declarations import Declarations


@dataclass(frozen=True)
class Reinstall:
    """A new system for a VPS, on a disk of its own beside the former one.

    ``request`` is what asked for it, and makes it happen once: ``incident-17``, or the client's
    ticket. ``image`` and ``former_image`` are pinned. The former disk is readable for
    ``keep_days`` days where its client asked for that, and erased at ``erase_after``.
    """

    id: int
    vps: str
    request: str
    image: str
    installation: int
    former_installation: int
    former_image: str
    keep_days: int
    author: str
    wanted_at: datetime
    seen_at: datetime | None
    finished_at: datetime | None
    given_up_at: datetime | None
    erase_after: datetime | None
    erased_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether it is under way."""
        return self.finished_at is None and self.given_up_at is None

    @property
    def stage(self) -> str:
        """Say how far it is."""
        if self.given_up_at:
            return "given up"
        if self.erased_at:
            return "finished, former disk erased"
        if self.finished_at:
            return "finished"
        return "seen up" if self.seen_at else "wanted"


@dataclass(frozen=True)
class Termination:
    """The end of a VPS; ``lost`` says what was deleted (C12.5, C15.2)."""

    id: int
    vps: str
    reason: str
    note: str
    lost: Mapping[str, Any]
    author: str
    wanted_at: datetime
    finished_at: datetime | None


def asked(
    vps: str, request: str, reinstalls: Sequence[Reinstall], incidents: Iterable[Incident]
) -> tuple[str, Reinstall | None]:
    """Return what asks for a reinstall of *vps*, and the reinstall that answered it, if any.

    A client's *request* counts by its reference; without one, the open *incidents* that demand a
    reinstall do, and where none is open any more, the one that was answered last. *reinstalls* are
    all there ever were of it, oldest first. Contract: C7.4, C7.5.

    Raises:
        RuleError: nothing asks for it, or another reinstall is under way.
    """
    known = [each for each in reversed(reinstalls) if each.given_up_at is None]
    if known and known[0].is_open and request in {"", known[0].request}:
        return known[0].request, known[0]
    require_no_other(vps, reinstalls)
    demands = demanding(incidents)
    wanted = request or (f"incident-{demands[0].id}" if demands else "")
    for each in known:
        if each.request == wanted or (not wanted and each.request.startswith("incident-")):
            return each.request, each
    if not wanted:
        raise RuleError(
            f"nothing asks for a reinstall of {vps}: no open incident demands one",
            remedy="Where its client asked for it, name the ticket: -e request=TICKET.",
        )
    return wanted, None


def demanding(incidents: Iterable[Incident]) -> list[Incident]:
    """Return the open *incidents* that demand a reinstall, the last first (C7.4)."""
    found = [each for each in incidents if each.is_open and each.reinstall]
    return sorted(found, key=lambda each: each.id, reverse=True)


def ended_by_new_system(
    incidents: Iterable[Incident], measures: Iterable[Measure]
) -> list[Measure]:
    """Return the *measures* that a new system ends: those of what demanded it (C7.4)."""
    here = [each for each in measures if each.kind == "quarantine" and each.is_wanted]
    return [each for cause in demanding(incidents) for each in here if each.incident == cause.id]


def require_no_other(vps: str, reinstalls: Iterable[Reinstall]) -> None:
    """See that no reinstall of *vps* is under way.

    Raises:
        RuleError: one is.
    """
    for other in reinstalls:
        if other.is_open:
            raise RuleError(
                f"{vps} is being reinstalled already, as {other.request} asked",
                remedy="Finish that first, or give it up: playbooks/give-up-reinstall.yml.",
            )


def require_new_codes(vps: str, *, is_delivered: bool, are_waiting: bool) -> None:
    """See that *vps* can get new access codes: it has earlier ones, and they went out (C4.2).

    Raises:
        RuleError: it was not delivered, or a mail with its codes still waits.
    """
    if not is_delivered:
        raise RuleError(
            f"{vps} was not delivered: there is no system to put another one in the place of",
            remedy=f"hoster deliver {vps}",
        )
    if are_waiting:
        raise RuleError(
            f"access codes of {vps} were not sent yet: new ones would go out in their place",
            remedy="hoster outbox tells why; hoster outbox send tries again.",
        )


def require_unseen(reinstall: Reinstall) -> None:
    """See that a reinstall can be given up (C6.3).

    Raises:
        RuleError: the new system was seen up: it is the client's now.
    """
    if reinstall.seen_at is not None:
        raise RuleError(
            f"{reinstall.vps}: its new system was seen up on {reinstall.seen_at:%Y-%m-%d %H:%M} "
            "UTC, and is its client's now",
            remedy="Run the reinstall again to finish it.",
        )


def require_seen(reinstall: Reinstall) -> None:
    """See that a new system can be handed over (C7.4).

    Raises:
        RuleError: it was not seen up yet.
    """
    if reinstall.seen_at is None:
        raise RuleError(f"{reinstall.vps}: its new system was not seen up yet")


def require_handed_over(reinstall: Reinstall) -> None:
    """See that a former disk may be erased (C7.5).

    Raises:
        RuleError: the new system was not seen and handed over yet.
    """
    if reinstall.finished_at is None:
        raise RuleError(f"{reinstall.vps}: its former disk is the only one that is known to work")


def reinstalled(
    catalogue: Catalogue,
    declared: Declarations,
    vps: VpsDeclaration,
    *,
    image: str | None,
    readable: bool,
) -> VpsDeclaration:
    """Return the declaration of *vps* with a new system of *image*, or of its own image.

    The newest release on sale is taken; plan, node, address and keys stay. Contract: C4.3, C7.4.

    Raises:
        ConfigurationError: no such image.
        RuleError: a former disk is still kept.
        NoRoomError: its node has no room for a second disk (C2.1).
    """
    name = image or vps.image_name
    if name not in catalogue.images:
        raise ConfigurationError(f"unknown image {name}{near(name, catalogue.images)}")
    _require_no_former_disk(vps)
    placement.judge_reinstall(catalogue, declared, vps)
    former = FormerDisk(
        installation=vps.installation,
        image=vps.image,
        disk_gib=catalogue.plans[vps.plan].disk_gib,
        readable=readable,
    )
    return vps.model_copy(
        update={
            "image": f"{name}@{catalogue.images[name].default_release}",
            "installation": vps.installation + 1,
            "former_disk": former,
        }
    )


def _require_no_former_disk(vps: VpsDeclaration) -> None:
    if vps.former_disk:
        raise RuleError(
            f"{vps.full_name} still has the disk of its former installation "
            f"{vps.former_disk.installation}",
            remedy="Its client reads it: when it may go, "
            f"ansible-playbook playbooks/erase-former-disks.yml -e vps={vps.full_name}",
        )


def gone_back(vps: VpsDeclaration, reinstall: Reinstall) -> VpsDeclaration:
    """Return the declaration of *vps* as it was before *reinstall*."""
    return vps.model_copy(
        update={
            "image": reinstall.former_image,
            "installation": reinstall.former_installation,
            "former_disk": None,
        }
    )
