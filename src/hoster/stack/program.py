"""The Pulumi program of a client's stack: declarations in, virtual servers out."""

from __future__ import annotations

import os
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_libvirt as libvirt
from tenacity import retry, retry_if_exception_message, stop_after_delay, wait_fixed

from hoster.changes import rules
from hoster.changes.deployed import COMPONENT, DeployedVps, vanished, violations
from hoster.errors import ConfigurationError, RuleError
from hoster.project import ENDED_VARIABLE, Project, declarations
from hoster.project.inventory import load_catalogue
from hoster.stack.first_boot import Network
from hoster.stack.virtual_server import VirtualServer, VirtualServerArgs
from hoster.wire import names
from hoster.wire.metadata import metadata_xml
from hoster.wire.vps import Vps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from hoster.catalogue import Catalogue, Plan
    from hoster.orders.declarations import VpsDeclaration


def declare() -> None:
    """Declare every VPS of this stack's client.

    All is validated before the first resource: the declaration against the catalogue, and what
    is final (location, IPv4, node, image, disk, and that there is a VPS at all) against what the
    stack last deployed.

    Raises:
        ConfigurationError: inventory or declaration is not valid.
        RuleError: the declaration would change what is final (C4.3, C4.7, C6.3, C10.1).
    """
    project = Project.find()
    catalogue = load_catalogue(project.inventory)
    declared = _declared(project, catalogue)
    _refuse_changes_of_what_is_final(declared, catalogue)
    access = pulumi.Config("hoster").get_secret_object("access") or pulumi.Output.secret({})
    nodes = {node: _provider(catalogue, node) for node in sorted({vps.node for vps in declared})}
    servers = {
        vps.name: VirtualServer(
            vps.name,
            _arguments(vps, catalogue, access),
            pulumi.ResourceOptions(providers=[nodes[vps.node]]),
        )
        for vps in declared
    }
    outputs = {vps.name: _outputs(vps, catalogue, servers[vps.name]) for vps in declared}
    pulumi.export("vps", outputs)


def _declared(project: Project, catalogue: Catalogue) -> tuple[VpsDeclaration, ...]:
    client = declarations.read(project.declaration(pulumi.get_stack()))
    if found := rules.check_client(catalogue, client):
        raise ConfigurationError(
            "\n".join(
                f"{finding.file.name}: {'.'.join(finding.keys)}: {finding.message}"
                for finding in found
            ),
            remedy="`hoster check` tells the lines, and judges all clients at once.",
        )
    return client.vps


def _provider(catalogue: Catalogue, node: str) -> libvirt.Provider:
    return libvirt.Provider(node, uri=catalogue.nodes[node].libvirt_uri)


def _refuse_changes_of_what_is_final(
    declared: tuple[VpsDeclaration, ...], catalogue: Catalogue
) -> None:
    before = deployed()
    found = [
        text
        for vps in declared
        if vps.name in before
        for text in violations(vps.full_name, before[vps.name], DeployedVps.of(vps, catalogue))
    ]
    names = {vps.name for vps in declared}
    ended = os.environ.get(ENDED_VARIABLE, "").split()
    found += vanished(pulumi.get_stack(), before, names, ended).values()
    if found:
        raise RuleError("\n".join(found))


def deployed() -> dict[str, DeployedVps]:
    """Return what this stack's last run registered, by VPS; empty before the first."""
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    answer = _checkpoint(stack)
    resources: Mapping[str, Any] = (answer.value or {}).get("outputs") or {}
    return {
        urn.rpartition("::")[2]: DeployedVps.from_outputs(resource["outputs"])
        for urn, resource in resources.items()
        if resource["type"] == COMPONENT and resource["outputs"]
    }


# With state in files the engine may be writing the checkpoint just then, and empties it first.
@retry(
    retry=retry_if_exception_message(match=r"(?s).*failed to load checkpoint"),
    wait=wait_fixed(0.1),
    stop=stop_after_delay(10),
    reraise=True,
)
def _checkpoint(stack: str) -> Any:
    return pulumi.runtime.invoke(
        "pulumi:pulumi:readStackResourceOutputs", {"name": stack, "stackName": stack}
    )


def _arguments(
    vps: VpsDeclaration, catalogue: Catalogue, access: pulumi.Output[Any]
) -> VirtualServerArgs:
    plan, policy = catalogue.plans[vps.plan], catalogue.policy
    network = _network(vps, catalogue)
    return VirtualServerArgs(
        full_name=vps.full_name,
        facts=DeployedVps.of(vps, catalogue),
        vcpus=plan.vcpus,
        memory_mib=plan.memory_mib,
        network=network,
        tap=names.tap_name(vps.ipv4),
        metadata=metadata_xml(
            _wired(vps, plan, network.gateway, policy.timezone),
            location=vps.location,
            prefix_length=network.address.network.prefixlen,
        ),
        user=catalogue.images[vps.image_name].default_user,
        ssh_keys=vps.ssh_keys,
        password_hash=access.apply(lambda hashes: _hash_of(hashes, vps)),
        domain_type=catalogue.nodes[vps.node].domain_type,
        storage_pool=policy.storage_pool,
        bridge=policy.bridge,
        headroom=policy.headroom,
        former_disk=vps.former_disk,
    )


def _hash_of(hashes: Mapping[str, str], vps: VpsDeclaration) -> str:
    if vps.name not in hashes:
        raise RuleError(
            f"{vps.full_name}: hoster:access has no sealed password for it",
            remedy=f"Declare a VPS with `hoster order {vps.full_name}`, which seals one (C4.2).",
        )
    return hashes[vps.name]


def _network(vps: VpsDeclaration, catalogue: Catalogue) -> Network:
    pool = next(pool for pool in catalogue.locations[vps.location].pools if vps.ipv4 in pool.cidr)
    return Network(
        address=IPv4Interface(f"{vps.ipv4}/{pool.cidr.prefixlen}"),
        mac=names.mac_address(vps.ipv4),
        gateway=pool.gateway,
        dns=tuple(pool.dns),
    )


def _wired(vps: VpsDeclaration, plan: Plan, gateway: IPv4Address, timezone: str) -> Vps:
    return Vps(
        client=vps.client,
        name=vps.name,
        plan=vps.plan,
        ipv4=vps.ipv4,
        guaranteed_mbit_s=plan.guaranteed_mbit_s,
        ceiling_mbit_s=plan.ceiling_mbit_s,
        throttle_mbit_s=plan.throttle_mbit_s,
        traffic_bytes=plan.traffic_bytes,
        anchor=vps.since,
        timezone=timezone,
        gateway=gateway,
    )


def _outputs(vps: VpsDeclaration, catalogue: Catalogue, server: VirtualServer) -> dict[str, Any]:
    return {
        **DeployedVps.of(vps, catalogue).outputs(),
        "user": catalogue.images[vps.image_name].default_user,
        "domain": vps.domain,
        "uuid": server.uuid,
    }
