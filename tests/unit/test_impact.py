"""Whom a change touches: live or with a reboot, what it costs, what room it takes (C2.1, C4.7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoster.catalogue import Catalogue, RefusedPorts
from hoster.changes.impact import How, Reached, Side, reached, rooms
from hoster.orders.declarations import VpsDeclaration

NOW = datetime(2026, 3, 16, 12, tzinfo=UTC)
Declare = Callable[..., VpsDeclaration]


def side(catalogue: Catalogue, *some: VpsDeclaration) -> Side:
    return Side(catalogue, {vps.full_name: vps for vps in some})


def with_plan(catalogue: Catalogue, name: str, **terms: Any) -> Catalogue:
    plan = catalogue.plans[name].model_copy(update=terms)
    return catalogue.model_copy(update={"plans": {**catalogue.plans, name: plan}})


@pytest.fixture
def one(catalogue: Catalogue, declared: Declare) -> Callable[..., Reached]:
    """What becomes of a VPS of kvm-2 that began on 1 March, with other fields or another plan."""

    def judge(catalogue_now: Catalogue = catalogue, **fields: Any) -> Reached:
        was = declared(since=date(2026, 3, 1))
        vps = declared(**{"since": date(2026, 3, 1)} | fields)
        [found] = reached(side(catalogue, was), side(catalogue_now, vps), NOW)
        return found

    return judge


def test_an_upgrade_is_live_and_paid_for_the_days_that_are_left(
    one: Callable[..., Reached], catalogue: Catalogue
) -> None:
    """16 of 31 days are left, this one with them."""
    found = one(plan="kvm-4")

    more = catalogue.plans["kvm-4"].price_eur_month - catalogue.plans["kvm-2"].price_eur_month
    assert (How.LIVE, "kvm-2", "kvm-4", more, date(2026, 4, 1)) == (
        found.how,
        found.old_plan,
        found.new_plan,
        found.month_eur,
        found.paid_until,
    )
    assert (more * 16 / 31).quantize(Decimal("0.01")) == found.pro_rata_eur
    assert "memory_mib 2048 -> 4096" in found.what
    assert "plan kvm-2 -> kvm-4" in found.what


@pytest.mark.parametrize(
    ("terms", "how"),
    [
        ({"memory_mib": 4096}, How.LIVE),
        ({"memory_mib": 1024}, How.REBOOT),
        ({"memory_mib": 65536}, How.REBOOT),
        ({"vcpus": 8}, How.LIVE),
        ({"vcpus": 16}, How.REBOOT),
        ({"vcpus": 1}, How.REBOOT),
        ({"disk_gib": 40}, How.LIVE),
        ({"guaranteed_mbit_s": 200}, How.LIVE),
        ({"price_eur_month": Decimal(1)}, How.LIVE),
    ],
)
def test_a_change_of_a_plan_reaches_who_has_it(
    one: Callable[..., Reached], catalogue: Catalogue, terms: dict[str, Any], how: How
) -> None:
    found = one(with_plan(catalogue, "kvm-2", **terms))

    [field] = terms
    assert (how, [field]) == (found.how, [text.partition(" ")[0] for text in found.what])


def test_a_change_of_headroom_costs_a_reboot(
    one: Callable[..., Reached], catalogue: Catalogue
) -> None:
    policy = catalogue.policy
    more = policy.model_copy(update={"headroom": policy.headroom.model_copy(update={"vcpus": 16})})
    found = one(catalogue.model_copy(update={"policy": more}))

    assert (How.REBOOT, ("max_vcpus 8 -> 16",)) == (found.how, found.what)


def test_a_change_of_an_image_reaches_who_ordered_it(
    one: Callable[..., Reached], catalogue: Catalogue
) -> None:
    image = catalogue.images["debian-12"].model_copy(update={"default_user": "admin"})
    found = one(catalogue.model_copy(update={"images": {**catalogue.images, "debian-12": image}}))

    before = catalogue.images["debian-12"].default_user
    assert (f"user {before} -> admin",) == found.what


def test_a_change_of_the_packet_filter_reaches_whom_it_holds_for(
    catalogue: Catalogue, declared: Declare
) -> None:
    """C4.5, C4.6, C7.6: a limit everybody, a port the VPSs of its locations."""
    irc = {
        "name": "irc-more",
        "reason": "a trial",
        "direction": "out",
        "protocol": "tcp",
        "end": "to",
        "ports": [6660, "6665-6669"],
        "refused_in": ["roubaix"],
    }
    limits = catalogue.network.limits
    udp = limits.udp.model_copy(update={"bytes_s": limits.udp.bytes_s + 1})
    network = catalogue.network.model_copy(
        update={
            "limits": limits.model_copy(update={"udp": udp}),
            "refused_ports": (*catalogue.network.refused_ports, RefusedPorts(**irc)),
        }
    )
    both = declared(), declared("acme/db", location="roubaix", ipv4="192.0.2.17")

    found = reached(
        side(catalogue, *both), side(catalogue.model_copy(update={"network": network}), *both), NOW
    )

    limit = f"udp bytes_s {limits.udp.bytes_s} -> {udp.bytes_s}"
    port = "refused irc-more none -> out tcp to 6660 6665-6669"
    assert {"acme/db": (limit, port), "acme/web": (limit,)} == {one.vps: one.what for one in found}
    assert {How.LIVE} == {one.how for one in found}


def test_of_ports_that_are_called_alike_each_change_is_told(
    catalogue: Catalogue, declared: Declare
) -> None:
    """C4.5."""

    def with_ports(first: int) -> Catalogue:
        terms = {"reason": "a trial", "direction": "out", "protocol": "tcp", "end": "to"}
        some = [
            RefusedPorts(name="twin", ports=(port,), refused_in="everywhere", **terms)
            for port in (first, 7)
        ]
        network = catalogue.network.model_copy(update={"refused_ports": tuple(some)})
        return catalogue.model_copy(update={"network": network})

    [one] = reached(side(with_ports(5), declared()), side(with_ports(6), declared()), NOW)

    assert ("refused twin out tcp to 5; out tcp to 7 -> out tcp to 6; out tcp to 7",) == one.what


def test_a_key_more_is_a_change_that_shows_no_key(one: Callable[..., Reached]) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA a@b"
    assert ("ssh_keys (0) -> (1)",) == one(ssh_keys=(key,)).what


def test_who_comes_and_who_goes(catalogue: Catalogue, declared: Declare) -> None:
    price = catalogue.plans["kvm-2"].price_eur_month
    web, db = declared(since=NOW.date()), declared("acme/db", ipv4="203.0.113.18")

    found = reached(side(catalogue, db), side(catalogue, web), NOW)

    assert [("acme/db", How.GONE, -price), ("acme/web", How.NEW, price)] == [
        (each.vps, each.how, each.month_eur) for each in found
    ]
    assert price == found[1].pro_rata_eur


def test_what_did_not_change_is_not_there(catalogue: Catalogue, declared: Declare) -> None:
    same = side(catalogue, declared())
    assert ([], []) == (reached(same, same, NOW), rooms(same, same))


def test_nodes_say_what_is_taken_before_and_after(catalogue: Catalogue, declared: Declare) -> None:
    """C2.1."""
    old, new = side(catalogue, declared()), side(catalogue, declared(plan="kvm-4"))

    [room] = rooms(old, new)

    assert ("paris-1", 20, 40) == (room.node, room.before.disk_gib, room.after.disk_gib)
    assert catalogue.nodes["paris-1"].capacity.disk_gib == room.capacity.disk_gib


@given(
    first=st.sampled_from(["kvm-1", "kvm-2", "kvm-4"]),
    second=st.sampled_from(["kvm-1", "kvm-2", "kvm-4"]),
    since=st.dates(date(2020, 1, 1), date(2027, 1, 1)),
    days=st.integers(0, 2000),
)
def test_any_change_of_plan_costs_no_more_than_its_month(
    catalogue: Catalogue, declared: Declare, first: str, second: str, since: date, days: int
) -> None:
    now = datetime.fromordinal(date(2024, 1, 1).toordinal() + days).replace(tzinfo=UTC)
    old, new = (side(catalogue, declared(plan=plan, since=since)) for plan in (first, second))

    found = reached(old, new, now)

    assert (first != second) == bool(found)
    for one in found:
        assert 0 <= one.pro_rata_eur / one.month_eur <= 1 + Decimal("0.01")
        assert one.paid_until > now.date() or since > now.date()
