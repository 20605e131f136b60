"""What the systems of a VPS and their volumes are called on its node, and which are its."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hoster.catalogue import NAME
from hoster.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hoster.orders.declarations import VpsDeclaration

DISK, SEED = "qcow2", "seed.iso"
"""How the names of root disks and of first-boot seeds end."""


def disks(domain: str, vps: VpsDeclaration, disk_gib: int) -> list[dict[str, Any]]:
    """Return the disks that *vps* has on its node: volume, image, GiB, whether it is the former."""
    found = [{"volume": volume(domain, vps.installation), "image": vps.image, "disk_gib": disk_gib}]
    if vps.former_disk:
        former = vps.former_disk
        name = volume(domain, former.installation)
        found.append({"volume": name, "image": former.image, "disk_gib": former.disk_gib})
    return found


def instance(domain: str, installation: int) -> str:
    """Return the name of a system of *domain*; the first bears no number."""
    return f"{domain}.{installation}" if installation > 1 else domain


def volume(domain: str, installation: int) -> str:
    """Return the name of the volume of a system of *domain*."""
    return f"{instance(domain, installation)}.{DISK}"


def seed(domain: str, installation: int) -> str:
    """Return the name of the volume that sets a system of *domain* up at its first boot."""
    return f"{instance(domain, installation)}.{SEED}"


def volumes_of(domain: str, volumes: Iterable[str]) -> list[str]:
    """Return which of a pool's *volumes* are those of *domain*, and of no other VPS (C15.2).

    They are the root disk and the seed of each of its systems (``acme.web.qcow2``,
    ``acme.web.2.seed.iso``), and the marks that stand beside one while it is made or taken away
    (``acme.web.qcow2.0123456789abcdef.made``). No client and no VPS has a dot in its name, so that
    what follows the domain and a dot is its own.

    Raises:
        ValueError: *domain* is none of a VPS, as ``acme.web`` is.
    """
    client, _, name = domain.partition(".")
    if not (re.fullmatch(NAME, client) and re.fullmatch(NAME, name)):
        raise ValueError(f"«{domain}» is no domain of a VPS: client.name")
    return [each for each in volumes if _is_of(domain, each)]


def _is_of(domain: str, volume: str) -> bool:
    if not volume.startswith(f"{domain}."):
        return False
    what = volume.removeprefix(f"{domain}.")
    number, _, numbered = what.partition(".")
    what = numbered if number.isdecimal() else what
    return any(
        what == end or (what.startswith(f"{end}.") and what != f"{end}.") for end in (DISK, SEED)
    )


def listed(lines: Iterable[str]) -> list[str]:
    """Return the names of the volumes that ``virsh --quiet vol-list`` printed: name and path.

    Raises:
        ToolError: a line is something else; what is not understood is nothing to erase by.
    """
    return [_name(line) for line in lines if line.strip()]


def _name(line: str) -> str:
    name, _, path = line.strip().partition(" /")
    name = name.rstrip()
    if not name or name != path.rpartition("/")[2]:
        raise ToolError(
            f"a line of virsh vol-list is no volume and its path: «{line}»",
            remedy="Look at the pool on its node; nothing was erased by this list.",
        )
    return name
