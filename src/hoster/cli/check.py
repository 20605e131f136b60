"""``hoster check``: every rule over every declaration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from pathlib import Path

    from hoster.catalogue import Catalogue
    from hoster.changes.rules import Finding
    from hoster.orders.declarations import Declarations
    from hoster.project import Project


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
    from hoster.errors import ExitCode

    declared, findings = judge(against)
    if as_json:
        _common.print_json({"vps": sum(1 for _ in declared), "findings": findings})
    else:
        for row in findings:
            click.echo(line(row))
        _common.say(f"{what(declared)}: {_common.counted(len(findings), 'finding')}")
    if findings:
        sys.exit(ExitCode.POLICY)


def judge(against: str | None) -> tuple[Declarations, list[dict[str, Any]]]:
    """Return what is declared, and what of it breaks a rule, a row each.

    Raises:
        ConfigurationError: the inventory is not valid, or there is no such ref.
    """
    from hoster.changes import rules
    from hoster.project import yaml_files
    from hoster.project.declarations import read_all

    project, catalogue = _common.project(), _common.catalogue()
    declared = read_all(project)
    found = rules.check(catalogue, declared)
    if against is not None:
        found = [*_changed(project, against, catalogue, declared), *found]
    return declared, [
        {
            "rule": finding.rule,
            "contract": finding.contract,
            "file": str(finding.file),
            "line": yaml_files.line_of(finding.file, finding.keys) if finding.file.exists() else 1,
            "key": ".".join(finding.keys),
            "message": finding.message,
            "other": _place(*finding.other) if finding.other else None,
        }
        for finding in found
    ]


def what(declared: Declarations) -> str:
    """Say how much was judged."""
    vps, clients = sum(1 for _ in declared), len(declared.clients)
    return f"{_common.counted(vps, 'VPS')} of {_common.counted(clients, 'client')}"


def line(row: dict[str, Any]) -> str:
    """Return a row of `judge` for people: place, what is wrong, what it clashes with."""
    message = row["message"]
    if row["rule"] == "schema":
        message = f"{row['key']}: {message}"
    # Some say by themselves which of their reasons is in the contract, and where.
    contract = f" ({row['contract']})" if row["contract"] and "(C" not in message else ""
    other = f", at {row['other']}" if row["other"] else ""
    return f"{row['file']}:{row['line']}: {message}{other}{contract}"


def _changed(
    project: Project, ref: str, catalogue: Catalogue, declared: Declarations
) -> list[Finding]:
    """Return what the change since *ref* breaks."""
    from hoster.changes import since
    from hoster.project import git

    before = git.before(project, ref)
    if before is None:
        return []
    return since.check(
        before,
        catalogue,
        declared,
        ended=_common.terminated(project),
        plans_file=project.inventory / "group_vars" / "all" / "plans.yml",
    )


def _place(file: Path, keys: tuple[str, ...]) -> str:
    from hoster.project import yaml_files

    return f"{file}:{yaml_files.line_of(file, keys)}"
