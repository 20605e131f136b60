"""A VPS's facts in its domain's ``<metadata>``: `pulumi up` writes them, its host node reads them.

They are enough for the node to enforce alone. Each name of an attribute carries its unit: rates in
Mbit/s, volume in bytes a billing cycle.
"""

from __future__ import annotations

import re
from datetime import date
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hoster.wire.errors import InvalidMetadataError
from hoster.wire.vps import Vps, shared

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE = "urn:hoster:vps:1"
MAX_XML_BYTES = 2**20
_SHORT = "hoster"
_VPS, _ADDRESS, _RATES, _TRAFFIC = "vps", "address", "rates", "traffic"
_CLIENT, _NAME, _PLAN, _LOCATION = "client", "name", "plan", "location"
_IPV4, _PREFIX_LENGTH, _GATEWAY, _MAC, _TAP = "ipv4", "prefix", "gateway", "mac", "tap"
_GUARANTEED, _CEILING = "guaranteed-mbit-s", "ceiling-mbit-s"
_THROTTLE = "throttle-mbit-s"
_VOLUME, _ANCHOR, _TIMEZONE = "bytes-cycle", "cycle-anchor", "timezone"
_NO_CEILING, _UNLIMITED = "none", "unlimited"
_A_NAME = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")
_MAX_MBIT_S = 1_000_000
_MAX_BYTES = 2**62
_YEARS = range(1970, 3000)
_BROADCAST = IPv4Address("255.255.255.255")


def metadata_xml(vps: Vps, *, location: str, prefix_length: int) -> str:
    """Return the element that goes into ``<metadata>``, in the namespace `NAMESPACE`.

    *location* and the *prefix_length* of its network are for whoever looks at the domain; no node
    reads them. Contract: C4.3, C4.8, C4.9, C4.10.

    Raises:
        InvalidMetadataError: nobody said its gateway.
    """
    if vps.gateway is None:
        raise InvalidMetadataError(f"{_GATEWAY} is missing")
    root = ElementTree.Element(
        f"{_SHORT}:{_VPS}",
        {
            f"xmlns:{_SHORT}": NAMESPACE,
            _CLIENT: vps.client,
            _NAME: vps.name,
            _PLAN: vps.plan,
            _LOCATION: location,
        },
    )
    for tag, attributes in _parts(vps, prefix_length).items():
        ElementTree.SubElement(
            root, f"{_SHORT}:{tag}", {name: str(value) for name, value in attributes.items()}
        )
    # No space, as in what is deployed: the provider compares it as text. No value holds a bare ">".
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")


def _parts(vps: Vps, prefix_length: int) -> dict[str, dict[str, object]]:
    ceiling, volume = vps.ceiling_mbit_s, vps.traffic_bytes
    return {
        _ADDRESS: {
            _IPV4: vps.ipv4,
            _PREFIX_LENGTH: prefix_length,
            _GATEWAY: vps.gateway,
            _MAC: vps.mac,
            _TAP: vps.tap,
        },
        _RATES: {
            _GUARANTEED: vps.guaranteed_mbit_s,
            _CEILING: _NO_CEILING if ceiling is None else ceiling,
            _THROTTLE: vps.throttle_mbit_s,
        },
        _TRAFFIC: {
            _VOLUME: _UNLIMITED if volume is None else volume,
            _ANCHOR: vps.anchor,
            _TIMEZONE: vps.timezone,
        },
    }


def vps_of_domain(xml: str) -> Vps | None:
    """Return the VPS that a libvirt domain is, or None where it bears no facts of the hoster.

    The facts must agree with themselves and with the domain's one interface: what is said twice
    is said alike, or nothing of it holds.

    Raises:
        InvalidMetadataError: it is no valid description of a VPS; the message says what.
    """
    root = _parsed(xml)
    found = root.findall(f"metadata/{{{NAMESPACE}}}{_VPS}")
    if not found:
        return None
    if len(found) > 1:
        raise InvalidMetadataError(f"{len(found)} elements <vps> in the metadata, one is wanted")
    vps = _vps_of(found[0])
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
    return _vps_of(root)


def _vps_of(element: ElementTree.Element) -> Vps:
    address = _attributes(element, _ADDRESS)
    rates = _attributes(element, _RATES)
    traffic = _attributes(element, _TRAFFIC)
    vps = Vps(
        client=_name(element.attrib, _CLIENT),
        name=_name(element.attrib, _NAME),
        plan=_name(element.attrib, _PLAN),
        ipv4=_ipv4(address, _IPV4),
        guaranteed_mbit_s=_number(rates, _GUARANTEED, _MAX_MBIT_S),
        ceiling_mbit_s=_number_or(_NO_CEILING, rates, _CEILING, _MAX_MBIT_S),
        throttle_mbit_s=_number(rates, _THROTTLE, _MAX_MBIT_S),
        traffic_bytes=_number_or(_UNLIMITED, traffic, _VOLUME, _MAX_BYTES),
        anchor=_date(traffic),
        timezone=_zone(traffic),
        gateway=_ipv4(address, _GATEWAY),
    )
    _agrees(_TAP, _text(address, _TAP), vps.tap)
    _agrees(_MAC, _text(address, _MAC).lower(), vps.mac)
    if vps.ceiling_mbit_s is not None and vps.ceiling_mbit_s < vps.guaranteed_mbit_s:
        raise InvalidMetadataError(f"{_CEILING} is below {_GUARANTEED}")
    return shared(vps)


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
    if not _A_NAME.fullmatch(value):
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


def _number(attributes: Mapping[str, str], name: str, most: int) -> int:
    value = _text(attributes, name)
    if not re.fullmatch(r"[1-9][0-9]{0,18}", value) or int(value) > most:
        raise InvalidMetadataError(f"{name}: {value[:40]!r} is no whole number from 1 to {most}")
    return int(value)


def _number_or(word: str, attributes: Mapping[str, str], name: str, most: int) -> int | None:
    return None if _text(attributes, name) == word else _number(attributes, name, most)


def _date(attributes: Mapping[str, str]) -> date:
    value = _text(attributes, _ANCHOR)
    try:
        anchor = date.fromisoformat(value)
    except ValueError as error:
        raise InvalidMetadataError(f"{_ANCHOR}: {value[:40]!r} is no date") from error
    if anchor.year not in _YEARS:  # a cycle that ends beyond the calendar ends the agent
        raise InvalidMetadataError(f"{_ANCHOR}: {value[:40]!r} is no date of a contract")
    return anchor


def _zone(attributes: Mapping[str, str]) -> str:
    value = _text(attributes, _TIMEZONE)
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidMetadataError(f"{_TIMEZONE}: {value[:40]!r} is no time zone") from error
    return value


def _agrees(what: str, said: str, derived: str) -> None:
    if said != derived:
        raise InvalidMetadataError(f"{what} is {said[:40]!r}, and the address makes it {derived}")
