"""Whom a change touches, and how: plan, reboot, price, room on the nodes.

As far as declarations tell: that a guest is switched off, or has no memory slot left, is its node's
to know, and `pulumi preview`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hoster.billing.cycles import cycle_end, cycle_start
from hoster.orders.placement import Resources, usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date, datetime

    from hoster.catalogue import Catalogue, Plan
    from hoster.orders.declarations import VpsDeclaration

CENT = Decimal("0.01")
PLUG_MIB = 128
"""Memory is plugged into a running guest in multiples of it."""


class How(StrEnum):
    """What a change costs a running VPS."""

    NEW = "new"
    GONE = "gone"
    REBOOT = "one reboot"
    LIVE = "live"


@dataclass(frozen=True)
class Reached:
    """A VPS that a change touches.

    ``what`` changes, as «memory_mib 1024 -> 2048»; ``month_eur`` is the difference of its monthly
    price, ``pro_rata_eur`` what of it falls on the days that are left until ``paid_until``, the
    end of the month that is paid. Both are negative where it becomes cheaper.
    """

    vps: str
    node: str
    how: How
    old_plan: str | None
    new_plan: str | None
    what: tuple[str, ...]
    month_eur: Decimal
    pro_rata_eur: Decimal
    paid_until: date


@dataclass(frozen=True)
class NodeRoom:
    """What declarations take of a node, before and after, of what may be sold of it."""

    node: str
    before: Resources
    after: Resources
    capacity: Resources


@dataclass(frozen=True)
class Side:
    """A catalogue, and declarations under it."""

    catalogue: Catalogue
    declared: Mapping[str, VpsDeclaration]


def reached(old: Side, new: Side, now: datetime) -> list[Reached]:
    """Return the VPSs that differ, by name; a plan that is in no catalogue counts for nothing."""
    names = sorted(old.declared.keys() | new.declared.keys())
    filtered = {
        location: tuple(_differences(*(_filtered(side.catalogue, location) for side in (old, new))))
        for location in new.catalogue.locations
    }
    return [one for name in names if (one := _reached(name, old, new, now, filtered))]


def _reached(
    name: str, old: Side, new: Side, now: datetime, filtered: Mapping[str, tuple[str, ...]]
) -> Reached | None:
    was, vps = old.declared.get(name), new.declared.get(name)
    before, after = _plan(old, was), _plan(new, vps)
    what: tuple[str, ...] = ()
    if was and vps:
        terms = deployed_terms(was, old.catalogue), deployed_terms(vps, new.catalogue)
        prices = ({"price_eur_month": _price(plan)} for plan in (before, after))
        what = (*_differences(*terms), *_differences(*prices), *filtered.get(vps.location, ()))
        if not what:
            return None
    one = new.declared.get(name) or old.declared[name]
    month = _price(after) - _price(before)
    zone = new.catalogue.policy.timezone
    start, end = cycle_start(one.since, zone, now), cycle_end(one.since, zone, now)
    # Whole days, of which today is still paid.
    left, whole = (end.date() - now.astimezone(end.tzinfo).date()).days, (end - start).days
    return Reached(
        vps=name,
        node=one.node,
        how=_how(name, old, new, what),
        old_plan=was.plan if was else None,
        new_plan=vps.plan if vps else None,
        what=what,
        month_eur=month,
        pro_rata_eur=(month * min(left, whole) / whole).quantize(CENT, ROUND_HALF_EVEN),
        paid_until=end.date(),
    )


def _plan(side: Side, vps: VpsDeclaration | None) -> Plan | None:
    return side.catalogue.plans.get(vps.plan) if vps else None


def _price(plan: Plan | None) -> Decimal:
    return plan.price_eur_month if plan else Decimal(0)


_HARDWARE = {
    *("max_vcpus", "max_memory_mib", "memory_slots", "bridge", "domain_type", "installation"),
}
"""What a running guest cannot be given from outside."""


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            yield f"{name} {_said(before.get(name))} -> {_said(after.get(name))}"


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return f"({len(value)})"
    return "none" if value is None else str(value)


def deployed_terms(vps: VpsDeclaration, catalogue: Catalogue) -> dict[str, Any]:
    """Return all that *vps* is deployed from, by the name that people know it by.

    What is not in *catalogue* is none.
    """
    found = vps.model_dump(exclude={"client", "name", "former_disk"})
    if plan := catalogue.plans.get(vps.plan):
        found |= plan.model_dump(exclude={"title", "range", "price_eur_month"})
    policy, node = catalogue.policy, catalogue.nodes.get(vps.node)
    image = catalogue.images.get(vps.image_name)
    location = catalogue.locations.get(vps.location)
    pool = next((one for one in location.pools if vps.ipv4 in one.cidr), None) if location else None
    return found | {
        "user": image.default_user if image else None,
        "max_vcpus": policy.headroom.vcpus,
        "max_memory_mib": policy.headroom.memory_mib,
        "memory_slots": policy.headroom.memory_slots,
        "storage_pool": policy.storage_pool,
        "bridge": policy.bridge,
        "timezone": policy.timezone,
        "domain_type": node.domain_type if node else None,
        "libvirt_uri": node.libvirt_uri if node else None,
        "prefix": pool.cidr.prefixlen if pool else None,
        "gateway": pool.gateway if pool else None,
        "dns": tuple(pool.dns) if pool else None,
    }


def redeployed(old: Catalogue, new: Catalogue, declared: Iterable[VpsDeclaration]) -> set[str]:
    """Return the clients of those *declared* VPSs that another catalogue deploys otherwise."""
    return {vps.client for vps in declared if deployed_terms(vps, old) != deployed_terms(vps, new)}


def _filtered(catalogue: Catalogue, location: str) -> dict[str, str]:
    """Return what the packet filter limits and refuses in *location*, by what people call it."""
    policy = catalogue.network
    found = {
        f"{protocol} {term}": str(value)
        for protocol, limit in policy.limits.model_dump().items()
        for term, value in limit.items()
    }
    for refused in policy.refused_ports:
        if refused.holds_in(location):
            ports = " ".join(map(str, refused.ports))
            what = f"{refused.direction} {refused.protocol} {refused.end} {ports}"
            name = f"refused {refused.name}"  # several may be called so
            found[name] = f"{found[name]}; {what}" if name in found else what
    return found


def _how(name: str, old: Side, new: Side, what: tuple[str, ...]) -> How:
    was, vps = old.declared.get(name), new.declared.get(name)
    if was is None or vps is None:
        return How.NEW if vps else How.GONE
    before, after = _plan(old, was), _plan(new, vps)
    hardware = any(text.partition(" ")[0] in _HARDWARE for text in what)
    if hardware or (before and after and not _plugs(before, after, new.catalogue)):
        return How.REBOOT
    return How.LIVE


def _plugs(before: Plan, after: Plan, catalogue: Catalogue) -> bool:
    """Whether a running guest can be given the difference from outside (C4.7)."""
    most = catalogue.policy.headroom
    memory = after.memory_mib - before.memory_mib
    return (
        memory >= 0
        and memory % PLUG_MIB == 0
        and (memory == 0 or after.memory_mib <= most.memory_mib)
        and before.vcpus <= after.vcpus
        and (after.vcpus == before.vcpus or after.vcpus <= most.vcpus)
    )


def rooms(old: Side, new: Side) -> list[NodeRoom]:
    """Return the nodes of which another amount is taken, or there is, by name."""
    before = usage(old.catalogue, old.declared.values())
    after = usage(new.catalogue, new.declared.values())
    capacities = {name: Resources.of_node(node) for name, node in new.catalogue.nodes.items()}
    were = {name: Resources.of_node(node) for name, node in old.catalogue.nodes.items()}
    nothing = Resources()
    return [
        NodeRoom(
            name,
            before.get(name, nothing),
            after.get(name, nothing),
            capacities.get(name, nothing),
        )
        for name in sorted(capacities.keys() | were.keys())
        if before.get(name, nothing) != after.get(name, nothing)
        or capacities.get(name) != were.get(name)
    ]


def total(some: Iterable[Reached]) -> tuple[Decimal, Decimal]:
    """Return the sums of monthly and pro-rata differences."""
    every = list(some)
    return sum((one.month_eur for one in every), Decimal(0)), sum(
        (one.pro_rata_eur for one in every), Decimal(0)
    )
