"""Which elements a VPS has in the packet filter, and how they change (C4.3, C4.8 to C4.11)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoster.node.kernel.netlink import ByteLimit, Element, Family, Quota, Transaction
from hoster.node.kernel.throttle import UNLIMITED
from hoster.node.kernel.vps_elements import (
    FILTER,
    SETS,
    SHAPER,
    Elements,
    Enforced,
    Measures,
    Place,
    elements_of,
    places_of,
    transaction,
)
from hoster.wire.vps import Vps

WEB = Vps(
    client="acme",
    name="web",
    plan="kvm-1",
    ipv4=IPv4Address("203.0.113.17"),
    guaranteed_mbit_s=100,
    ceiling_mbit_s=None,
    throttle_mbit_s=1,
    traffic_bytes=10**13,
    anchor=date(2026, 1, 31),
    timezone="Europe/Paris",
)
DB = replace(WEB, name="db", ipv4=IPv4Address("203.0.113.18"))
RUNNING = Enforced(WEB, class_minor=0x1F, used_bytes=42)
# As the kernel compares them.
TAP = b"vps-cb007111\0\0\0\0"
MAC = b"\x02\x00\xcb\x00\x71\x11\0\0"
IPV4 = b"\xcb\x00\x71\x11"
IPV4_TYPE = b"\x08\x00\0\0"
CLASS = b"\x1f\x00\x01\x00"  # 1:1f, in the order of this machine's bytes
PORT_25, TCP, UDP = b"\x00\x19", b"\x06\0\0\0", b"\x11\0\0\0"


def by_set(elements: Elements) -> dict[str, list[Element]]:
    found: dict[str, list[Element]] = {}
    for (_, name, key), element in elements.items():
        assert (name, key) == (element.set_name, element.key)
        found.setdefault(name, []).append(element)
    return found


def test_a_running_vps_has_one_element_in_each_set() -> None:
    """C4.3, C4.8, C4.9, C4.10: its tap, its MAC and its address bound together; count and class."""
    assert by_set(elements_of(RUNNING)) == {
        "metered": [Element("metered", TAP + MAC + IPV4_TYPE + IPV4, CLASS, Quota(10**13, 42))],
        "throttles": [Element("throttles", TAP, CLASS, ByteLimit(122_500))],
        "senders": [Element("senders", TAP + MAC + IPV4)],
        "receivers": [Element("receivers", TAP + IPV4)],
        "taps": [Element("taps", TAP)],
        "addresses": [Element("addresses", IPV4)],
        "classes": [Element("classes", IPV4, CLASS)],
    }


def test_the_class_of_what_comes_in_is_the_uplinks() -> None:
    """C4.8: in the table of the family netdev; all others in the bridge's."""
    tables = {name: table for table, name, _ in elements_of(RUNNING)}

    assert (Family.NETDEV, "hoster") == SHAPER == tables.pop("classes")
    assert {(Family.BRIDGE, "hoster")} == {FILTER} == set(tables.values())


def test_a_vps_in_quarantine_neither_sends_nor_receives() -> None:
    """C4.11: nor does its address become free for others to send as."""
    cut = replace(RUNNING, measures=Measures(quarantined=True))
    gone = {"metered", "senders", "receivers", "taps"}

    assert gone == {name for _, name, _ in elements_of(RUNNING).keys() - elements_of(cut).keys()}
    assert elements_of(cut).items() <= elements_of(RUNNING).items()


def test_a_throttled_vps_has_nothing_left_of_its_quota() -> None:
    """C4.11: from the first byte, and its volume is counted on."""
    slow = replace(RUNNING, measures=Measures(throttled=True))

    [metered] = by_set(elements_of(slow))["metered"]
    assert Quota(0, 42) == metered.statement
    assert 1 == len(elements_of(RUNNING).items() - elements_of(slow).items())


def test_a_plans_throttle_is_its_rate_less_what_the_bucket_holds() -> None:
    """C4.10: 2 % under 10 Mbit/s, in bytes."""
    faster = replace(RUNNING, vps=replace(WEB, throttle_mbit_s=10))

    [throttle] = by_set(elements_of(faster))["throttles"]
    assert ByteLimit(1_225_000) == throttle.statement


@pytest.mark.parametrize("used", [0, 10**13, 2**62])
def test_unlimited_is_a_quota_that_nobody_reaches(used: int) -> None:
    """C4.9: whatever was used."""
    unlimited = replace(RUNNING, vps=replace(WEB, traffic_bytes=None), used_bytes=used)

    [metered] = by_set(elements_of(unlimited))["metered"]
    assert Quota(UNLIMITED, used) == metered.statement
    assert used < UNLIMITED < 2**63


def test_a_closed_port_is_closed_for_its_vps_and_protocol() -> None:
    """C4.11: the look for ports is the same for both protocols, the verdict is not."""
    closed = Measures(blocked=frozenset({("tcp", 25), ("udp", 25), ("tcp", 6667)}))
    sets = by_set(elements_of(replace(RUNNING, measures=closed)))

    assert {
        TAP + TCP + PORT_25 + b"\0\0",
        TAP + UDP + PORT_25 + b"\0\0",
        TAP + TCP + b"\x1a\x0b\0\0",
    } == {element.key for element in sets["blocks"]}
    assert {PORT_25, b"\x1a\x0b"} == {element.key for element in sets["block_ports"]}
    assert elements_of(RUNNING).items() <= elements_of(replace(RUNNING, measures=closed)).items()


def test_the_places_of_a_vps_are_all_that_it_may_have_but_what_it_shares() -> None:
    """C4.11: who stops leaves nothing, and opens no port for another VPS."""
    closed = frozenset({("tcp", 25)})
    everything = replace(RUNNING, measures=Measures(throttled=True, blocked=closed))
    places = places_of(WEB, closed)

    assert places < set(elements_of(everything))
    assert {(FILTER, "block_ports", PORT_25)} == set(elements_of(everything)) - places
    assert places_of(WEB) == set(elements_of(RUNNING))
    assert not places & places_of(DB, closed)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_two_vpss_share_no_element(one: IPv4Address, other: IPv4Address) -> None:
    """C7.2."""
    a, b = places_of(replace(WEB, ipv4=one)), places_of(replace(WEB, ipv4=other))

    assert (a == b) if one == other else not a & b


def test_every_set_of_an_element_is_one_that_is_reconciled() -> None:
    """What reconcile did not read, it could not repair."""
    closed = replace(RUNNING, measures=Measures(blocked=frozenset({("tcp", 25)})))

    assert {(table, name) for table, name, _ in elements_of(closed)} == {
        (table, name) for table, names in SETS.items() for name in names
    }


# -- what turns the one into the other

enforced = st.builds(
    Enforced,
    st.builds(
        lambda vps, quota, throttle: replace(vps, traffic_bytes=quota, throttle_mbit_s=throttle),
        st.sampled_from([WEB, DB]),
        st.sampled_from([None, 1, 10**13]),
        st.sampled_from([1, 10]),
    ),
    class_minor=st.sampled_from([16, 17]),
    used_bytes=st.integers(0, 2**62),
    measures=st.builds(
        Measures,
        st.booleans(),
        st.booleans(),
        st.frozensets(st.sampled_from([("tcp", 25), ("udp", 25), ("tcp", 80)])),
    ),
)


@st.composite
def kernels(draw: st.DrawFn) -> Elements:
    """Elements of some VPSs, with some of them lost, as after somebody's `nft delete element`."""
    found: Elements = {}
    for one in draw(st.lists(enforced, max_size=3)):
        found |= elements_of(one)
    lost = draw(st.sets(st.sampled_from(sorted(found, key=repr)))) if found else set()
    return {place: element for place, element in found.items() if place not in lost}


def place_of(element: Element) -> Place:
    table = SHAPER if element.set_name == "classes" else FILTER
    return table, element.set_name, element.key


def after(changes: Transaction, current: Elements) -> Elements:
    """What a kernel has then, that refuses to delete what is not there or to add what is."""
    kernel = dict(current)
    for element in changes.deleted:
        del kernel[place_of(element)]
    for element in changes.added:
        assert place_of(element) not in kernel
        kernel[place_of(element)] = element
    return kernel


def uncounted(elements: Elements) -> Elements:
    """The same with no count in them."""
    return {
        place: replace(element, statement=Quota(element.statement.limit_bytes))
        if isinstance(element.statement, Quota)
        else element
        for place, element in elements.items()
    }


def counts(elements: Elements) -> dict[Place, int]:
    return {
        place: element.statement.used_bytes
        for place, element in elements.items()
        if isinstance(element.statement, Quota)
    }


@given(current=kernels(), desired=kernels())
def test_a_transaction_turns_what_is_into_what_is_wanted(
    current: Elements, desired: Elements
) -> None:
    """C4.9: and every count that the kernel has goes on."""
    kernel = after(transaction(current, [desired]), current)

    assert uncounted(desired) == uncounted(kernel)
    kept = {place: count for place, count in counts(current).items() if place in desired}
    assert counts(desired) | kept == counts(kernel)


@given(current=kernels(), desired=kernels(), data=st.data())
def test_a_recount_starts_with_what_is_wanted_and_no_other_does(
    current: Elements, desired: Elements, data: st.DataObject
) -> None:
    """C4.9: a cycle that turns."""
    metered = sorted(counts(desired), key=repr)
    recount = set(data.draw(st.sampled_from([metered, metered[:1], []])))
    kernel = after(transaction(current, [desired], recount), current)
    kept = {place: n for place, n in counts(current).items() if place in desired}

    assert uncounted(desired) == uncounted(kernel)
    assert counts(kernel) == counts(desired) | {
        place: count for place, count in kept.items() if place not in recount
    }


@given(current=kernels(), desired=kernels())
def test_a_transaction_done_leaves_nothing_to_do(current: Elements, desired: Elements) -> None:
    """C4.9: whatever was counted meanwhile."""
    kernel = after(transaction(current, [desired]), current)
    counted_on = {
        place: replace(one, statement=replace(one.statement, used_bytes=2**62 + 1))
        if isinstance(one.statement, Quota)
        else one
        for place, one in kernel.items()
    }

    assert not transaction(kernel, [desired])
    assert not transaction(counted_on, [desired])


@given(current=kernels(), desired=kernels())
def test_what_need_not_change_is_not_touched(current: Elements, desired: Elements) -> None:
    """C4.8: no gap for a neighbour, and no more work than the difference."""
    changes = transaction(current, [desired])
    same = {
        place
        for place in current.keys() & desired.keys()
        if uncounted({place: current[place]}) == uncounted({place: desired[place]})
    }

    assert not same & {place_of(one) for one in (*changes.added, *changes.deleted)}


def test_nothing_wanted_of_nothing_there_is_no_transaction() -> None:
    """An act that changes nothing says so."""
    assert not transaction({}, [])
    assert not transaction(elements_of(RUNNING), [elements_of(RUNNING)])
    assert transaction({}, [elements_of(RUNNING)])
    assert transaction(elements_of(RUNNING), [])
