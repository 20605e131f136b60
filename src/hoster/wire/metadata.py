"""The hoster's facts in a domain's ``<metadata>``: enough for a host node to enforce alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lxml import etree

if TYPE_CHECKING:
    from datetime import date
    from ipaddress import IPv4Address, IPv4Interface

NAMESPACE = "urn:hoster:vps:1"


@dataclass(frozen=True)
class VpsMetadata:
    """What a host node must know of a VPS.

    Rates in Mbit/s, volume in bytes a billing cycle; ``None`` means no ceiling, and unlimited.
    Cycles begin on the day of the month of ``cycle_anchor``, at midnight in ``timezone``.
    """

    client: str
    name: str
    plan: str
    location: str
    address: IPv4Interface
    gateway: IPv4Address
    mac: str
    tap: str
    guaranteed_mbit_s: int
    ceiling_mbit_s: int | None
    throttle_mbit_s: int
    traffic_bytes: int | None
    cycle_anchor: date
    timezone: str


def metadata_xml(vps: VpsMetadata) -> str:
    """Return the element that goes into ``<metadata>``, in the namespace `NAMESPACE`.

    The attributes' names carry their units. Contract: C4.3, C4.8, C4.9, C4.10.
    """
    root = etree.Element(f"{{{NAMESPACE}}}vps", nsmap={"hoster": NAMESPACE})
    _set(root, client=vps.client, name=vps.name, plan=vps.plan, location=vps.location)
    _set(
        etree.SubElement(root, f"{{{NAMESPACE}}}address"),
        ipv4=vps.address.ip,
        prefix=vps.address.network.prefixlen,
        gateway=vps.gateway,
        mac=vps.mac,
        tap=vps.tap,
    )
    _set(
        etree.SubElement(root, f"{{{NAMESPACE}}}rates"),
        guaranteed_mbit_s=vps.guaranteed_mbit_s,
        ceiling_mbit_s="none" if vps.ceiling_mbit_s is None else vps.ceiling_mbit_s,
        throttle_mbit_s=vps.throttle_mbit_s,
    )
    _set(
        etree.SubElement(root, f"{{{NAMESPACE}}}traffic"),
        bytes_cycle="unlimited" if vps.traffic_bytes is None else vps.traffic_bytes,
        cycle_anchor=vps.cycle_anchor,
        timezone=vps.timezone,
    )
    return etree.tostring(root, encoding="unicode")


def _set(element: etree._Element, **attributes: object) -> None:
    for name, value in attributes.items():
        element.set(name.replace("_", "-"), str(value))
