"""``hoster check``: every rule over every declaration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from pathlib import Path

    from hoster.catalogue import Catalogue
    from hoster.declarations import Declarations
    from hoster.project import Project
    from hoster.rules import Finding


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
    from hoster import rules, yaml_files
    from hoster.declaration_files import read_all
    from hoster.errors import ExitCode

    project, catalogue = _common.project(), _common.catalogue()
    declared = read_all(project)
    found = rules.check(catalogue, declared)
    if against is not None:
        found = [*_changed(project, against, catalogue, declared), *found]
    findings = [
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
    judged = sum(1 for _ in declared)
    if as_json:
        _common.print_json({"vps": judged, "findings": findings})
    else:
        for row in findings:
            contract = f" ({row['contract']})" if row["contract"] else ""
            other = f", at {row['other']}" if row["other"] else ""
            click.echo(f"{row['file']}:{row['line']}: {row['message']}{other}{contract}")
        _common.say(f"{judged} VPSs of {len(declared.clients)} clients: {len(findings)} findings")
    if findings:
        sys.exit(ExitCode.POLICY)


def _changed(
    project: Project, ref: str, catalogue: Catalogue, declared: Declarations
) -> list[Finding]:
    """Return what the change since *ref* breaks."""
    from hoster import change_rules, touched

    before = touched.before(project, ref)
    if before is None:
        return []
    return change_rules.check(
        before,
        catalogue,
        declared,
        ended=_common.terminated(project),
        plans_file=project.inventory / "group_vars" / "all" / "plans.yml",
    )


def _place(file: Path, keys: tuple[str, ...]) -> str:
    from hoster import yaml_files

    return f"{file}:{yaml_files.line_of(file, keys)}"
