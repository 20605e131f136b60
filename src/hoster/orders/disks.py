"""What the systems of a VPS and their volumes are called on its node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hoster.orders.declarations import VpsDeclaration


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
    return f"{instance(domain, installation)}.qcow2"
