"""``hoster doctor``: what this machine lacks, and how to get it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.acts.doctor import Examination


@click.command()
@click.option("--nodes", is_flag=True, help="Connect to each host node's libvirt, too.")
@_common.as_json
def doctor(nodes: bool, as_json: bool) -> None:
    """Look at Python, Pulumi, its plugins, libvirt, clock, ledger and mail, each with its fix.

    \b
    Examples:
      hoster doctor
      hoster doctor --nodes --json | jq '.[] | select(.ok | not)'

    \b
    Exit codes: 0 all that is required is there; 1 something is not.
    """
    from hoster.acts.doctor import examine
    from hoster.errors import ExitCode

    found = examine(lambda: (_common.project(), _common.catalogue()), nodes=nodes)
    if as_json:
        _common.print_json([asdict(each) for each in found])
    else:
        _common.print_table(
            ["", "what", "found"],
            [[_mark(each), each.name, each.found] for each in found],
        )
        for each in found:
            if not each.ok:
                _common.say(f"{each.name}: {each.fix}")
    if any(each.required and not each.ok for each in found):
        sys.exit(ExitCode.ERROR)


def _mark(each: Examination) -> str:
    if each.ok:
        return "ok"
    return "missing" if each.required else "advised"
