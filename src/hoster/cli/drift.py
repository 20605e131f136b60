"""``hoster drift``: declared against deployed against running."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.acts.drift import Drift


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
    from hoster.acts import drift as act
    from hoster.errors import ExitCode

    project, catalogue = _common.project(), _common.catalogue()
    found = act.drift(project, catalogue, stacks=stacks, timeout_seconds=timeout, at_once=at_once)
    if as_json:
        findings = [asdict(one) for one in found.findings]
        _common.print_json({"findings": findings, "silent": found.silent})
    else:
        _tell(found)
    if found.silent:
        sys.exit(ExitCode.RESOURCE)
    if found.findings:
        sys.exit(ExitCode.CHANGED)


def _tell(found: Drift) -> None:
    for one in found.findings:
        click.echo(f"{one.kind}: {one.what} ({one.where}): {one.text}")
    for node, trouble in found.silent.items():
        click.echo(f"no answer: {node}: {trouble}")
    _common.say(
        f"{found.asked - len(found.silent)} of {found.asked} host nodes answered: "
        f"{len(found.findings)} things are not as declared"
    )
