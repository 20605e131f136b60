"""The definition of a domain as an element tree, from plain inputs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from lxml import etree

from libvirt_provider import _xml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from libvirt_provider._resource import Values

NAMESPACE = "https://pulumi.com/libvirt/resource/1"
"""The namespace of the mark in ``<metadata>`` that says which resource a domain is."""

LINKS = {"macvtap": "bridge", "vepa": "vepa", "passthrough": "passthrough"}


@dataclass(frozen=True)
class Disk:
    """Where a disk's bytes are: a path, whether it is a block device, its format."""

    path: str
    block: bool = False
    format: str = "raw"
    cdrom: bool = False
    scsi: bool = False
    wwn: str | None = None


@dataclass(frozen=True)
class Identity:
    """What a domain keeps over every redefinition."""

    urn: str
    uuid: str | None = None
    macs: Sequence[str | None] = ()


def domain_xml(inputs: Values, disks: Sequence[Disk], seed: Disk | None, identity: Identity) -> Any:
    """Return the definition after the inputs' XSLT, with the domain's identity.

    Raises:
        ProviderError: metadata or XSLT is not what it should be.
    """
    root = _xml.transformed(_plain_domain(inputs, disks, seed, identity.macs), inputs)
    _identify(root, identity)
    return root


def owner(root: Any) -> str | None:
    """Return the URN of the resource that a domain's definition says it is."""
    mark = root.find(f"metadata/{{{NAMESPACE}}}resource")
    return None if mark is None else str(mark.get("urn"))


def mark_of(urn: str) -> Any:
    """Return the element that says which resource a domain is."""
    mark = etree.Element(f"{{{NAMESPACE}}}resource", nsmap={"pulumi": NAMESPACE})
    mark.set("urn", urn)
    return mark


def _identify(root: Any, identity: Identity) -> None:
    for old in root.findall("uuid"):
        root.remove(old)
    if identity.uuid:
        uuid = _xml.root("uuid")
        uuid.text = identity.uuid
        root.insert(1, uuid)
    metadata = root.find("metadata")
    if metadata is None:
        metadata = _xml.add(root, "metadata")
    metadata.append(mark_of(identity.urn))


def _plain_domain(
    inputs: Values, disks: Sequence[Disk], seed: Disk | None, macs: Sequence[str | None]
) -> Any:
    root = _xml.root("domain", type=inputs["type"])
    _xml.add(root, "name", inputs["name"])
    if inputs.get("description"):
        _xml.add(root, "description", inputs["description"])
    if inputs.get("metadata"):
        _xml.fragment(_xml.add(root, "metadata"), inputs["metadata"], "metadata")
    _xml.add(root, "memory", inputs["memory"], unit="MiB")
    _xml.add(root, "vcpu", inputs["vcpu"], placement="static")
    _add_os(root, inputs)
    features = _xml.add(root, "features")
    for name in ("acpi", "apic", "pae"):
        _xml.add(features, name)
    if (inputs.get("cpu") or {}).get("mode"):
        _xml.add(root, "cpu", mode=inputs["cpu"]["mode"])
    _add_devices(_xml.add(root, "devices"), inputs, disks, seed, macs)
    return root


def _add_os(root: Any, inputs: Values) -> None:
    os = _xml.add(root, "os")
    _xml.add(os, "type", "hvm", arch=inputs.get("arch"), machine=inputs.get("machine"))
    if inputs.get("firmware"):
        _xml.add(os, "loader", inputs["firmware"], readonly="yes", type="pflash")
    nvram = inputs.get("nvram")
    if nvram:
        _xml.add(os, "nvram", nvram.get("file"), template=nvram.get("template"))
    for name in ("kernel", "initrd"):
        if inputs.get(name):
            _xml.add(os, name, inputs[name])
    if inputs.get("cmdlines"):
        _xml.add(os, "cmdline", command_line(inputs["cmdlines"]))
    for devices in inputs.get("bootDevices") or []:
        for device in devices.get("devs") or []:
            _xml.add(os, "boot", dev=device)


def command_line(parts: Sequence[Mapping[str, str]]) -> str:
    """Return a kernel's command line; the key ``_`` holds words without a value."""
    words = [
        value if key == "_" else f"{key}={value}" for part in parts for key, value in part.items()
    ]
    return " ".join(words)


def _add_devices(
    devices: Any,
    inputs: Values,
    disks: Sequence[Disk],
    seed: Disk | None,
    macs: Sequence[str | None],
) -> None:
    if inputs.get("emulator"):
        _xml.add(devices, "emulator", inputs["emulator"])
    _add_disks(devices, disks, seed, "sata" if "q35" in (inputs.get("machine") or "") else "ide")
    known = [*macs, *([None] * len(inputs.get("networkInterfaces") or []))]
    for interface, mac in zip(inputs.get("networkInterfaces") or [], known, strict=False):
        _add_interface(devices, interface, interface.get("mac") or mac)
    for console in inputs.get("consoles") or []:
        _add_console(devices, console)
    if inputs.get("graphics"):
        _add_graphics(devices, inputs["graphics"])
    if inputs.get("video"):
        _xml.add(_xml.add(devices, "video"), "model", type=inputs["video"].get("type"))
    if inputs.get("qemuAgent"):
        channel = _xml.add(devices, "channel", type="unix")
        _xml.add(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    _xml.add(_xml.add(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    # A balloon's headroom is memory that the guest could take for itself.
    _xml.add(devices, "memballoon", model="none")


def _add_disks(devices: Any, disks: Sequence[Disk], seed: Disk | None, cdrom_bus: str) -> None:
    letters = {bus: iter(ascii_lowercase) for bus in ("virtio", "scsi", "cdrom")}
    if any(disk.scsi for disk in disks):
        _xml.add(devices, "controller", type="scsi", model="virtio-scsi")
    for disk in (*disks, *([seed] if seed else [])):
        kind = "cdrom" if disk.cdrom else "scsi" if disk.scsi else "virtio"
        bus = cdrom_bus if disk.cdrom else kind
        prefix = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}[bus]
        letter = next(letters[kind]) if kind != "cdrom" else _cdrom_letter(letters["cdrom"])
        _add_disk(devices, disk, f"{prefix}{letter}", bus)


def _cdrom_letter(letters: Any) -> str:
    # From the far end of the second IDE channel back; SATA takes the same.
    return "dcba"[ascii_lowercase.index(next(letters)) % 4]


def _add_disk(devices: Any, disk: Disk, target: str, bus: str) -> None:
    device = "cdrom" if disk.cdrom else "disk"
    element = _xml.add(devices, "disk", type="block" if disk.block else "file", device=device)
    _xml.add(element, "driver", name="qemu", type=disk.format)
    _xml.add(element, "source", **{"dev" if disk.block else "file": disk.path})
    _xml.add(element, "target", dev=target, bus=bus)
    if disk.wwn:
        _xml.add(element, "wwn", disk.wwn)
    if disk.cdrom:
        _xml.add(element, "readonly")


def _add_interface(devices: Any, interface: Mapping[str, Any], mac: str | None) -> None:
    link = next((name for name in LINKS if interface.get(name)), None)
    if link:
        element = _xml.add(devices, "interface", type="direct")
        source = {"dev": interface[link], "mode": LINKS[link]}
    elif interface.get("bridge"):
        element = _xml.add(devices, "interface", type="bridge")
        source = {"bridge": interface["bridge"]}
    else:
        element = _xml.add(devices, "interface", type="network")
        source = {"network": interface.get("networkName")}
    if mac:
        # libvirt's own spelling, so that another one is no other hardware.
        _xml.add(element, "mac", address=mac.lower())
    _xml.add(element, "source", **source)
    _xml.add(element, "model", type="virtio")


def _add_console(devices: Any, console: Mapping[str, Any]) -> None:
    element = _xml.add(devices, "console", type=console["type"])
    if console["type"] == "tcp":
        _xml.add(
            element,
            "source",
            mode="bind",
            host=console.get("sourceHost") or "127.0.0.1",
            service=console.get("sourceService") or "0",
        )
        _xml.add(element, "protocol", type="telnet")
    elif console.get("sourcePath"):
        _xml.add(element, "source", path=console["sourcePath"])
    _xml.add(
        element, "target", type=console.get("targetType") or "serial", port=console["targetPort"]
    )


def _add_graphics(devices: Any, graphics: Mapping[str, Any]) -> None:
    element = _xml.add(
        devices,
        "graphics",
        type=graphics.get("type") or "spice",
        autoport="no" if graphics.get("autoport") is False else "yes",
        websocket=graphics.get("websocket"),
    )
    if graphics.get("listenType"):
        _xml.add(
            element, "listen", type=graphics["listenType"], address=graphics.get("listenAddress")
        )
