"""``hoster resize``: another plan for a VPS, declared."""

from __future__ import annotations

import rich_click as click

from hoster.cli import _common


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
    from difflib import unified_diff

    from hoster.orders import ordering
    from hoster.project import declarations, files

    project, content, full_name = _common.project(), _common.catalogue(), "/".join(name)
    file = project.declaration(name[0])
    with declarations.exclusive(project):
        declared = declarations.read_sound(project)
        vps = ordering.resized(content, declared, full_name, plan)
        before = file.read_text(encoding="utf-8")
        was = declared.find(full_name)
        changed = was is not None and was.plan != plan
        after = declarations.with_plan(file, vps.name, plan) if changed else before
        if changed and not dry_run:
            files.write(file, after)
    diff = "".join(
        unified_diff(before.splitlines(True), after.splitlines(True), file.name, file.name)
    )
    if as_json:
        _common.print_json(
            {"name": full_name, "plan": plan, "changed": changed and not dry_run, "diff": diff}
        )
        return
    click.echo(diff, nl=False)
    if not changed:
        _common.say(f"{full_name} is on {plan} already; nothing was written.")
    elif dry_run:
        _common.say("Dry run: nothing was written.")
    else:
        _common.say(f"Next: pulumi -C pulumi up -s {vps.client}")
