"""Where the nodes are not as declared: missing, unknown, different. Nothing is ever mended here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hoster.changes.deployed import DeployedVps
from hoster.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hoster.catalogue import Catalogue
    from hoster.orders.declarations import VpsDeclaration
    from hoster.wire.status import VpsStatus


class DriftKind(StrEnum):
    """How something is not as declared."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Deviation:
    """Something that is not as declared: of a VPS, a domain or a tap, and where that was seen."""

    kind: DriftKind
    what: str
    where: str
    text: str


@dataclass(frozen=True)
class Domain:
    """A domain as its node's libvirt has it. Of one that is no VPS, ``vps`` is empty.

    ``disk_bytes`` is the capacity of its first disk, 0 where it has none.
    """

    name: str
    vps: str
    plan: str
    ipv4: str
    tap: str
    vcpus: int
    memory_mib: int
    disk_bytes: int
    is_running: bool


@dataclass(frozen=True)
class NodeFacts:
    """What a node says: its domains, its agent's VPSs (`hoster-node status --json`), its taps."""

    node: str
    domains: Sequence[Domain] = ()
    agent: Sequence[VpsStatus] = ()
    taps: Sequence[str] = field(default=())


GIB = 2**30


def of_node(
    facts: NodeFacts, declared: Iterable[VpsDeclaration], catalogue: Catalogue
) -> list[Deviation]:
    """Return what of a node is not as the VPSs *declared* on it say."""
    mine = {vps.full_name: vps for vps in declared}
    return [
        *_domains(facts, mine, catalogue),
        *_agent(facts, mine),
        *_taps(facts, mine),
    ]


def _domains(
    facts: NodeFacts, mine: Mapping[str, VpsDeclaration], catalogue: Catalogue
) -> Iterator[Deviation]:
    there = {one.vps: one for one in facts.domains if one.vps}
    for name, vps in mine.items():
        if name not in there:
            yield Deviation(DriftKind.MISSING, name, facts.node, "libvirt has no domain of it")
            continue
        for text in _differences(there[name], vps, catalogue):
            yield Deviation(DriftKind.DIFFERENT, name, facts.node, text)
    for one in facts.domains:
        if one.vps not in mine:
            what = f"is {one.vps}, which is not declared here" if one.vps else "is no VPS"
            yield Deviation(DriftKind.UNKNOWN, one.name, facts.node, f"domain {one.name} {what}")


def _differences(domain: Domain, vps: VpsDeclaration, catalogue: Catalogue) -> Iterator[str]:
    plan = catalogue.plans.get(vps.plan)
    pairs: list[tuple[str, object, object]] = [
        ("plan", vps.plan, domain.plan),
        ("ipv4", str(vps.ipv4), domain.ipv4),
        ("tap", names.tap_name(vps.ipv4), domain.tap),
    ]
    if plan:
        pairs += [
            ("vcpus", plan.vcpus, domain.vcpus),
            ("memory_mib", plan.memory_mib, domain.memory_mib),
            ("disk_gib", plan.disk_gib, domain.disk_bytes // GIB),
        ]
    for name, wanted, found in pairs:
        if wanted != found:
            yield f"{name} is declared {wanted}, and its domain has {found}"


def _agent(facts: NodeFacts, mine: Mapping[str, VpsDeclaration]) -> Iterator[Deviation]:
    known = {said["vps"]: said for said in facts.agent}
    passing = {name for name, said in known.items() if said["running"]}
    for one in facts.domains:
        if one.is_running and one.vps in mine and one.vps not in passing:
            text = "it runs, and the node's agent lets nothing of it pass: hoster-node reconcile"
            yield Deviation(DriftKind.DIFFERENT, one.vps, facts.node, text)
    for name, said in known.items():
        if name in mine and said["plan"] != mine[name].plan:
            text = f"plan is declared {mine[name].plan}, and the node's agent has {said['plan']}"
            yield Deviation(DriftKind.DIFFERENT, name, facts.node, text)
        if name not in mine and name in passing:
            text = "the node's agent lets it pass, and it is not declared here"
            yield Deviation(DriftKind.UNKNOWN, name, facts.node, text)


def _taps(facts: NodeFacts, mine: Mapping[str, VpsDeclaration]) -> Iterator[Deviation]:
    ours = {names.tap_name(vps.ipv4) for vps in mine.values()}
    ours |= {one.tap for one in facts.domains}  # told as a domain
    for tap in facts.taps:
        if tap not in ours:
            yield Deviation(DriftKind.UNKNOWN, tap, facts.node, f"tap {tap} is no declared VPS's")


def of_stack(
    client: str,
    outputs: Mapping[str, Mapping[str, Any]],
    declared: Iterable[VpsDeclaration],
    catalogue: Catalogue,
) -> list[Deviation]:
    """Return what a client's stack last deployed that is not as *declared*."""
    mine = {vps.name: vps for vps in declared}
    found = [
        Deviation(DriftKind.UNKNOWN, f"{client}/{name}", "stack", "deployed, and not declared")
        for name in sorted(outputs.keys() - mine.keys())
    ]
    for name, vps in mine.items():
        if name not in outputs:
            text = f"declared, and not deployed: pulumi -C pulumi up -s {client}"
            found.append(Deviation(DriftKind.MISSING, vps.full_name, "stack", text))
        elif vps.plan in catalogue.plans:
            was = DeployedVps.from_outputs(outputs[name]).outputs()
            wanted = DeployedVps.of(vps, catalogue).outputs()
            found += [
                Deviation(
                    DriftKind.DIFFERENT,
                    vps.full_name,
                    "stack",
                    f"{field} is declared {wanted[field]}, and deployed is {was[field]}",
                )
                for field in wanted
                if wanted[field] != was[field]
            ]
    return found
