"""A VPS as its host node sees it: read from the hoster's facts in the domain's ``<metadata>``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hoster.wire.errors import InvalidMetadataError
from hoster.wire.names import mac_address, tap_name

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE = "urn:hoster:vps:1"
MAX_XML_BYTES = 2**20
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")
_MAX_MBIT_S = 1_000_000
_MAX_BYTES = 2**62
_YEARS = range(1970, 3000)


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


def vps_of_domain(xml: str) -> Vps | None:
    """Return the VPS that a libvirt domain is, or None where it bears no facts of the hoster.

    The facts must agree with themselves and with the domain's one interface: what is said twice
    is said alike, or nothing of it holds.

    Raises:
        InvalidMetadataError: it is no valid description of a VPS; the message says what.
    """
    root = _parsed(xml)
    found = root.findall(f"metadata/{{{NAMESPACE}}}vps")
    if not found:
        return None
    if len(found) > 1:
        raise InvalidMetadataError(f"{len(found)} elements <vps> in the metadata, one is wanted")
    vps = vps_of_metadata(found[0])
    interfaces = root.findall("devices/interface")
    if len(interfaces) != 1:
        raise InvalidMetadataError(f"{len(interfaces)} interfaces, and a VPS has one")
    _agrees("target dev", _attribute(interfaces[0], "target", "dev"), vps.tap)
    _agrees("mac address", _attribute(interfaces[0], "mac", "address").lower(), vps.mac)
    return vps


def parsed_metadata(xml: str) -> Vps:
    """Return the VPS that the ``<vps>`` element alone describes, as libvirt hands it out.

    It takes the namespace's prefix off, so that the elements are in no namespace any more.

    Raises:
        InvalidMetadataError: it is no valid description of a VPS.
    """
    root = _parsed(xml)
    for element in root.iter():
        if not element.tag.startswith("{"):
            element.tag = f"{{{NAMESPACE}}}{element.tag}"
    return vps_of_metadata(root)


def vps_of_metadata(element: ElementTree.Element) -> Vps:
    """Return the VPS that a ``<vps>`` element describes.

    Raises:
        InvalidMetadataError: it is no valid description of a VPS.
    """
    address = _attributes(element, "address")
    rates = _attributes(element, "rates")
    traffic = _attributes(element, "traffic")
    vps = Vps(
        client=_name(element.attrib, "client"),
        name=_name(element.attrib, "name"),
        plan=_name(element.attrib, "plan"),
        ipv4=_ipv4(address, "ipv4"),
        guaranteed_mbit_s=_number(rates, "guaranteed-mbit-s", _MAX_MBIT_S),
        ceiling_mbit_s=_number_or("none", rates, "ceiling-mbit-s", _MAX_MBIT_S),
        throttle_mbit_s=_number(rates, "throttle-mbit-s", _MAX_MBIT_S),
        traffic_bytes=_number_or("unlimited", traffic, "bytes-cycle", _MAX_BYTES),
        anchor=_date(traffic),
        timezone=_zone(traffic),
        gateway=_ipv4(address, "gateway"),
    )
    _agrees("tap", _text(address, "tap"), vps.tap)
    _agrees("mac", _text(address, "mac").lower(), vps.mac)
    if vps.ceiling_mbit_s is not None and vps.ceiling_mbit_s < vps.guaranteed_mbit_s:
        raise InvalidMetadataError("ceiling-mbit-s is below guaranteed-mbit-s")
    return shared(vps)


_SHARED: dict[Vps, Vps] = {}


def shared(vps: Vps) -> Vps:
    """Return one object for all that are equal: libvirt and the state each say a thousand."""
    return _SHARED.setdefault(vps, vps)


def _parsed(xml: str) -> ElementTree.Element:
    if len(xml) > MAX_XML_BYTES:
        raise InvalidMetadataError(f"more than {MAX_XML_BYTES} characters of XML")
    if "<!DOCTYPE" in xml:
        raise InvalidMetadataError("a document type, which libvirt never writes")
    try:
        return ElementTree.fromstring(xml)  # noqa: S314 - no document type, and bounded
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidMetadataError(f"no XML: {error}") from error


def _attributes(element: ElementTree.Element, tag: str) -> Mapping[str, str]:
    found = element.findall(f"{{{NAMESPACE}}}{tag}")
    if len(found) != 1:
        raise InvalidMetadataError(f"{len(found)} elements <{tag}>, one is wanted")
    return found[0].attrib


def _attribute(element: ElementTree.Element, tag: str, name: str) -> str:
    found = element.find(tag)
    return "" if found is None else found.get(name, "")


def _text(attributes: Mapping[str, str], name: str) -> str:
    value = attributes.get(name)
    if value is None:
        raise InvalidMetadataError(f"{name} is missing")
    return value


def _name(attributes: Mapping[str, str], name: str) -> str:
    value = _text(attributes, name)
    if not _NAME.fullmatch(value):
        raise InvalidMetadataError(f"{name}: {value[:40]!r} is no name")
    return value


def _ipv4(attributes: Mapping[str, str], name: str) -> IPv4Address:
    value = _text(attributes, name)
    try:
        ipv4 = IPv4Address(value)
    except AddressValueError as error:
        raise InvalidMetadataError(f"{name}: {value[:40]!r} is no IPv4 address") from error
    if ipv4.is_multicast or ipv4.is_unspecified or ipv4.is_loopback or ipv4 == _BROADCAST:
        raise InvalidMetadataError(f"{name}: {ipv4} is no address of a host")
    return ipv4


_BROADCAST = IPv4Address("255.255.255.255")


def _number(attributes: Mapping[str, str], name: str, most: int) -> int:
    value = _text(attributes, name)
    if not re.fullmatch(r"[1-9][0-9]{0,18}", value) or int(value) > most:
        raise InvalidMetadataError(f"{name}: {value[:40]!r} is no whole number from 1 to {most}")
    return int(value)


def _number_or(word: str, attributes: Mapping[str, str], name: str, most: int) -> int | None:
    return None if _text(attributes, name) == word else _number(attributes, name, most)


def _date(attributes: Mapping[str, str]) -> date:
    value = _text(attributes, "cycle-anchor")
    try:
        anchor = date.fromisoformat(value)
    except ValueError as error:
        raise InvalidMetadataError(f"cycle-anchor: {value[:40]!r} is no date") from error
    if anchor.year not in _YEARS:  # a cycle that ends beyond the calendar ends the agent
        raise InvalidMetadataError(f"cycle-anchor: {value[:40]!r} is no date of a contract")
    return anchor


def _zone(attributes: Mapping[str, str]) -> str:
    value = _text(attributes, "timezone")
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidMetadataError(f"timezone: {value[:40]!r} is no time zone") from error
    return value


def _agrees(what: str, said: str, derived: str) -> None:
    if said != derived:
        raise InvalidMetadataError(f"{what} is {said[:40]!r}, and the address makes it {derived}")
