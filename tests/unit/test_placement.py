"""A node with room, or what every node is short of (C2.1, C4.7, C4.8)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoster.catalogue import Catalogue, Node, NodeCapacity, Plan
from hoster.errors import NoRoomError
from hoster.orders.declarations import VpsDeclaration
from hoster.orders.placement import Resources, judge_resize, place, shortages, usage

Declared = Callable[..., VpsDeclaration]


def node(name: str = "paris-1", **capacity: Any) -> Node:
    usual = {
        "disk_gib": 1000,
        "memory_mib": 102048,
        "vcpus": 100,
        "uplink_mbit_s": 10000,
        "vcpu_factor": 1,
    }
    return Node(
        name=name,
        location="paris",
        libvirt_uri="qemu:///system",
        capacity=NodeCapacity(**(usual | capacity)),
    )


def with_nodes(catalogue: Catalogue, *nodes: Node) -> Catalogue:
    return catalogue.model_copy(update={"nodes": {each.name: each for each in nodes}})


def fill(declared: Declared, count: int, **fields: Any) -> list[VpsDeclaration]:
    return [
        declared(f"acme/v{number}", ipv4=f"203.0.113.{number + 10}", **fields)
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("capacity", "said"),
    [
        ({"disk_gib": 59}, "disk (GiB): 20 asked, 19 free of 59"),
        ({"memory_mib": 2048 + 6143}, "RAM (MiB): 2048 asked, 2047 free of 6143"),
        ({"vcpus": 5}, "vCPUs: 2 asked, 1 free of 5"),
        (
            {"uplink_mbit_s": 299},
            "guaranteed bandwidth (Mbit/s): 100 asked, 99 free of 299",
        ),
    ],
)
def test_the_resource_that_is_short_is_named_with_its_numbers(
    catalogue: Catalogue, declared: Declared, capacity: dict[str, int], said: str
) -> None:
    tight = with_nodes(catalogue, node(**capacity))

    with pytest.raises(NoRoomError) as caught:
        place(tight, fill(declared, 2), plan=catalogue.plans["kvm-2"], location="paris")

    assert f"paris-1: {said}" in caught.value.message


@pytest.mark.parametrize(
    "capacity",
    [{"disk_gib": 60}, {"memory_mib": 2048 + 6144}, {"vcpus": 6}, {"uplink_mbit_s": 300}],
)
def test_the_last_bit_of_room_is_sold(
    catalogue: Catalogue, declared: Declared, capacity: dict[str, int]
) -> None:
    exact = with_nodes(catalogue, node(**capacity))

    assert "paris-1" == place(
        exact, fill(declared, 2), plan=catalogue.plans["kvm-2"], location="paris"
    )


def test_ram_and_cpus_are_sold_up_to_their_factors_and_disk_once() -> None:
    shared = node(
        disk_gib=10,
        memory_mib=4096,
        reserved_memory_mib=1024,
        memory_factor=1.5,
        vcpus=3,
        vcpu_factor=4,
    )

    assert Resources(10, 4608, 12, 10000) == Resources.of_node(shared)


def test_every_node_is_named_when_none_has_room(catalogue: Catalogue) -> None:
    full = with_nodes(catalogue, node("paris-1", disk_gib=1), node("paris-2", vcpus=1))

    with pytest.raises(NoRoomError) as caught:
        place(full, [], plan=catalogue.plans["kvm-2"], location="paris")

    assert "paris-1: disk" in caught.value.message
    assert "paris-2: vCPUs" in caught.value.message


def test_the_node_with_most_left_of_its_scarcest_resource_is_chosen(
    catalogue: Catalogue, declared: Declared
) -> None:
    two = with_nodes(catalogue, node("paris-1"), node("paris-2", disk_gib=100))
    plan = catalogue.plans["kvm-2"]

    assert "paris-1" == place(two, [], plan=plan, location="paris")
    assert "paris-2" == place(two, fill(declared, 20), plan=plan, location="paris")


def test_equal_nodes_are_told_apart_by_name(catalogue: Catalogue) -> None:
    twins = with_nodes(catalogue, node("paris-2"), node("paris-1"))

    assert "paris-1" == place(twins, [], plan=catalogue.plans["kvm-1"], location="paris")


def test_a_wish_narrows_the_choice_and_is_no_permission(catalogue: Catalogue) -> None:
    two = with_nodes(catalogue, node("paris-1"), node("paris-2", disk_gib=5))
    plan = catalogue.plans["kvm-1"]

    assert "paris-1" == place(two, [], plan=plan, location="paris", wish="paris-1")
    with pytest.raises(NoRoomError, match="paris-2: disk"):
        place(two, [], plan=plan, location="paris", wish="paris-2")


def test_a_resize_counts_the_vps_once(catalogue: Catalogue, declared: Declared) -> None:
    snug = with_nodes(catalogue, node(disk_gib=60))
    vps, other = fill(declared, 2)

    judge_resize(snug, [vps, other], vps, catalogue.plans["kvm-4"])


def test_a_resize_without_room_names_what_is_short(
    catalogue: Catalogue, declared: Declared
) -> None:
    snug = with_nodes(catalogue, node(disk_gib=59))
    vps, other = fill(declared, 2)

    with pytest.raises(NoRoomError) as caught:
        judge_resize(snug, [vps, other], vps, catalogue.plans["kvm-4"])

    assert "paris-1 is short of disk (GiB): 40 asked, 39 free of 59" in caught.value.message
    assert "cannot be guaranteed (C4.7)" in caught.value.remedy


plans = st.builds(
    Plan,
    range=st.just("kvm"),
    title=st.just("any"),
    vcpus=st.integers(1, 16),
    memory_mib=st.integers(1, 64).map(lambda n: n * 128),
    disk_gib=st.integers(1, 100),
    price_eur_month=st.just("1.00"),
    guaranteed_mbit_s=st.integers(1, 200),
)
nodes = st.builds(
    node,
    disk_gib=st.integers(1, 500),
    memory_mib=st.integers(2049, 60_000),
    memory_factor=st.floats(1, 2),
    vcpus=st.integers(1, 32),
    vcpu_factor=st.floats(1, 4),
    uplink_mbit_s=st.integers(1, 2000),
)


@given(here=st.lists(nodes, min_size=1, max_size=4), orders=st.lists(plans, max_size=12))
def test_no_order_of_orders_sells_what_is_not_there(
    catalogue: Catalogue, declared: Declared, here: list[Node], orders: list[Plan]
) -> None:
    named = [each.model_copy(update={"name": f"n{at}"}) for at, each in enumerate(here)]
    content = with_nodes(catalogue, *named).model_copy(
        update={"plans": {f"p{at}": plan for at, plan in enumerate(orders)}}
    )
    sold: list[VpsDeclaration] = []
    for at, plan in enumerate(orders):
        try:
            chosen = place(content, sold, plan=plan, location="paris")
        except NoRoomError:
            taken = usage(content, sold)
            asked = Resources.of_plan(plan)
            assert all(shortages(each, taken.get(each.name, Resources()), asked) for each in named)
            continue
        sold.append(declared(f"acme/v{at}", plan=f"p{at}", node=chosen))
    taken = usage(content, sold)
    for each in named:
        limits = Resources.of_node(each)
        used = taken.get(each.name, Resources())
        assert all(a <= b for a, b in zip(used.amounts(), limits.amounts(), strict=True))


@given(st.randoms(use_true_random=False), st.integers(0, 30))
def test_the_order_in_which_declarations_are_read_changes_nothing(
    catalogue: Catalogue, declared: Declared, shuffle: random.Random, count: int
) -> None:
    three = with_nodes(catalogue, *(node(f"paris-{at}", disk_gib=300 * at) for at in (1, 2, 3)))
    sold = [
        declared(f"acme/v{at}", node=f"paris-{at % 3 + 1}", plan=f"kvm-{2 ** (at % 3)}")
        for at in range(count)
    ]
    mixed = list(sold)
    shuffle.shuffle(mixed)
    plan = catalogue.plans["kvm-4"]

    assert place(three, sold, plan=plan, location="paris") == place(
        three, mixed, plan=plan, location="paris"
    )
