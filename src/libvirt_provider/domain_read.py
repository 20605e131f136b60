"""What a domain is on its host, and the inputs that would declare it. Changes nothing there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from libvirt_provider import _xml
from libvirt_provider._resource import drifted
from libvirt_provider.domain_change import Shape, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from libvirt_provider._resource import Values


def running_xml(domain: Any) -> Any:
    """Return the definition of what runs; of a stopped domain, what the next start takes."""
    return _xml.parse(domain.XMLDesc(0))


def defined_xml(domain: Any) -> Any:
    """Return the definition that the next start takes."""
    return _xml.parse(domain.XMLDesc(2))  # VIR_DOMAIN_XML_INACTIVE


def shape_of(domain: Any) -> Shape:
    """Return what *domain* has now, and how far it can be plugged up."""
    return Shape.of(running_xml(domain), _state(domain))


def identity_of(domain: Any, state: Values) -> tuple[str | None, list[str | None]]:
    """Return UUID and MACs that a redefinition keeps: of *domain*, or where None out of *state*."""
    if domain is not None:
        return domain.UUIDString(), macs(defined_xml(domain))
    interfaces = state.get("networkInterfaces") or []
    return None, [interface.get("mac") for interface in interfaces]


def macs(root: Any) -> list[str | None]:
    """Return the MAC of each interface of a definition, None where it has none yet. Pure."""
    return [
        None if interface.find("mac") is None else interface.find("mac").get("address")
        for interface in root.iterfind("devices/interface")
    ]


def inputs_of(domain: Any, inputs: Values) -> Values:
    """Return *inputs* as the host has them; without any, those that would declare *domain*."""
    root = running_xml(domain)
    shape = Shape.of(root, _state(domain))
    actual: Values = {
        "name": domain.name(),
        "memory": shape.memory_mib,
        "vcpu": shape.vcpus,
        "autostart": bool(domain.autostart()),
    }
    if not inputs:
        actual |= _imported(root)
        # What is declared is that it runs; a stop by hand is no wish to start it again.
        actual["running"] = shape.state is not State.STOPPED
    return drifted(inputs, actual)


def outputs_of(domain: Any, inputs: Values) -> Values:
    """Return *inputs* with what only the host knows of *domain*."""
    root = running_xml(domain)
    kind = root.find("os/type")
    actual = {
        "arch": kind.get("arch"),
        "machine": inputs.get("machine") or kind.get("machine"),
        "emulator": inputs.get("emulator") or root.findtext("devices/emulator"),
        "running": bool(domain.isActive()),
        "networkInterfaces": _with_macs(inputs.get("networkInterfaces") or [], macs(root)),
    }
    return drifted(inputs, actual)


def _state(domain: Any) -> State:
    import libvirt

    if not domain.isActive():
        return State.STOPPED
    paused = {libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED}
    return State.PAUSED if domain.state()[0] in paused else State.RUNNING


def _with_macs(interfaces: Sequence[Values], macs_: Sequence[str | None]) -> list[Values]:
    known = [*macs_, *([None] * len(interfaces))]
    return [
        interface if interface.get("mac") or not mac else {**interface, "mac": mac.upper()}
        for interface, mac in zip(interfaces, known, strict=False)
    ]


def _imported(root: Any) -> Values:
    kind = root.find("os/type")
    actual: Values = {"type": root.get("type"), "arch": kind.get("arch")}
    if kind.get("machine"):
        actual["machine"] = kind.get("machine")
    if root.findtext("description"):
        actual["description"] = root.findtext("description")
    disks = [
        {"volumeId": source.get("file") or source.get("dev")}
        for source in root.iterfind("devices/disk[@device='disk']/source")
        if source.get("file") or source.get("dev")
    ]
    interfaces = [
        interface
        for element in root.iterfind("devices/interface")
        for interface in [_imported_interface(element)]
        if interface
    ]
    return actual | {"disks": disks, "networkInterfaces": interfaces}


def _imported_interface(element: Any) -> Values:
    source, mac = element.find("source"), element.find("mac")
    if source is None:
        return {}
    known = {"bridge": source.get("bridge"), "networkName": source.get("network")}
    interface = {key: value for key, value in known.items() if value}
    if mac is not None:
        interface["mac"] = mac.get("address").upper()
    return interface
