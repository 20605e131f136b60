"""A client's VPS as one Pulumi component: protected root disk, first-boot seed, domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_libvirt as libvirt

from hoster.changes.deployed import COMPONENT
from hoster.orders import disks
from hoster.stack import first_boot
from hoster.templates import render
from hoster.wire import names

if TYPE_CHECKING:
    from hoster.catalogue import Headroom
    from hoster.changes.deployed import DeployedVps
    from hoster.orders.declarations import FormerDisk
    from hoster.stack.first_boot import Network

GIB = 2**30


@dataclass(frozen=True)
class VirtualServerArgs:
    """All that a VPS needs, validated before the first resource.

    ``full_name`` is ``client/vps``; ``password_hash`` a secret output with the crypt hash of
    the initial password; ``metadata`` the XML of the hoster's facts for the host node.
    """

    full_name: str
    facts: DeployedVps
    vcpus: int
    memory_mib: int
    network: Network
    tap: str
    metadata: str
    user: str
    ssh_keys: tuple[str, ...]
    password_hash: pulumi.Output[str]
    domain_type: str
    storage_pool: str
    bridge: str
    headroom: Headroom
    former_disk: FormerDisk | None = None

    @property
    def domain(self) -> str:
        """The name of its domain on its host node."""
        return names.domain_name(self.full_name)

    @property
    def instance(self) -> str:
        """The name of the system on it: cloud-init sets a system up once for each."""
        return disks.instance(self.domain, self.facts.installation)

    @property
    def hostname(self) -> str:
        """The VPS's own name, without its client's."""
        return self.full_name.partition("/")[2]


class VirtualServer(pulumi.ComponentResource):
    """A VPS with its own disk (C2.1), its fixed IPv4 (C4.3) and its plan (C4.1, C4.7).

    Nothing of it is ever replaced: disk and domain are protected; one grows in place, the other
    keeps its UUID, MAC and tap. A reinstall gives it another disk beside the former one, which
    stays, protected too, until it is erased (C7.5). No agent and no key of the hoster's goes in
    (C4.4).

    Attributes:
        uuid: the domain's UUID on its host node.
    """

    uuid: pulumi.Output[str]

    def __init__(
        self, name: str, args: VirtualServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        outputs = args.facts.outputs()
        super().__init__(COMPONENT, name, {**outputs}, opts)
        self.register_outputs(outputs)
        facts = args.facts
        disk = self._disk(
            name, args, image=facts.image, installation=facts.installation, gib=facts.disk_gib
        )
        former = args.former_disk and self._disk(
            name,
            args,
            image=args.former_disk.image,
            installation=args.former_disk.installation,
            gib=args.former_disk.disk_gib,
        )
        readable = former if args.former_disk and args.former_disk.readable else None
        seed = self._seed(name, args)
        disks = [disk, readable] if readable else [disk]
        self.uuid = self._domain(name, args, disks, seed).id

    def _disk(
        self, name: str, args: VirtualServerArgs, *, image: str, installation: int, gib: int
    ) -> libvirt.Volume:
        return libvirt.Volume(
            disks.instance(f"{name}-disk", installation),
            name=disks.volume(args.domain, installation),
            pool=args.storage_pool,
            base_volume_name=f"{image}.qcow2",
            format="qcow2",
            size=gib * GIB,
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )

    def _seed(self, name: str, args: VirtualServerArgs) -> libvirt.CloudInitDisk:
        def user_data(password_hash: str) -> str:
            return first_boot.user_data(
                hostname=args.hostname,
                user=args.user,
                ssh_keys=args.ssh_keys,
                password_hash=password_hash,
            )

        return libvirt.CloudInitDisk(
            disks.instance(f"{name}-seed", args.facts.installation),
            name=disks.seed(args.domain, args.facts.installation),
            pool=args.storage_pool,
            user_data=args.password_hash.apply(user_data),
            meta_data=first_boot.meta_data(instance_id=args.instance, hostname=args.hostname),
            network_config=first_boot.network_config(args.network),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _domain(
        self,
        name: str,
        args: VirtualServerArgs,
        disks: list[libvirt.Volume],
        seed: libvirt.CloudInitDisk,
    ) -> libvirt.Domain:
        return libvirt.Domain(
            name,
            name=args.domain,
            type=args.domain_type,
            machine="q35",
            vcpu=args.vcpus,
            memory=args.memory_mib,
            autostart=True,
            disks=[libvirt.DomainDiskArgs(volume_id=disk.id) for disk in disks],
            cloudinit=seed.id,
            network_interfaces=[
                libvirt.DomainNetworkInterfaceArgs(bridge=args.bridge, mac=args.network.mac)
            ],
            consoles=[libvirt.DomainConsoleArgs(type="pty", target_type="serial", target_port="0")],
            metadata=args.metadata,
            xml=libvirt.DomainXmlArgs(xslt=_xslt(args)),
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )


def _xslt(args: VirtualServerArgs) -> str:
    return render(
        "domain.xslt.j2",
        tap=args.tap,
        max_vcpus=args.headroom.vcpus,
        max_memory_mib=args.headroom.memory_mib,
        memory_slots=args.headroom.memory_slots,
        cpu_mode="host-model" if args.domain_type == "kvm" else None,
    )
