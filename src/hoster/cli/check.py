"""``hoster check``: every rule over every declaration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@_common.as_json
def check(as_json: bool) -> None:
    """Judge all declarations by all rules, in one pass. Exit code 5 where one is broken.

    \b
    Examples:
      hoster check
      hoster check --json | jq '.findings[] | select(.rule == "duplicate")'
    """
    from hoster import rules, yaml_files
    from hoster.declaration_files import read_all
    from hoster.errors import ExitCode

    declared = read_all(_common.project())
    findings = [
        {
            "rule": finding.rule,
            "contract": finding.contract,
            "file": str(finding.file),
            "line": yaml_files.line_of(finding.file, finding.keys),
            "key": ".".join(finding.keys),
            "message": finding.message,
            "other": _place(*finding.other) if finding.other else None,
        }
        for finding in rules.check(_common.catalogue(), declared)
    ]
    judged = sum(1 for _ in declared)
    if as_json:
        _common.print_json({"vps": judged, "findings": findings})
    else:
        for found in findings:
            contract = f" ({found['contract']})" if found["contract"] else ""
            other = f", at {found['other']}" if found["other"] else ""
            click.echo(f"{found['file']}:{found['line']}: {found['message']}{other}{contract}")
        _common.say(f"{judged} VPSs of {len(declared.clients)} clients: {len(findings)} findings")
    if findings:
        sys.exit(ExitCode.POLICY)


def _place(file: Path, keys: tuple[str, ...]) -> str:
    from hoster import yaml_files

    return f"{file}:{yaml_files.line_of(file, keys)}"
