"""What a host node says of its domains, its agent's VPSs and its taps."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from hoster.changes.drift import Domain, NodeFacts
from hoster.wire import status
from hoster.wire.errors import InvalidMetadataError
from hoster.wire.metadata import vps_of_domain
from hoster.wire.names import TAP_PREFIX

if TYPE_CHECKING:
    from hoster.fleet.ssh import NodeSsh


_VIRSH = ("virsh", "--quiet", "--readonly", "--connect", "qemu:///system")


_MARK = "hoster:next"


def facts(node: NodeSsh, *, seconds: float) -> NodeFacts:
    """Return what *node* says of its domains, its agent's VPSs and its taps.

    Raises:
        NoAnswerError: the node is out of reach, or something on it failed.
    """
    listed = node.run(*_VIRSH, "list --all --name", seconds=seconds).split("\n")
    domains = []
    if names := [shlex.quote(name) for name in listed if name]:
        # One connection for all; what comes after a command that failed comes all the same, and
        # only the last one's failure counts: a domain may have no disk, or be gone by now.
        each = [f"echo {_MARK}; dumpxml {it}; domblkinfo {it} vda" for it in names]
        asked = "; ".join([*each, f"echo {_MARK}"])
        said = node.run(*_VIRSH, asked, seconds=seconds)
        domains = [domain_of(text) for text in said.split(_MARK) if "<domain" in text]
    agent = status.read(node.run("hoster-node", "status", "--json", seconds=seconds))
    links = node.run("ls", "/sys/class/net", seconds=seconds).split()
    taps = [name for name in links if name.startswith(TAP_PREFIX)]
    return NodeFacts(node.name, domains, agent, taps)


def domain_of(text: str) -> Domain:
    """Return what `virsh` printed of a domain: its XML, and the sizes of its first disk."""
    xml, _, sizes = text.partition("</domain>")
    root = ElementTree.fromstring(f"{xml}</domain>")  # noqa: S314 - of our own node's libvirt
    try:
        vps = vps_of_domain(f"{xml}</domain>")
    except InvalidMetadataError:
        vps = None
    vcpu, tap = root.find("vcpu"), root.find("devices/interface/target")
    capacity = re.search(r"Capacity:\s+(\d+)", sizes)
    return Domain(
        name=root.findtext("name", ""),
        vps=vps.full_name if vps else "",
        plan=vps.plan if vps else "",
        ipv4=str(vps.ipv4) if vps else "",
        tap=tap.get("dev", "") if tap is not None else "",
        vcpus=int(vcpu.get("current") or vcpu.text or 0) if vcpu is not None else 0,
        memory_mib=int(root.findtext("memory", "0")) // 1024,
        disk_bytes=int(capacity[1]) if capacity else 0,
        is_running="id" in root.attrib,
    )
