"""``hoster drift``: declared against deployed against running."""

from __future__ import annotations

import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.catalogue import Catalogue
    from hoster.changes.drift import Finding
    from hoster.fleet.ssh import NodeSsh
    from hoster.orders.declarations import Declarations, VpsDeclaration
    from hoster.project import Project


@click.command()
@click.option("--stacks/--no-stacks", default=True, help="Ask each stack what it deployed, too.")
@_common.asks_nodes
@_common.as_json
def drift(stacks: bool, timeout: float, at_once: int, as_json: bool) -> None:
    """Say where stacks and host nodes are not as declared: missing, unknown, different.

    Asks every stack what it deployed, and every node's libvirt and agent what is there. Nothing is
    changed: an unknown domain or tap is told, and never deleted.

    \b
    Examples:
      hoster drift                # a timer runs this by night
      hoster drift --no-stacks --json
      scripts/find-drift

    \b
    Exit codes: 0 all is as declared; 7 something is not; 4 a node did not answer.
    """
    from hoster.errors import ExitCode
    from hoster.fleet import ssh
    from hoster.project.declarations import read_sound

    project, catalogue = _common.project(), _common.catalogue()
    declared = read_sound(project)
    by_node: defaultdict[str, list[VpsDeclaration]] = defaultdict(list)
    for vps in declared:
        by_node[vps.node].append(vps)
    with ThreadPoolExecutor(at_once) as pool:
        asked = [
            pool.submit(_of_node, node, by_node[node.name], catalogue, timeout)
            for node in ssh.nodes(project).values()
        ]
        answers = [one.result() for one in asked]
    found = [finding for findings, _, _ in answers for finding in findings]
    silent = {node: trouble for _, node, trouble in answers if trouble}
    if stacks:
        found += _of_stacks(project, declared, catalogue)
    found.sort(key=lambda one: (one.where, one.what, one.text))
    if as_json:
        data: dict[str, Any] = {"findings": [asdict(one) for one in found], "silent": silent}
        _common.print_json(data)
    else:
        for one in found:
            click.echo(f"{one.kind}: {one.what} ({one.where}): {one.text}")
        for node, trouble in silent.items():
            click.echo(f"no answer: {node}: {trouble}")
        _common.say(
            f"{len(answers) - len(silent)} of {len(answers)} host nodes answered: "
            f"{len(found)} things are not as declared"
        )
    if silent:
        sys.exit(ExitCode.RESOURCE)
    if found:
        sys.exit(ExitCode.CHANGED)


def _of_node(
    node: NodeSsh, mine: list[VpsDeclaration], catalogue: Catalogue, timeout: float
) -> tuple[list[Finding], str, str]:
    """Return what of a node is not as *mine* say, its name, and why it did not answer."""
    from hoster.changes import drift as rules
    from hoster.errors import HosterError
    from hoster.fleet.facts import facts

    try:
        found = facts(node, seconds=timeout)
    except HosterError as error:
        return [], node.name, error.message
    return rules.of_node(found, mine, catalogue), node.name, ""


def _of_stacks(project: Project, declared: Declarations, catalogue: Catalogue) -> list[Finding]:
    from hoster.changes import drift as rules
    from hoster.engine import pulumi_cli, rollout

    with ThreadPoolExecutor(rollout.most_at_once()) as pool:
        outputs = pool.map(
            lambda client: pulumi_cli.stack_outputs(project, client.client).get("vps", {}),
            declared.clients,
        )
        return [
            finding
            for client, deployed in zip(declared.clients, outputs, strict=True)
            for finding in rules.of_stack(client.client, deployed, client.vps, catalogue)
        ]
