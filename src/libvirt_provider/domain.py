"""Domains hold no data: redefined in place, plugged live where that can be, never undefined."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from lxml import etree

from libvirt_provider import _storage, _xml
from libvirt_provider._connection import found, reported
from libvirt_provider._resource import Change, Found, Resource, drifted
from libvirt_provider._schema import (
    ANY_MAP,
    FLAG,
    REQUIRED_TEXT,
    TEXT,
    XML,
    Failure,
    Kind,
    items_of,
    number,
    object_of,
    refused,
)
from libvirt_provider._storage import FILE_POOLS, MARKS, VolumeFacts
from libvirt_provider._values import UNKNOWN
from libvirt_provider.cloud_init_disk import volume_key
from libvirt_provider.domain_change import Plan, Shape, State, plan, same_hardware
from libvirt_provider.domain_xml import Disk, Identity, domain_xml, owner
from libvirt_provider.errors import (
    AlreadyExistsError,
    MissingError,
    PartlyDoneError,
    ProviderError,
    RefusedChangeError,
    UnreachableHostError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from libvirt_provider._resource import Log, Values

SHUTDOWN_SECONDS = 60.0
"""How long a guest may take to shut down in order, before it is switched off."""

UNFINISHED = "__unfinished"
"""An output that Pulumi does not show: a reboot began and did not end."""

LIVE_PREFIX = "live"
POLL_SECONDS = 0.1
UNDEFINE_FLAGS = 1 | 2 | 4 | 16
"""Managed save, snapshots' metadata, nvram, checkpoints' metadata: what libvirt keeps beside."""

FLAGGED_FALSE = Kind(bool, "false: leases are not waited for", choices=(False,))

DISK = object_of(
    volumeId=TEXT,
    file=TEXT,
    blockDevice=TEXT,
    scsi=FLAG,
    wwn=TEXT,
    url=refused("put the image into a Volume by its source, and name that by volumeId"),
)
INTERFACE = object_of(
    bridge=TEXT,
    networkId=TEXT,
    networkName=TEXT,
    macvtap=TEXT,
    vepa=TEXT,
    passthrough=TEXT,
    mac=TEXT,
    waitForLease=FLAGGED_FALSE,
    hostname=refused("declare leases on the network, or addresses by cloud-init"),
    addresses=refused("declare leases on the network, or addresses by cloud-init"),
)
CONSOLE = object_of(
    type=REQUIRED_TEXT,
    targetPort=REQUIRED_TEXT,
    targetType=TEXT,
    sourceHost=TEXT,
    sourcePath=TEXT,
    sourceService=TEXT,
)
GRAPHICS = object_of(
    type=TEXT, autoport=FLAG, listenType=TEXT, listenAddress=TEXT, websocket=number(least=-1)
)
SOURCES = ("bridge", "networkId", "networkName", "macvtap", "vepa", "passthrough")


class Domain(Resource):
    """A virtual machine."""

    fields: ClassVar[Mapping[str, Kind]] = {
        "name": TEXT,
        "description": TEXT,
        "metadata": TEXT,
        "type": TEXT,
        "arch": TEXT,
        "machine": TEXT,
        "emulator": TEXT,
        "memory": number(least=1),
        "vcpu": number(least=1),
        "cpu": object_of(mode=TEXT),
        "autostart": FLAG,
        "running": FLAG,
        "qemuAgent": FLAG,
        "firmware": TEXT,
        "nvram": object_of(file=TEXT, template=TEXT),
        "kernel": TEXT,
        "initrd": TEXT,
        "cmdlines": items_of(ANY_MAP),
        "bootDevices": items_of(object_of(devs=items_of(TEXT))),
        "disks": items_of(DISK),
        "cloudinit": TEXT,
        "networkInterfaces": items_of(INTERFACE),
        "consoles": items_of(CONSOLE),
        "graphics": GRAPHICS,
        "video": object_of(type=TEXT),
        "xml": XML,
        "coreosIgnition": refused("use cloudinit"),
        "fwCfgName": refused("use cloudinit"),
        "filesystems": refused("add them by xml.xslt"),
        "tpm": refused("add it by xml.xslt"),
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "type": "kvm",
        "memory": 512,
        "vcpu": 1,
        "running": True,
        "autostart": False,
    }
    computed = ("arch", "machine", "emulator", "networkInterfaces")

    def rules(self, inputs: Values) -> list[Failure]:
        """Return what is wrong between properties."""
        wrong = []
        for index, disk in enumerate(inputs.get("disks") or []):
            if _count(disk, ("volumeId", "file", "blockDevice")) != 1:
                wrong.append(Failure(f"disks[{index}]", "needs one of volumeId, file, blockDevice"))
        for index, interface in enumerate(inputs.get("networkInterfaces") or []):
            if _count(interface, SOURCES) != 1:
                wrong.append(
                    Failure(f"networkInterfaces[{index}]", f"needs one of {', '.join(SOURCES)}")
                )
        return wrong

    def refusals(self, old: Values, new: Values) -> list[Failure]:
        """Return the changes that are never made: a name is how a host knows its guest."""
        before, after = old.get("name"), new["name"]
        if before is None or before == after or UNKNOWN in (before, after):
            return []
        reason = (
            f"cannot change from {before!r} to {after!r}: the domain would be replaced. Set it "
            f"back, or rename it on its host (`virsh domrename {before} {after}`) and refresh"
        )
        return [Failure("name", reason)]

    # -- create

    def create(self, urn: str, inputs: Values) -> tuple[str, Values]:
        """Define and start it; one that a killed run of this resource left is taken on."""
        connection = self.host.connection()
        with reported(f"domain {inputs['name']!r}"):
            existing = found(connection.lookupByName, inputs["name"])
            if existing is not None:
                self._own(existing, urn, inputs["name"])
            identity = Identity(urn, *_kept(existing, ()))
            root = self._definition(inputs, identity)
            self._clear_marks(root)
            domain = self._started(connection, root, inputs, existing)
            return domain.UUIDString(), self._outputs(domain, inputs)

    def _own(self, domain: Any, urn: str, name: str) -> None:
        if owner(_xml.parse(domain.XMLDesc(0))) != urn:
            raise AlreadyExistsError(
                f"{self.host.uri} has a domain {name!r} already, and this resource did not make "
                "it: choose another name, or take it in with "
                f"`pulumi import libvirt:index/domain:Domain NAME {domain.UUIDString()}`"
            )

    def _started(self, connection: Any, root: Any, inputs: Values, existing: Any) -> Any:
        domain = connection.defineXML(_xml.text_of(root))
        try:
            domain.setAutostart(int(inputs["autostart"]))
            if inputs["running"] and not domain.isActive():
                domain.create()
        except BaseException:
            if existing is None:
                _storage.without_leftovers(lambda: _undefine(domain))
            raise
        return domain

    def _clear_marks(self, root: Any) -> None:
        for source in root.iterfind("devices/disk/source"):
            MARKS.clear(source.get("file") or source.get("dev") or "")

    def _definition(self, inputs: Values, identity: Identity) -> Any:
        disks = [self._disk(disk) for disk in inputs.get("disks") or []]
        seed = None
        if inputs.get("cloudinit"):
            facts = self._volume_facts(volume_key(inputs["cloudinit"]))
            seed = Disk(facts.path, facts.block, "raw", cdrom=True)
        return domain_xml(self._networks(inputs), disks, seed, identity)

    def _disk(self, disk: Values) -> Disk:
        scsi, wwn = bool(disk.get("scsi")), disk.get("wwn")
        if disk.get("volumeId"):
            facts = self._volume_facts(disk["volumeId"])
            return Disk(facts.path, facts.block, facts.format or "raw", scsi=scsi, wwn=wwn)
        return _given_disk(disk)

    def _volume_facts(self, key: str) -> VolumeFacts:
        volume = _storage.volume_keyed(self.host, key)
        if volume is None:
            raise MissingError(f"volume {key} is missing on {self.host.uri}")
        facts = VolumeFacts.of(volume)
        pool = _xml.parse(volume.storagePoolLookupByVolume().XMLDesc(0)).get("type")
        # On a logical or disk pool the format names a partition's type, not an image's.
        return facts if pool in FILE_POOLS else _as_raw(facts)

    def _networks(self, inputs: Values) -> Values:
        interfaces = [
            {**interface, "networkName": self._network_name(interface["networkId"])}
            if interface.get("networkId")
            else interface
            for interface in inputs.get("networkInterfaces") or []
        ]
        return {**inputs, "networkInterfaces": interfaces}

    def _network_name(self, uuid: str) -> str:
        network = found(self.host.connection().networkLookupByUUIDString, uuid)
        if network is None:
            raise MissingError(f"network {uuid} is missing on {self.host.uri}")
        return str(network.name())

    # -- read

    def read(self, urn: str, resource_id: str, inputs: Values) -> Found | None:  # noqa: ARG002
        """Return the domain; None where it is gone: it is made anew from its disks."""
        with reported(f"domain {resource_id}"):
            domain = found(self.host.connection().lookupByUUIDString, resource_id)
            if domain is None:
                return None
            root = _xml.parse(domain.XMLDesc(0))
            known = drifted(inputs, self._actual(domain, root, imported=not inputs))
            outputs = self._outputs(domain, known)
        return Found(resource_id, outputs, known)

    def _actual(self, domain: Any, root: Any, *, imported: bool) -> Values:
        shape = Shape.of(root, _state(domain))
        actual: Values = {
            "name": domain.name(),
            "memory": shape.memory_mib,
            "vcpu": shape.vcpus,
            "autostart": bool(domain.autostart()),
        }
        if imported:
            actual |= _imported(root)
            # What is declared is that it runs; a stop by hand is no wish to start it again.
            actual["running"] = shape.state is not State.STOPPED
        return actual

    def _outputs(self, domain: Any, inputs: Values) -> Values:
        root = _xml.parse(domain.XMLDesc(0))
        kind = root.find("os/type")
        actual = {
            "arch": kind.get("arch"),
            "machine": inputs.get("machine") or kind.get("machine"),
            "emulator": inputs.get("emulator") or root.findtext("devices/emulator"),
            "running": bool(domain.isActive()),
            "networkInterfaces": _with_macs(inputs.get("networkInterfaces") or [], _macs(root)),
        }
        return drifted(inputs, actual)

    # -- update

    def planned_update(self, change: Change) -> Values:
        """Say what the guest will notice: nothing, a plug, or a reboot."""
        try:
            if UNKNOWN not in change.new.values():
                self._tell(change)
        except UnreachableHostError as error:
            change.log(f"cannot tell whether this is live: {error}")
        except (ProviderError, AttributeError, TypeError):
            change.log("cannot tell yet whether this is live or needs a reboot")
        return super().planned_update(change)

    def _tell(self, change: Change) -> None:
        with reported(f"domain {change.new['name']!r}"):
            domain = self._domain(change)
            shape = Shape.of(_xml.parse(domain.XMLDesc(0)), _state(domain))
            root = _xml.parse(domain.XMLDesc(2))
            _log_plan(self._plan(change, shape, root), change.log)

    def _plan(self, change: Change, shape: Shape, inactive: Any) -> Plan:
        unfinished = bool(change.state.get(UNFINISHED))
        return plan(shape, change.new, differs=unfinished or self._differs(change, inactive))

    def _differs(self, change: Change, inactive: Any) -> bool:
        identity = Identity(change.urn, change.id, _macs(inactive))
        before, after = (
            domain_xml(
                _named_networks(inputs),
                [_given_disk(disk) for disk in inputs.get("disks") or []],
                _given_seed(inputs),
                identity,
            )
            for inputs in (_with_defaults(change.old), change.new)
        )
        return not same_hardware(before, after)

    def update(self, change: Change) -> Values:
        """Redefine it, then plug or reboot where that takes effect at once."""
        refused_ = self.refusals(change.old, change.new)
        if refused_:
            raise RefusedChangeError("; ".join(f"{it.property}: {it.reason}" for it in refused_))
        with reported(f"domain {change.new['name']!r}"):
            domain = self._domain(change)
            shape = Shape.of(_xml.parse(domain.XMLDesc(0)), _state(domain))
            inactive = _xml.parse(domain.XMLDesc(2))
            steps = self._plan(change, shape, inactive)
            root = self._definition(change.new, Identity(change.urn, *_kept(domain, change.state)))
            self._clear_marks(root)
            domain = self.host.connection().defineXML(_xml.text_of(root))
            domain.setAutostart(int(change.new["autostart"]))
        self._apply(domain, change, steps, root)
        with reported(f"domain {change.new['name']!r}"):
            return self._outputs(domain, change.new)

    def _apply(self, domain: Any, change: Change, steps: Plan, root: Any) -> None:
        # From here on the new definition is in place: say so if the rest fails.
        try:
            with reported(f"domain {change.new['name']!r} is redefined, but"):
                self._bring_about(domain, change, steps, root)
        except ProviderError as error:
            with reported(f"domain {change.new['name']!r}"):
                known = drifted(
                    change.new,
                    self._actual(domain, _xml.parse(domain.XMLDesc(0)), imported=False),
                )
                outputs = self._outputs(domain, known)
            # Without this a second run would see nothing but what it has already recorded.
            unfinished = {UNFINISHED: True} if steps.reboot else {}
            message = f"{error}. Run again to finish it"
            raise PartlyDoneError(message, {**outputs, **unfinished}) from error

    def _bring_about(self, domain: Any, change: Change, steps: Plan, root: Any) -> None:
        wants = (change.old.get("running", True), change.new["running"])
        if wants == (True, False):
            _shut_down(domain, change.log)
            return
        if wants == (False, True) and not domain.isActive():
            domain.create()
            return
        _log_plan(steps, change.log)
        if steps.reboot or change.state.get(UNFINISHED):
            _shut_down(domain, change.log)
            domain.create()
            return
        if steps.dimm_mib:
            domain.attachDeviceFlags(_xml.text_of(dimm_xml(steps.dimm_mib)), 1)  # live
        if steps.vcpus:
            domain.setVcpusFlags(steps.vcpus, 1)  # live
        if domain.isActive():
            _set_live_texts(domain, root)

    def _domain(self, change: Change) -> Any:
        domain = found(self.host.connection().lookupByUUIDString, change.id)
        if domain is None:
            raise MissingError(
                f"domain {change.new['name']!r} ({change.id}) is missing on {self.host.uri}: "
                "`pulumi up --refresh` makes it anew from its disks"
            )
        return domain

    # -- delete

    def delete(self, urn: str, resource_id: str, state: Values) -> None:  # noqa: ARG002
        """Switch it off and undefine it; its disks stay."""
        with reported(f"domain {resource_id}"):
            domain = found(self.host.connection().lookupByUUIDString, resource_id)
            if domain is None:
                return
            if domain.isActive():
                domain.destroy()
            _undefine(domain)


def dimm_xml(mib: int) -> Any:
    """Return a memory module of *mib* for the guest's only NUMA cell."""
    root = _xml.root("memory", model="dimm")
    target = _xml.add(root, "target")
    _xml.add(target, "size", mib, unit="MiB")
    _xml.add(target, "node", 0)
    return root


def shutdown_seconds() -> float:
    """Return how long a guest may take; ``LIBVIRT_PROVIDER_SHUTDOWN_SECONDS`` overrides it."""
    return float(os.environ.get("LIBVIRT_PROVIDER_SHUTDOWN_SECONDS", SHUTDOWN_SECONDS))


def _shut_down(domain: Any, log: Log) -> None:
    if not domain.isActive():
        return
    seconds = shutdown_seconds()
    domain.shutdown()
    deadline = time.monotonic() + seconds
    while domain.isActive() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if domain.isActive():
        log(f"the guest did not shut down within {seconds:g} s: switched off")
        domain.destroy()


def _undefine(domain: Any) -> None:
    import libvirt

    if domain.isActive():
        domain.destroy()
    try:
        domain.undefineFlags(UNDEFINE_FLAGS)
    except libvirt.libvirtError as error:
        # Drivers that keep nothing beside a domain know none of the flags.
        if error.get_error_code() not in {
            libvirt.VIR_ERR_INVALID_ARG,
            libvirt.VIR_ERR_NO_SUPPORT,
        }:
            raise
        domain.undefine()


def _set_live_texts(domain: Any, root: Any) -> None:
    import libvirt

    description = root.findtext("description")
    try:
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, description, None, None, 1)
        for child in root.find("metadata"):
            space = etree.QName(child).namespace
            if space:
                # libvirt declares a prefix of its own and refuses one that is declared already.
                kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
                domain.setMetadata(kind, _xml.text_of(child), LIVE_PREFIX, space, 1)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise


def _state(domain: Any) -> State:
    import libvirt

    if not domain.isActive():
        return State.STOPPED
    paused = {libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED}
    return State.PAUSED if domain.state()[0] in paused else State.RUNNING


def _kept(domain: Any, state: Values | tuple[()]) -> tuple[str | None, list[str | None]]:
    if domain is not None:
        return domain.UUIDString(), _macs(_xml.parse(domain.XMLDesc(2)))
    interfaces = dict(state).get("networkInterfaces") or []
    return None, [interface.get("mac") for interface in interfaces]


def _macs(root: Any) -> list[str | None]:
    return [
        None if interface.find("mac") is None else interface.find("mac").get("address")
        for interface in root.iterfind("devices/interface")
    ]


def _with_macs(interfaces: Sequence[Values], macs: Sequence[str | None]) -> list[Values]:
    known = [*macs, *([None] * len(interfaces))]
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


def _given_disk(disk: Values) -> Disk:
    scsi, wwn = bool(disk.get("scsi")), disk.get("wwn")
    if disk.get("blockDevice"):
        return Disk(disk["blockDevice"], block=True, scsi=scsi, wwn=wwn)
    path = str(disk.get("file") or disk.get("volumeId"))
    if path.endswith(".iso"):
        return Disk(path, cdrom=True)
    form = "qcow2" if path.endswith(".qcow2") else "raw"
    return Disk(path, format=form, scsi=scsi, wwn=wwn)


def _given_seed(inputs: Values) -> Disk | None:
    key = inputs.get("cloudinit")
    return Disk(volume_key(key), cdrom=True) if key else None


def _named_networks(inputs: Values) -> Values:
    interfaces = [
        {**interface, "networkName": interface.get("networkId") or interface.get("networkName")}
        for interface in inputs.get("networkInterfaces") or []
    ]
    return {**inputs, "networkInterfaces": interfaces}


def _with_defaults(inputs: Values) -> Values:
    return {**Domain.defaults, **inputs}


def _as_raw(facts: VolumeFacts) -> VolumeFacts:
    return replace(facts, format="raw")


def _count(values: Values, keys: Sequence[str]) -> int:
    return sum(bool(values.get(key)) for key in keys)


def _log_plan(steps: Plan, log: Log) -> None:
    if steps.reboot:
        *what, last = steps.reasons
        orderly = f"ACPI shutdown, {shutdown_seconds():g} s, then hard"
        log(f"{'; '.join(what)}: {last} ({orderly})")
    else:
        for reason in steps.reasons:
            log(reason)
