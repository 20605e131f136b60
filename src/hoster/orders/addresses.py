"""The fixed IPv4 of a VPS: its choice out of a pool, and the names on the wire made from it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from hoster.errors import NoRoomError, RuleError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from datetime import datetime
    from ipaddress import IPv4Address

    from hoster.catalogue import Pool


def objection(pools: Iterable[Pool], ipv4: IPv4Address) -> str:
    """Say why a VPS of a location with *pools* cannot have *ipv4*, or return an empty text."""
    for pool in pools:
        if ipv4 in pool.cidr:
            return pool.objection(ipv4)
    known = ", ".join(str(pool.cidr) for pool in pools)
    return f"it is in none of the location's pools ({known})"


def quarantined(
    released: Mapping[IPv4Address, datetime], days: int, now: datetime
) -> dict[IPv4Address, datetime]:
    """Return the addresses released less than *days* days ago, and when each is free again."""
    free_again = {ipv4: at + timedelta(days=days) for ipv4, at in released.items()}
    return {ipv4: at for ipv4, at in free_again.items() if at > now}


def allocate(
    pools: Iterable[Pool],
    *,
    taken: Container[IPv4Address],
    quarantine: Mapping[IPv4Address, datetime],
    wish: IPv4Address | None = None,
) -> IPv4Address:
    """Return the lowest free address of *pools*, or *wish* where it is free.

    Network, broadcast, gateway and reserved addresses are never given; nor is one that another
    declaration has, nor one in *quarantine* (address -> when it is free again). Contract: C4.3.

    Raises:
        NoRoomError: every address is taken.
        RuleError: the wish cannot be granted; the message says why.
    """
    pools = tuple(pools)
    if wish is not None:
        return _grant(pools, wish, taken, quarantine)
    for pool in pools:
        for ipv4 in pool.assignable():
            if ipv4 not in taken and ipv4 not in quarantine:
                return ipv4
    raise _full(pools, quarantine)


def _grant(
    pools: tuple[Pool, ...],
    wish: IPv4Address,
    taken: Container[IPv4Address],
    quarantine: Mapping[IPv4Address, datetime],
) -> IPv4Address:
    reason = objection(pools, wish)
    if not reason and wish in taken:
        reason = "another declaration has it"
    if not reason and wish in quarantine:
        reason = f"it was released lately and is free again on {quarantine[wish]:%Y-%m-%d}"
    if reason:
        raise RuleError(
            f"{wish} cannot be given: {reason}",
            remedy="Wish for another one, or leave --ipv4 out and take the lowest free one.",
        )
    return wish


def _full(pools: tuple[Pool, ...], quarantine: Mapping[IPv4Address, datetime]) -> NoRoomError:
    waiting = {
        ipv4: at for ipv4, at in quarantine.items() if any(ipv4 in pool.cidr for pool in pools)
    }
    text = f"no free address in {', '.join(str(pool.cidr) for pool in pools)}"
    if waiting:
        text += (
            f"; {len(waiting)} in quarantine, the first free on {min(waiting.values()):%Y-%m-%d}"
        )
    return NoRoomError(text, remedy="Add a pool to the location in inventory/.")
