"""The names on the wire that are made from a VPS's fixed IPv4, which is its identity (C4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address


TAP_PREFIX = "vps-"


def tap_name(ipv4: IPv4Address) -> str:
    """Return the name of the tap: ``vps-`` and the address in hexadecimal, 12 characters."""
    return f"{TAP_PREFIX}{int(ipv4):08x}"


def mac_address(ipv4: IPv4Address) -> str:
    """Return the MAC: ``02:00:`` (locally administered) and the four bytes of the address."""
    return "02:00:" + ipv4.packed.hex(":")
