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
    from collections.abc import Mapping
    from datetime import datetime

    from hoster.catalogue import Catalogue
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
