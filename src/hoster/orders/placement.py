"""Which host node carries a VPS: nothing dedicated is sold twice, nothing shared beyond its factor.

Pure: the catalogue and all declarations in, a node or the reasons against every node out.
Contract: C2.1, C4.7, C4.8.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from hoster.errors import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hoster.catalogue import Catalogue, Node, Plan
    from hoster.orders.declarations import VpsDeclaration

_LABELS = {
    "disk_gib": "disk (GiB)",
    "memory_mib": "RAM (MiB)",
    "vcpus": "vCPUs",
    "guaranteed_mbit_s": "guaranteed bandwidth (Mbit/s)",
}


@dataclass(frozen=True)
class Resources:
    """An amount of each thing that a node can run out of."""

    disk_gib: int = 0
    memory_mib: int = 0
    vcpus: int = 0
    guaranteed_mbit_s: int = 0

    @classmethod
    def of_plan(cls, plan: Plan) -> Resources:
        """What a VPS of *plan* takes."""
        return cls(plan.disk_gib, plan.memory_mib, plan.vcpus, plan.guaranteed_mbit_s)

    @classmethod
    def of_node(cls, node: Node) -> Resources:
        """What may be sold of *node*: RAM and CPUs times their factors, disk and uplink once."""
        capacity = node.capacity
        for_guests = max(0, capacity.memory_mib - capacity.reserved_memory_mib)
        return cls(
            capacity.disk_gib,
            int(for_guests * capacity.memory_factor),
            int(capacity.vcpus * capacity.vcpu_factor),
            capacity.uplink_mbit_s,
        )

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(a + b for a, b in zip(self.amounts(), other.amounts(), strict=True)))

    def __sub__(self, other: Resources) -> Resources:
        return Resources(*(a - b for a, b in zip(self.amounts(), other.amounts(), strict=True)))

    def amounts(self) -> tuple[int, ...]:
        """The amounts in the order of the fields."""
        return (self.disk_gib, self.memory_mib, self.vcpus, self.guaranteed_mbit_s)

    def below_zero(self) -> list[str]:
        """The fields that are negative."""
        return [field.name for field in fields(self) if getattr(self, field.name) < 0]


def usage(catalogue: Catalogue, declared: Iterable[VpsDeclaration]) -> Mapping[str, Resources]:
    """Return what the declarations take of each node; an unknown plan takes nothing."""
    taken: dict[str, Resources] = defaultdict(Resources)
    plans = {name: Resources.of_plan(plan) for name, plan in catalogue.plans.items()}
    for vps in declared:
        taken[vps.node] += plans.get(vps.plan, Resources())
        if vps.former_disk:
            taken[vps.node] += Resources(disk_gib=vps.former_disk.disk_gib)
    return taken


def shortages(node: Node, taken: Resources, more: Resources = Resources()) -> list[str]:
    """Say which resources of *node* are short when *more* is asked beside what is *taken*."""
    capacity = Resources.of_node(node)
    free = capacity - taken
    return [
        f"{_LABELS[field]}: {getattr(more, field)} asked, {max(0, getattr(free, field))} free of "
        f"{getattr(capacity, field)}"
        if getattr(more, field)
        else f"{_LABELS[field]}: {getattr(taken, field)} declared of {getattr(capacity, field)}"
        for field in (free - more).below_zero()
    ]


def place(
    catalogue: Catalogue,
    declared: Iterable[VpsDeclaration],
    *,
    plan: Plan,
    location: str,
    wish: str | None = None,
) -> str:
    """Return the node of *location* that keeps the largest share free of its scarcest resource.

    Equal nodes are told apart by name, so that the choice is the same for everyone. *wish* narrows
    the choice to one node.

    Raises:
        NoRoomError: no node has room; the message says what is short on each.
    """
    taken, more = usage(catalogue, declared), Resources.of_plan(plan)
    nodes = [node for node in catalogue.nodes_of(location) if wish in {None, node.name}]
    short = {node.name: shortages(node, taken.get(node.name, Resources()), more) for node in nodes}
    fitting = [node for node in nodes if not short[node.name]]
    if not fitting:
        raise _no_room(location, short)
    best = max(
        fitting, key=lambda node: _share_left(node, taken.get(node.name, Resources()) + more)
    )
    return best.name


def judge_resize(
    catalogue: Catalogue, declared: Iterable[VpsDeclaration], vps: VpsDeclaration, plan: Plan
) -> None:
    """Refuse a resize that the VPS's own node has no room for.

    Raises:
        NoRoomError: something is short; nothing was touched. Contract: C4.7.
    """
    node = catalogue.nodes[vps.node]
    taken = usage(catalogue, (other for other in declared if other.full_name != vps.full_name))
    short = shortages(node, taken.get(node.name, Resources()), Resources.of_plan(plan))
    if short:
        raise NoRoomError(
            f"{vps.full_name} cannot switch over: {node.name} is short of {'; '.join(short)}",
            remedy="A switchover cannot be guaranteed (C4.7): choose a plan that fits, or make "
            "room on the node. Nothing was written.",
        )


def judge_reinstall(
    catalogue: Catalogue, declared: Iterable[VpsDeclaration], vps: VpsDeclaration
) -> None:
    """Refuse a reinstall whose new disk has no room beside the old one.

    Raises:
        NoRoomError: the node has no such disk left; nothing was touched. Contract: C2.1, C6.3.
    """
    node, disk = catalogue.nodes[vps.node], catalogue.plans[vps.plan].disk_gib
    taken = usage(catalogue, declared).get(node.name, Resources())
    short = shortages(node, taken, Resources(disk_gib=disk))
    if short:
        raise NoRoomError(
            f"{vps.full_name} cannot be reinstalled: {node.name} is short of {'; '.join(short)}; "
            "the new disk is made beside the old one",
            remedy="Make room on the node. Nothing was touched.",
        )


def _share_left(node: Node, taken: Resources) -> float:
    capacity = Resources.of_node(node)
    shares = zip((capacity - taken).amounts(), capacity.amounts(), strict=True)
    return min(left / whole for left, whole in shares if whole)


def _no_room(location: str, short: Mapping[str, list[str]]) -> NoRoomError:
    lines = [f"  {node}: {'; '.join(reasons)}" for node, reasons in sorted(short.items())]
    reason = "\n".join(lines) or "  it has no such host node"
    return NoRoomError(
        f"no room at {location}:\n{reason}",
        remedy="Choose a smaller plan or another location, or add a host node. "
        "Nothing was written.",
    )
