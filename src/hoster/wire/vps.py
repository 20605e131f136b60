"""A VPS as both machines mean it: what it may do on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.wire.names import mac_address, tap_name

if TYPE_CHECKING:
    from datetime import date
    from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class Vps:
    """What a VPS may do on the wire. Rates in Mbit/s (10^6 bit), volume in bytes a cycle.

    ``None`` means no ceiling, and an unlimited volume. The billing cycle begins on the day of
    the month of ``anchor``, at midnight in ``timezone`` (C4.9). ``gateway`` is None where nobody
    said it: in a state that an earlier agent wrote.
    """

    client: str
    name: str
    plan: str
    ipv4: IPv4Address
    guaranteed_mbit_s: int
    ceiling_mbit_s: int | None
    throttle_mbit_s: int
    traffic_bytes: int | None
    anchor: date
    timezone: str
    gateway: IPv4Address | None = None

    @property
    def full_name(self) -> str:
        """``client/vps``: the name that people use."""
        return f"{self.client}/{self.name}"

    @property
    def tap(self) -> str:
        """The name of its interface on the node."""
        return tap_name(self.ipv4)

    @property
    def mac(self) -> str:
        """Its MAC."""
        return mac_address(self.ipv4)


_SHARED: dict[Vps, Vps] = {}


def shared(vps: Vps) -> Vps:
    """Return one object for all that are equal: libvirt and the state each say a thousand."""
    return _SHARED.setdefault(vps, vps)
