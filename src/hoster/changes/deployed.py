"""What a client's stack was when it last ran, and what of it is final."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hoster.catalogue import Catalogue
    from hoster.orders.declarations import VpsDeclaration


COMPONENT = "hoster:vps:VirtualServer"
"""The type of the Pulumi component that a VPS is."""


@dataclass(frozen=True)
class DeployedVps:
    """The facts of a VPS that a later declaration is judged against.

    ``image`` is the pinned reference (``debian-12@20250703``), ``disk_gib`` the size of the
    root disk, ``ipv4`` the dotted address. ``former`` is the installation whose disk a reinstall
    left behind, 0 where there is none.
    """

    location: str
    node: str
    ipv4: str
    image: str
    plan: str
    disk_gib: int
    installation: int = 1
    former: int = 0

    @classmethod
    def of(cls, vps: VpsDeclaration, catalogue: Catalogue) -> DeployedVps:
        """Return what *vps* is once its declaration is made so; its plan is in the catalogue."""
        return cls(
            location=vps.location,
            node=vps.node,
            ipv4=str(vps.ipv4),
            image=vps.image,
            plan=vps.plan,
            disk_gib=catalogue.plans[vps.plan].disk_gib,
            installation=vps.installation,
            former=vps.former_disk.installation if vps.former_disk else 0,
        )

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, Any]) -> DeployedVps:
        """Read the outputs of a `VirtualServer`; numbers come back from Pulumi as floats."""
        facts: dict[str, Any] = {
            field.name: outputs.get(field.name, field.default) for field in fields(cls)
        }
        whole = {name: int(fact) for name, fact in facts.items() if isinstance(fact, float)}
        return cls(**(facts | whole))

    def outputs(self) -> dict[str, str | int]:
        """The facts as `VirtualServer` registers them."""
        return asdict(self)


_REASONS = {
    "location": (
        "the location is final (C10.1)",
        "Order a new VPS at the other location; the client moves its data.",
    ),
    "ipv4": (
        "the IPv4 is fixed for the life of the VPS (C4.3)",
        "Put the address back. A second address is a second VPS.",
    ),
    "node": (
        "an edit cannot move a disk from one host node to another (C6.3)",
        "Put the node back: the disk and its data are there.",
    ),
}
_BY_REINSTALL = "A new system comes by playbooks/reinstall-vps.yml, never by an edit."


def violations(name: str, before: DeployedVps, declared: DeployedVps) -> list[str]:
    """Say what the declaration of *name* would change although it is final.

    Returns:
        One text a violation, with what is deployed, what is declared, why it cannot be, and
        what to do; empty where the declaration may go ahead. Contract: C4.3, C4.7, C10.1.
    """
    found = [
        f"{name}: {field} is {getattr(before, field)} and the declaration says "
        f"{getattr(declared, field)}, but {reason}. {remedy}"
        for field, (reason, remedy) in _REASONS.items()
        if getattr(before, field) != getattr(declared, field)
    ]
    found += _installations(name, before, declared)
    if declared.disk_gib < before.disk_gib:
        found.append(
            f"{name}: plan {declared.plan} has a disk of {declared.disk_gib} GiB and the disk of "
            f"this VPS is {before.disk_gib} GiB ({before.plan}); a disk never shrinks (C4.7). "
            "Choose a plan with at least as much disk, or order a new VPS."
        )
    return found


def vanished(
    client: str, before: Collection[str], declared: Collection[str], ended: Collection[str]
) -> dict[str, str]:
    """Say which VPSs of *client* are declared no more, though nobody ended them.

    Returns:
        One text a VPS, by its name; none for those in *ended*, as ``client/vps``. Contract: C6.3,
        C15.2.
    """
    return {
        name: f"{client}/{name} is declared no more; an edit never ends a VPS. Put it back, or end "
        f"it: playbooks/terminate-vps.yml -e vps={client}/{name}"
        for name in sorted(before)
        if name not in declared and f"{client}/{name}" not in ended
    }


def _installations(name: str, before: DeployedVps, declared: DeployedVps) -> list[str]:
    """Say what is wrong with a change of the system; a reinstall, and the way back, are right."""
    if declared.installation == before.installation:
        if declared.image != before.image:
            return [
                f"{name}: image is {before.image} and the declaration says {declared.image}, but "
                "the image is pinned by the order; an edit would leave the disk as it is. "
                f"{_BY_REINSTALL}"
            ]
        if declared.former not in {0, before.former}:
            return [
                f"{name}: former_disk names installation {declared.former}, and there is no such "
                f"disk. {_BY_REINSTALL}"
            ]
        return []
    forward = not before.former and declared.former == before.installation
    back = bool(before.former) and declared.installation == before.former and not declared.former
    if forward or back:
        return []
    return [
        f"{name}: installation is {before.installation} and the declaration says "
        f"{declared.installation}, but the disk of installation {before.installation} would be "
        f"left behind (C6.3). {_BY_REINSTALL}"
    ]
