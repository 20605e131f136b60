"""From a wish to a declaration: what an order and a resize decide, with nothing written yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from hoster.errors import ConfigurationError, RuleError
from hoster.orders import addresses, placement
from hoster.orders.declarations import VpsDeclaration, parse_vps
from hoster.problems import near

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime
    from ipaddress import IPv4Address

    from hoster.catalogue import Catalogue, Location, Plan
    from hoster.orders.declarations import Declarations


@dataclass(frozen=True)
class Order:
    """What ops ask for; ``ipv4`` and ``node`` are wishes, None lets the rules choose."""

    client: str
    name: str
    plan: str
    image: str
    location: str
    ssh_keys: tuple[str, ...] = ()
    term_months: int = 1
    ipv4: IPv4Address | None = None
    node: str | None = None

    @property
    def full_name(self) -> str:
        """``client/vps``."""
        return f"{self.client}/{self.name}"


def choose(
    catalogue: Catalogue,
    declared: Declarations,
    order: Order,
    *,
    held: AbstractSet[IPv4Address],
    released: Mapping[IPv4Address, datetime],
    now: datetime,
) -> VpsDeclaration:
    """Return the declaration that *order* becomes: pinned image, node with room, free address.

    *held* are addresses that were ordered and never given back, declared or not; *released* says
    when others were given back. Contract: C2.1, C4.1, C4.3, C10.1.

    Raises:
        ConfigurationError: a name that the catalogue does not have, or a field that is not valid.
        NoRoomError: no node, or no address, is left.
        RuleError: the wished address cannot be had.
    """
    plan, location = _known(catalogue, order)
    release = catalogue.images[order.image].default_release
    node = placement.place(catalogue, declared, plan=plan, location=order.location, wish=order.node)
    ipv4 = addresses.allocate(
        location.pools,
        taken=declared.addresses().keys() | held,
        quarantine=addresses.quarantined(released, catalogue.policy.address_quarantine_days, now),
        wish=order.ipv4,
    )
    fields = {
        "plan": order.plan,
        "image": f"{order.image}@{release}",
        "location": order.location,
        "node": node,
        "ipv4": str(ipv4),
        "ssh_keys": order.ssh_keys,
        "term_months": order.term_months,
        "since": now.astimezone(ZoneInfo(catalogue.policy.timezone)).date(),
    }
    return _declared(order, fields)


def _declared(order: Order, fields: Mapping[str, Any]) -> VpsDeclaration:
    try:
        return parse_vps(order.client, order.name, fields)
    except ValidationError as error:
        lines = [f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors()]
        raise ConfigurationError(f"{order.full_name}: " + "; ".join(lines)) from error


def _known(catalogue: Catalogue, order: Order) -> tuple[Plan, Location]:
    for what, name, known in (
        ("plan", order.plan, catalogue.plans),
        ("image", order.image, catalogue.images),
        ("location", order.location, catalogue.locations),
        ("node", order.node, {node.name for node in catalogue.nodes_of(order.location)}),
    ):
        if name is not None and name not in known:
            raise ConfigurationError(f"{order.full_name}: unknown {what} {name}{near(name, known)}")
    return catalogue.plans[order.plan], catalogue.locations[order.location]


def differences(order: Order, existing: VpsDeclaration) -> list[str]:
    """Say in what an order of a VPS that is declared already differs from its declaration."""
    asked: Iterable[tuple[str, object, object]] = (
        ("plan", order.plan, existing.plan),
        ("image", order.image, existing.image_name),
        ("location", order.location, existing.location),
        ("ssh_keys", order.ssh_keys, existing.ssh_keys),
        ("term_months", order.term_months, existing.term_months),
        ("ipv4", order.ipv4 or existing.ipv4, existing.ipv4),
        ("node", order.node or existing.node, existing.node),
    )
    return [f"{name}: {was} is declared, {now} asked" for name, now, was in asked if now != was]


def resized(
    catalogue: Catalogue, declared: Declarations, vps: VpsDeclaration, plan: str
) -> VpsDeclaration:
    """Return the declaration of *vps*, one of *declared*, on another *plan*.

    Raises:
        ConfigurationError: no such plan.
        RuleError: the plan's disk is smaller than the VPS's; a disk never shrinks (C4.7).
        NoRoomError: its node has no room (C4.7).
    """
    full_name = vps.full_name
    if plan not in catalogue.plans:
        raise ConfigurationError(f"unknown plan {plan}{near(plan, catalogue.plans)}")
    old, new = catalogue.plans.get(vps.plan), catalogue.plans[plan]
    if old and new.disk_gib < old.disk_gib:
        raise RuleError(
            f"{full_name}: plan {plan} has a disk of {new.disk_gib} GiB and the VPS has "
            f"{old.disk_gib} GiB ({vps.plan}); a disk never shrinks (C4.7)",
            remedy="Choose a plan with at least as much disk, or order a new VPS and let the "
            "client move its data.",
        )
    if old and new.range != old.range:
        raise RuleError(
            f"{full_name}: {plan} is of the range {new.range}, and the VPS of {old.range}",
            remedy="A change of range is a new VPS.",
        )
    placement.judge_resize(catalogue, declared, vps, new)
    return vps.model_copy(update={"plan": plan})
