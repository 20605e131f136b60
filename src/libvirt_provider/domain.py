"""Domains hold no data: redefined in place, plugged live where that can be, never undefined."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from libvirt_provider import _storage, _xml, domain_live, domain_read
from libvirt_provider._connection import found, reported
from libvirt_provider._resource import Change, Found, Resource, differs, refuse
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
from libvirt_provider._storage import MARKS, VolumeFacts
from libvirt_provider._values import UNKNOWN
from libvirt_provider.cloud_init_disk import volume_key
from libvirt_provider.domain_change import Plan, Shape, plan, same_hardware
from libvirt_provider.domain_xml import Disk, Identity, domain_xml, owner
from libvirt_provider.errors import (
    AlreadyExistsError,
    MissingError,
    PartlyDoneError,
    ProviderError,
    UnreachableHostError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from libvirt_provider._resource import Values

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
        if before is None or not differs(old, new, "name"):
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
            identity = Identity(urn, *domain_read.identity_of(existing, {}))
            root = self._definition(inputs, identity)
            self._clear_marks(root)
            domain = self._started(connection, root, inputs, existing)
            return domain.UUIDString(), domain_read.outputs_of(domain, inputs)

    def _own(self, domain: Any, urn: str, name: str) -> None:
        if owner(domain_read.running_xml(domain)) != urn:
            raise AlreadyExistsError.of(
                self.host.uri,
                f"domain {name!r}",
                f"libvirt:index/domain:Domain NAME {domain.UUIDString()}",
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
        files = _storage.holds_files(volume.storagePoolLookupByVolume())
        # On a logical or disk pool the format names a partition's type, not an image's.
        return facts if files else replace(facts, format="raw")

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
            known = domain_read.inputs_of(domain, inputs)
            outputs = domain_read.outputs_of(domain, known)
        return Found(resource_id, outputs, known)

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
            shape, defined = domain_read.shape_of(domain), domain_read.defined_xml(domain)
            domain_live.log_plan(self._plan(change, shape, defined), change.log)

    def _plan(self, change: Change, shape: Shape, defined: Any) -> Plan:
        unfinished = bool(change.state.get(domain_live.UNFINISHED))
        return plan(shape, change.new, differs=unfinished or self._differs(change, defined))

    def _differs(self, change: Change, defined: Any) -> bool:
        identity = Identity(change.urn, change.id, domain_read.macs(defined))
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
        refuse(self.refusals(change.old, change.new))
        with reported(f"domain {change.new['name']!r}"):
            domain = self._domain(change)
            shape, defined = domain_read.shape_of(domain), domain_read.defined_xml(domain)
            steps = self._plan(change, shape, defined)
            kept = domain_read.identity_of(domain, change.state)
            root = self._definition(change.new, Identity(change.urn, *kept))
            self._clear_marks(root)
            domain = self.host.connection().defineXML(_xml.text_of(root))
            domain.setAutostart(int(change.new["autostart"]))
        self._apply(domain, change, steps, root)
        with reported(f"domain {change.new['name']!r}"):
            return domain_read.outputs_of(domain, change.new)

    def _apply(self, domain: Any, change: Change, steps: Plan, root: Any) -> None:
        # From here on the new definition is in place: say so if the rest fails.
        try:
            with reported(f"domain {change.new['name']!r} is redefined, but"):
                domain_live.bring_about(domain, change, steps, root)
        except ProviderError as error:
            with reported(f"domain {change.new['name']!r}"):
                outputs = domain_read.outputs_of(domain, domain_read.inputs_of(domain, change.new))
            # Without this a second run would see nothing but what it has already recorded.
            unfinished = {domain_live.UNFINISHED: True} if steps.reboot else {}
            message = f"{error}. Run again to finish it"
            raise PartlyDoneError(message, {**outputs, **unfinished}) from error

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


def _count(values: Values, keys: Sequence[str]) -> int:
    return sum(bool(values.get(key)) for key in keys)
