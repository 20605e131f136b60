"""VPSs as a host node's state keeps them, for tests that need no network."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from ipaddress import IPv4Address
from typing import Any

from hoster.node.store import FIRST_CLASS, Known
from hoster.wire.vps import Vps

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def vps(last: int = 17, name: str = "web", **fields: Any) -> Vps:
    """Return a VPS whose address ends with *last*; *fields* are other than usual."""
    usual: dict[str, Any] = {
        "client": "acme",
        "name": name,
        "plan": "kvm-1",
        "ipv4": IPv4Address("203.0.113.0") + last,
        "guaranteed_mbit_s": 100,
        "ceiling_mbit_s": None,
        "throttle_mbit_s": 1,
        "traffic_bytes": 10**13,
        "anchor": date(2026, 1, 31),
        "timezone": "Europe/Paris",
    }
    return Vps(**(usual | fields))


def known(one: Vps, minor: int = FIRST_CLASS, **fields: Any) -> Known:
    """Return it running since `NOW`, with nothing used; *fields* are other than usual."""
    cycle = datetime(2026, 2, 27, 23, tzinfo=UTC)
    return replace(Known(one, minor, True, NOW, cycle, 0, 0), **fields)
