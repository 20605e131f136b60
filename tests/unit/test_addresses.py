"""A free address out of a pool, and nothing but a free one (C4.3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoster.catalogue import Pool
from hoster.errors import NoRoomError, RuleError
from hoster.orders.addresses import allocate, quarantined
from hoster.wire.names import mac_address, tap_name

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GATEWAY = IPv4Address("203.0.113.1")


def pool(cidr: str = "203.0.113.0/28", *reserved: str) -> Pool:
    network = IPv4Network(cidr)
    return Pool(
        cidr=network, gateway=network[1], dns=(IPv4Address("192.0.2.53"),), reserved=reserved
    )


def ip(last: int) -> IPv4Address:
    return IPv4Address("203.0.113.0") + last


def test_tap_and_mac_are_read_off_the_address() -> None:
    address = IPv4Address("203.0.113.17")

    assert "vps-cb007111" == tap_name(address)
    assert "02:00:cb:00:71:11" == mac_address(address)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_two_addresses_never_share_a_name_on_the_wire(a: IPv4Address, b: IPv4Address) -> None:
    assert (a == b) == (tap_name(a) == tap_name(b)) == (mac_address(a) == mac_address(b))
    assert len(tap_name(a)) <= 15  # IFNAMSIZ, less its end


def test_the_lowest_free_address_is_given() -> None:
    given_away = allocate(
        [pool("203.0.113.0/28", "203.0.113.2-203.0.113.4")],
        taken={ip(5)},
        quarantine={ip(6): NOW},
    )

    assert ip(7) == given_away


def test_the_next_pool_serves_when_the_first_is_full() -> None:
    pools = [pool("203.0.113.0/30"), pool("203.0.113.128/30")]

    assert ip(130) == allocate(pools, taken={ip(2)}, quarantine={})


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (0, "network address"),
        (1, "gateway"),
        (3, "reserved"),
        (15, "broadcast address"),
        (5, "another declaration has it"),
        (6, "free again on 2026-03-31"),
        (16, "in none of the location's pools (203.0.113.0/28)"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_told_why(wish: int, reason: str) -> None:
    with pytest.raises(RuleError) as caught:
        allocate(
            [pool("203.0.113.0/28", "203.0.113.3")],
            taken={ip(5)},
            quarantine={ip(6): NOW + timedelta(days=30)},
            wish=ip(wish),
        )

    assert reason in caught.value.message


def test_a_free_wish_is_granted() -> None:
    assert ip(9) == allocate([pool()], taken={ip(2)}, quarantine={}, wish=ip(9))


def test_a_full_pool_says_what_waits_and_until_when() -> None:
    free_again = {ip(2): NOW + timedelta(days=2), ip(3): NOW + timedelta(days=1)}

    with pytest.raises(NoRoomError) as caught:
        allocate([pool()], taken={ip(last) for last in range(4, 15)}, quarantine=free_again)

    assert "no free address in 203.0.113.0/28" in caught.value.message
    assert "2 in quarantine, the first free on 2026-03-02" in caught.value.message


@pytest.mark.parametrize(
    ("days_ago", "rests"), [(0, True), (29.99, True), (30, False), (31, False)]
)
def test_an_address_rests_as_long_as_the_policy_says(days_ago: float, rests: bool) -> None:
    released = {ip(5): NOW - timedelta(days=days_ago)}

    assert rests == (ip(5) in quarantined(released, 30, NOW))


lasts = st.sets(st.integers(0, 31))


@given(taken=lasts, waiting=lasts, reserved=lasts)
def test_what_is_given_is_free_and_the_lowest(
    taken: set[int], waiting: set[int], reserved: set[int]
) -> None:
    here = pool("203.0.113.0/27", *(str(ip(last)) for last in reserved))
    blocked = {0, 1, 31} | taken | waiting | reserved
    free = sorted(set(range(32)) - blocked)
    quarantine = {ip(last): NOW for last in waiting}

    if not free:
        with pytest.raises(NoRoomError):
            allocate([here], taken={ip(last) for last in taken}, quarantine=quarantine)
        return
    assert ip(free[0]) == allocate(
        [here], taken={ip(last) for last in taken}, quarantine=quarantine
    )


@given(st.integers(0, 40))
def test_orders_one_after_another_never_share_an_address(orders: int) -> None:
    taken: set[IPv4Address] = set()
    for _ in range(orders):
        if len(taken) == 13:  # 16, less network, broadcast and gateway
            with pytest.raises(NoRoomError):
                allocate([pool()], taken=taken, quarantine={})
            return
        address = allocate([pool()], taken=taken, quarantine={})
        assert address not in taken
        taken.add(address)
