"""The names of a VPS: ``client/name`` for people, its domain, its tap and MAC on its host node.

Tap and MAC are made from its fixed IPv4, which is its identity (C4.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address


TAP_PREFIX = "vps-"


def client_of(vps: str) -> str:
    """Return whose VPS it is: ``acme`` of ``acme/web``."""
    return vps.partition("/")[0]


def domain_name(vps: str) -> str:
    """Return the name of a VPS's domain: ``acme.web`` of ``acme/web``.

    The dot keeps ``a-b/c`` and ``a/b-c`` apart.
    """
    return vps.replace("/", ".")


def tap_name(ipv4: IPv4Address) -> str:
    """Return the name of the tap: ``vps-`` and the address in hexadecimal, 12 characters."""
    return f"{TAP_PREFIX}{int(ipv4):08x}"


def mac_address(ipv4: IPv4Address) -> str:
    """Return the MAC: ``02:00:`` (locally administered) and the four bytes of the address."""
    return "02:00:" + ipv4.packed.hex(":")
