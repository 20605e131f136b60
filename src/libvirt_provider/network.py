"""Networks: none, NAT, routed, open, or a bridge of the host's."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING, Any, ClassVar

from libvirt_provider import _storage, _xml
from libvirt_provider._connection import found, reported
from libvirt_provider._resource import Change, Found, Resource, drifted
from libvirt_provider._schema import (
    FLAG,
    REQUIRED_TEXT,
    TEXT,
    XML,
    Failure,
    choice,
    items_of,
    number,
    object_of,
    refused,
)
from libvirt_provider._values import UNKNOWN
from libvirt_provider.errors import AlreadyExistsError, MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from libvirt_provider._resource import Values
    from libvirt_provider._schema import Kind

BY_XSLT = "add it by xml.xslt"


class Network(Resource):
    """A virtual network."""

    fields: ClassVar[Mapping[str, Kind]] = {
        "name": TEXT,
        "mode": choice("none", "nat", "route", "open", "bridge"),
        "bridge": TEXT,
        "domain": TEXT,
        "mtu": number(least=68),
        "autostart": FLAG,
        "addresses": items_of(TEXT),
        "dhcp": object_of(enabled=FLAG),
        "dns": object_of(
            enabled=FLAG,
            localOnly=FLAG,
            forwarders=refused(BY_XSLT),
            hosts=refused(BY_XSLT),
            srvs=refused(BY_XSLT),
        ),
        "routes": items_of(object_of(cidr=REQUIRED_TEXT, gateway=REQUIRED_TEXT)),
        "dnsmasqOptions": refused(BY_XSLT),
        "xml": XML,
    }
    defaults: ClassVar[Mapping[str, Any]] = {"mode": "nat", "autostart": False}
    computed = ("bridge",)

    def rules(self, inputs: Values) -> list[Failure]:
        """Return what is wrong between properties."""
        wrong = [
            Failure(f"addresses[{index}]", "must be a network like 192.0.2.0/24")
            for index, address in enumerate(inputs.get("addresses") or [])
            if address is not UNKNOWN and not _is_network(address)
        ]
        if inputs["mode"] == "bridge" and not inputs.get("bridge"):
            wrong.append(Failure("bridge", "is required in mode 'bridge'"))
        return wrong

    def refusals(self, old: Values, new: Values) -> list[Failure]:
        """Return the changes that are never made."""
        if "name" in old and old["name"] != new["name"]:
            return [Failure("name", "cannot change: domains are attached by it. Set it back")]
        return []

    def create(self, urn: str, inputs: Values) -> tuple[str, Values]:
        """Define and start it; a network of a killed run is taken on."""
        connection = self.host.connection()
        with reported(f"network {inputs['name']!r}"):
            existing = found(connection.networkLookupByName, inputs["name"])
            if existing is not None and existing.UUIDString() != _storage.uuid_of(urn):
                raise AlreadyExistsError.of(
                    self.host.uri,
                    f"network {inputs['name']!r}",
                    f"libvirt:index/network:Network NAME {existing.UUIDString()}",
                )
            network = existing or self._defined(inputs, _storage.uuid_of(urn))
            try:
                network.setAutostart(int(inputs["autostart"]))
                if not network.isActive():
                    network.create()
            except BaseException:
                _storage.without_leftovers(network.undefine)
                raise
            return network.UUIDString(), _outputs(network, inputs)

    def _defined(self, inputs: Values, uuid: str) -> Any:
        root = _xml.transformed(network_xml(inputs, uuid), inputs)
        return self.host.connection().networkDefineXML(_xml.text_of(root))

    def read(self, urn: str, resource_id: str, inputs: Values) -> Found | None:  # noqa: ARG002
        """Return the network; None where it is gone."""
        with reported(f"network {resource_id}"):
            network = found(self.host.connection().networkLookupByUUIDString, resource_id)
            if network is None:
                return None
            actual: Values = {"name": network.name(), "autostart": bool(network.autostart())}
            if not inputs:
                actual |= _imported(_xml.parse(network.XMLDesc(0)))
            known = drifted(inputs, actual)
            return Found(resource_id, _outputs(network, known), known)

    def planned_update(self, change: Change) -> Values:
        """Say when the change takes effect."""
        if self.changed(change.old, change.new) != ["autostart"]:
            change.log(
                "the network is redefined; a running one takes it on when it is started again, "
                "which cuts its guests off: not done here"
            )
        return super().planned_update(change)

    def update(self, change: Change) -> Values:
        """Redefine it; a running network keeps its guests."""
        with reported(f"network {change.new['name']!r}"):
            network = found(self.host.connection().networkLookupByUUIDString, change.id)
            if network is None:
                raise MissingError(
                    f"network {change.new['name']!r} is missing on {self.host.uri}: "
                    "`pulumi up --refresh` makes it anew"
                )
            network = self._defined(change.new, change.id)
            network.setAutostart(int(change.new["autostart"]))
            return _outputs(network, change.new)

    def delete(self, urn: str, resource_id: str, state: Values) -> None:  # noqa: ARG002
        """Stop and undefine it."""
        with reported(f"network {resource_id}"):
            network = found(self.host.connection().networkLookupByUUIDString, resource_id)
            if network is None:
                return
            if network.isActive():
                network.destroy()
            network.undefine()


def network_xml(inputs: Values, uuid: str) -> Any:
    """Return the definition of a network. Pure."""
    root = _xml.root("network")
    _xml.add(root, "name", inputs["name"])
    _xml.add(root, "uuid", uuid)
    if inputs["mode"] != "none":
        _xml.add(root, "forward", mode=inputs["mode"])
    if inputs.get("bridge"):
        stp = None if inputs["mode"] == "bridge" else "on"
        _xml.add(root, "bridge", name=inputs["bridge"], stp=stp)
    if inputs.get("mtu"):
        _xml.add(root, "mtu", size=inputs["mtu"])
    dns = inputs.get("dns") or {}
    if inputs.get("domain"):
        local = "yes" if dns.get("localOnly") else None
        _xml.add(root, "domain", name=inputs["domain"], localOnly=local)
    if "enabled" in dns:
        _xml.add(root, "dns", enable="yes" if dns["enabled"] else "no")
    for address in inputs.get("addresses") or []:
        _add_address(root, address, dhcp=(inputs.get("dhcp") or {}).get("enabled", True))
    for route in inputs.get("routes") or []:
        _add_route(root, route)
    return root


def _add_address(root: Any, address: str, *, dhcp: bool) -> None:
    # The first address is the host's, the rest are leased.
    network = ip_network(address, strict=False)
    first, last = network.network_address + 1, network.broadcast_address - 1
    family = "ipv6" if network.version == 6 else "ipv4"  # noqa: PLR2004 - the protocol's number
    element = _xml.add(root, "ip", family=family, address=first, prefix=network.prefixlen)
    if dhcp and family == "ipv4":
        _xml.add(_xml.add(element, "dhcp"), "range", start=first + 1, end=last)


def _add_route(root: Any, route: Values) -> None:
    network = ip_network(route["cidr"], strict=False)
    _xml.add(
        root,
        "route",
        family="ipv6" if network.version == 6 else None,  # noqa: PLR2004 - the protocol's number
        address=network.network_address,
        prefix=network.prefixlen,
        gateway=route["gateway"],
    )


def _is_network(text: str) -> bool:
    try:
        ip_interface(text)
    except ValueError:
        return False
    return "/" in text


def _imported(root: Any) -> Values:
    forward = root.find("forward")
    actual: Values = {"mode": "none" if forward is None else forward.get("mode", "nat")}
    addresses = [
        str(ip_interface(f"{ip.get('address')}/{ip.get('prefix') or ip.get('netmask')}").network)
        for ip in root.iterfind("ip")
    ]
    if addresses:
        actual["addresses"] = addresses
        actual["dhcp"] = {"enabled": root.find("ip/dhcp") is not None}
    if actual["mode"] == "bridge":
        actual["bridge"] = root.find("bridge").get("name")
    return actual


def _outputs(network: Any, inputs: Values) -> Values:
    bridge = _xml.parse(network.XMLDesc(0)).find("bridge")
    name = None if bridge is None else bridge.get("name")
    return {**inputs, "bridge": inputs.get("bridge") or name}
