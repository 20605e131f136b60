"""``hoster check``: every rule over every declaration."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.acts.check import Finding, Judgement


@click.command()
@click.option(
    "--against", metavar="REF", help="Judge the change since that Git branch, tag or commit, too."
)
@_common.as_json
def check(against: str | None, as_json: bool) -> None:
    """Judge all declarations by all rules, in one pass. Exit code 5 where one is broken.

    With --against, what must not change as well: location, IPv4, node and image of a VPS, a
    smaller disk, a VPS that vanishes without a termination on record, a plan that shrinks under
    its users.

    \b
    Examples:
      hoster check
      hoster check --against origin/main
      hoster check --json | jq '.findings[] | select(.rule == "duplicate")'
    """
    from hoster.acts import check as act
    from hoster.errors import ExitCode

    found = act.check(_common.change(against))
    if as_json:
        findings = [asdict(one) for one in found.findings]
        _common.print_json({"vps": sum(1 for _ in found.declared), "findings": findings})
    else:
        for one in found.findings:
            click.echo(line(one))
        _common.say(f"{what(found)}: {_common.counted(len(found.findings), 'finding')}")
    if found.findings:
        sys.exit(ExitCode.POLICY)


def what(found: Judgement) -> str:
    """Say how much was judged."""
    vps, clients = sum(1 for _ in found.declared), len(found.declared.clients)
    return f"{_common.counted(vps, 'VPS')} of {_common.counted(clients, 'client')}"


def line(finding: Finding) -> str:
    """Return a finding for people: place, what is wrong, what it clashes with."""
    message = finding.message
    if finding.rule == "schema":
        message = f"{finding.key}: {message}"
    # Some say by themselves which of their reasons is in the contract, and where.
    contract = f" ({finding.contract})" if finding.contract and "(C" not in message else ""
    other = f", at {finding.other}" if finding.other else ""
    return f"{finding.file}:{finding.line}: {message}{other}{contract}"
