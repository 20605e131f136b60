"""Where stacks and host nodes are not as declared; nothing is ever mended."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hoster.changes import drift as rules
from hoster.engine import pulumi_cli, rollout
from hoster.errors import HosterError
from hoster.fleet import facts, ssh
from hoster.project.declarations import read_sound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hoster.catalogue import Catalogue
    from hoster.changes.drift import Deviation
    from hoster.fleet.ssh import NodeSsh
    from hoster.orders.declarations import Declarations, VpsDeclaration
    from hoster.project import Project


@dataclass(frozen=True)
class Drift:
    """What is not as declared, and which host nodes did not answer, each with its reason.

    ``asked`` is how many host nodes there are.
    """

    findings: tuple[Deviation, ...]
    silent: Mapping[str, str]
    asked: int


def drift(
    project: Project,
    catalogue: Catalogue,
    *,
    stacks: bool = True,
    timeout_seconds: float,
    at_once: int,
) -> Drift:
    """Ask every host node what is there, *at_once* at a time, and every stack what it deployed.

    Raises:
        ConfigurationError: inventory or declarations are not valid.
        ToolError: Ansible, SSH or Pulumi is missing or refused.
    """
    declared = read_sound(project)
    by_node: defaultdict[str, list[VpsDeclaration]] = defaultdict(list)
    for vps in declared:
        by_node[vps.node].append(vps)
    nodes = list(ssh.nodes(project).values())
    ask = partial(_of_node, catalogue=catalogue, seconds=timeout_seconds)
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(ask, nodes, [by_node[node.name] for node in nodes]))
    found = [one for answer in answers for one in answer.deviations]
    if stacks:
        found += _of_stacks(project, declared, catalogue)
    return Drift(
        tuple(sorted(found, key=lambda one: (one.where, one.what, one.text))),
        {answer.node: answer.trouble for answer in answers if answer.trouble},
        len(nodes),
    )


@dataclass(frozen=True)
class _Answer:
    """What of a node is not as declared, or the trouble why it did not answer."""

    node: str
    deviations: Sequence[Deviation] = ()
    trouble: str = ""


def _of_node(
    node: NodeSsh, mine: Sequence[VpsDeclaration], catalogue: Catalogue, seconds: float
) -> _Answer:
    try:
        found = facts.facts(node, seconds=seconds)
    except HosterError as error:
        return _Answer(node.name, trouble=error.message)
    return _Answer(node.name, rules.of_node(found, mine, catalogue))


def _of_stacks(project: Project, declared: Declarations, catalogue: Catalogue) -> list[Deviation]:
    def deployed(client: str) -> Any:
        return pulumi_cli.stack_outputs(project, client).get("vps", {})

    with ThreadPoolExecutor(rollout.most_at_once()) as pool:
        outputs = pool.map(deployed, [one.client for one in declared.clients])
        return [
            deviation
            for client, found in zip(declared.clients, outputs, strict=True)
            for deviation in rules.of_stack(client.client, found, client.vps, catalogue)
        ]
