"""``hoster resize``: another plan for a VPS, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.acts.resize import Resized


@click.command()
@click.argument("name", type=_common.VpsName())
@click.option("--plan", required=True, type=_common.CatalogueName("plans"), help="The new plan.")
@_common.dry_run
@_common.as_json
def resize(name: tuple[str, str], plan: str, dry_run: bool, as_json: bool) -> None:
    """Declare another plan for a VPS; disk and data stay (C4.7).

    \b
    Examples:
      hoster resize acme/web --plan kvm-4 --dry-run
      hoster resize acme/web --plan kvm-4 && pulumi -C pulumi up -s acme

    \b
    Exit codes: 0 declared (or on that plan already); 2 not valid; 4 no room; 5 smaller disk.
    """
    from hoster.acts import resize as act

    project, catalogue = _common.project(), _common.catalogue()
    done = act.resize(project, catalogue, "/".join(name), plan, dry_run=dry_run)
    if as_json:
        _common.print_json(
            {
                "name": done.vps.full_name,
                "plan": plan,
                "changed": done.written,
                "diff": done.diff,
            }
        )
        return
    click.echo(done.diff, nl=False)
    _common.say(_next(done))


def _next(done: Resized) -> str:
    if not done.is_another:
        return f"{done.vps.full_name} is on {done.vps.plan} already; nothing was written."
    if not done.written:
        return "Dry run: nothing was written."
    return f"Next: pulumi -C pulumi up -s {done.vps.client}"
