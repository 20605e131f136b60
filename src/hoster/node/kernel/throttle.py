"""The throttle of a VPS: a quota until which it sends freely, and a bucket for what comes after.

The quota is its plan's volume of a cycle (C4.10); a throttle that is a measure makes it nothing
(C4.11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoster.node.kernel.netlink import ByteLimit

if TYPE_CHECKING:
    from hoster.wire.vps import Vps

UNLIMITED = 2**63 - 1
"""A quota that nobody reaches: at 100 Gbit/s it lasts for 23 years of one cycle."""
_BYTES_A_MBIT = 122_500
"""Bytes a second for each Mbit/s of the throttle: 2 % under 125,000, because the kernel's bucket
holds a second of the rate besides, and no minute may see more than the rate (C4.10)."""


def free_bytes(vps: Vps, *, throttled: bool) -> int:
    """Return after how many bytes of a cycle the throttle holds."""
    if throttled:
        return 0
    return UNLIMITED if vps.traffic_bytes is None else vps.traffic_bytes


def bucket(vps: Vps) -> ByteLimit:
    """Return what passes beyond these."""
    return ByteLimit(vps.throttle_mbit_s * _BYTES_A_MBIT)
