"""Which elements of the packet filter a VPS has: the whole of what the node enforces for it.

Pure: state in, elements out, and the difference to what the kernel has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.node.kernel import netlink as nft
from hoster.node.kernel import throttle
from hoster.node.kernel.netlink import Element, Family, Quota

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from hoster.wire.vps import Vps

FILTER = (Family.BRIDGE, "hoster")
SHAPER = (Family.NETDEV, "hoster")
SETS = {
    FILTER: (
        *("metered", "throttles", "senders", "receivers", "taps", "addresses"),
        *("blocks", "block_ports"),
    ),
    SHAPER: ("classes",),
}
CLASS_MAJOR = 1
_IPV4 = 0x0800
PROTOCOLS = {"tcp": 6, "udp": 17}

Place = tuple[tuple[Family, str], str, bytes]


@dataclass(frozen=True, slots=True)
class Measures:
    """What is in force against a VPS beyond its plan.

    ``blocked`` holds protocol and port of what it may not send to.
    """

    quarantined: bool = False
    throttled: bool = False
    blocked: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Enforced:
    """A running VPS with what is in force: all that its elements are made from.

    ``class_minor`` is the number of its traffic class, ``used_bytes`` its outbound volume of the
    cycle.
    """

    vps: Vps
    class_minor: int
    used_bytes: int
    measures: Measures = Measures()


Elements = dict[Place, Element]


def elements_of(enforced: Enforced) -> Elements:
    """Return the elements of a running VPS, by their place."""
    vps, measures = enforced.vps, enforced.measures
    tap, ipv4 = nft.interface(vps.tap), nft.ipv4(vps.ipv4)
    class_id = nft.class_id(CLASS_MAJOR, enforced.class_minor)
    free = throttle.free_bytes(vps, throttled=measures.throttled)
    quota = Quota(free, enforced.used_bytes)
    filtered = [
        Element("throttles", tap, class_id, throttle.bucket(vps)),
        Element("addresses", ipv4),
        *(
            Element("blocks", tap + nft.protocol(PROTOCOLS[name]) + nft.port(port, padded=True))
            for name, port in sorted(measures.blocked)
        ),
        *(Element("block_ports", nft.port(port)) for _, port in sorted(measures.blocked)),
    ]
    if not measures.quarantined:
        filtered += [
            Element("metered", metered(vps)[2], class_id, quota),
            Element("senders", tap + nft.mac(vps.mac) + ipv4),
            Element("receivers", tap + ipv4),
            Element("taps", tap),
        ]
    shaped = [Element("classes", ipv4, class_id)]
    return _placed(FILTER, filtered) | _placed(SHAPER, shaped)


def metered(vps: Vps) -> Place:
    """Return where a VPS's outbound bytes are counted (C4.9)."""
    sender = nft.interface(vps.tap) + nft.mac(vps.mac)
    return FILTER, "metered", sender + nft.ethertype(_IPV4) + nft.ipv4(vps.ipv4)


def _placed(table: tuple[Family, str], some: Iterable[Element]) -> Elements:
    return {(table, element.set_name, element.key): element for element in some}


def places_of(vps: Vps, blocked: Iterable[tuple[str, int]] = ()) -> set[Place]:
    """Return every place where a VPS may have an element of its own, in force or not."""
    everything = Measures(blocked=frozenset(blocked))
    places = set(elements_of(Enforced(vps, 0, 0, everything)))
    return {place for place in places if place[1] != "block_ports"}


def noted(vps: Vps, class_minor: int) -> list[tuple[str, bytes]]:
    """Return set and key of each element that the rules may have made for a VPS by themselves."""
    by_tap, by_class = nft.interface(vps.tap), nft.class_id(CLASS_MAJOR, class_minor)
    return [
        *((name, by_tap) for name in ("refused", "arp_out", "udp_in", "icmp_in")),
        *((name, by_class) for name in ("udp_out", "icmp_out")),
    ]


def transaction(
    current: Mapping[Place, Element],
    desired: Iterable[Elements],
    recount: Container[Place] = (),
) -> nft.Transaction:
    """Return what turns *current* into *desired*; empty where nothing is to be done.

    *desired* are the elements of one VPS after the other: a node with a thousand of them needs
    no room for all at once. What the kernel counts goes on: an element that differs in its count
    alone stays, and one that must be made anew takes over the kernel's count, but for those in
    *recount*, which start with the count that *desired* says.
    """
    unwanted = dict.fromkeys(current)
    doomed: list[Place] = []
    added: dict[Place, Element] = {}
    for some in desired:
        for place, wanted in some.items():
            unwanted.pop(place, None)
            before, anew = current.get(place), place in recount
            if before is not None and not anew and _same(before, wanted):
                continue
            if before is not None and place not in added:
                doomed.append(place)
            added[place] = _counting_on(wanted, None if anew else before)
    doomed += unwanted
    changes = nft.Transaction()
    for table in SETS:
        changes.delete(*table, [current[place] for place in doomed if place[0] == table])
        changes.add(*table, [element for place, element in added.items() if place[0] == table])
    return changes


def _same(one: Element, other: Element) -> bool:
    return one.value == other.value and _terms(one) == _terms(other)


def _terms(element: Element) -> object:
    statement = element.statement
    return statement.limit_bytes if isinstance(statement, Quota) else statement


def _counting_on(wanted: Element, before: Element | None) -> Element:
    if before is None or not isinstance(before.statement, Quota):
        return wanted
    if not isinstance(wanted.statement, Quota):
        return wanted
    quota = Quota(wanted.statement.limit_bytes, before.statement.used_bytes)
    return Element(wanted.set_name, wanted.key, wanted.value, quota)
