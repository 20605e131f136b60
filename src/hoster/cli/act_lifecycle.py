"""The parts of ``hoster act`` that put a new system onto a VPS, or end it.

Each is one step of a playbook: it may be cut anywhere, and is called again.
"""

from __future__ import annotations

from typing import Any

import rich_click as click

from hoster.cli import _common
from hoster.incidents.measures import TERMINATIONS


def _split(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG001
    from hoster.acts.choice import split

    return split(names)


_NAMES = click.argument("vps", nargs=-1, required=True, metavar="VPS[,VPS]...", callback=_split)
_NUMBER = click.argument("number", type=int, metavar="REINSTALL")


@click.command()
@_NAMES
@click.option("--image", type=_common.CatalogueName("images"), help="Another operating system.")
@click.option("--request", default="", help="The ticket of a client who asks for it.")
@click.option("--keep", is_flag=True, help="Keep the former disk readable for some days (C7.5).")
@_common.dry_run
def reinstall(**options: Any) -> None:
    """Want a new system for each VPS, on a disk of its own; declare and deploy it (C7.4, C7.5).

    Once for each request, or incident that demands it. Says as JSON what its node must have.

    \b
    Example:
      hoster act reinstall acme/web --image debian-12 --request ticket-4711
    """
    from hoster.acts import reinstall as act

    project, catalogue = _common.project(), _common.catalogue()
    _common.print_reply(_common.act(act.reinstall, project, catalogue, **options))


@click.command("give-up")
@_NAMES
@_common.dry_run
def give_up(vps: tuple[str, ...], dry_run: bool) -> None:
    """Put the former system back, where the new one was never seen up (C6.3).

    \b
    Example:
      hoster act give-up acme/web
    """
    from hoster.acts import reinstall as act

    _common.print_reply(_common.act(act.give_up, _common.project(), vps=vps, dry_run=dry_run))


@click.command()
@_NUMBER
def seen(number: int) -> None:
    """Note that a new system was seen up from its node; says which measures end with it (C7.4).

    Where none does, it is handed over at once; otherwise `reinstalled` does that, once the node has
    lifted them.

    \b
    Example:
      hoster act seen 4
    """
    from hoster.acts import reinstall as act

    project, catalogue = _common.project(), _common.catalogue()
    _common.print_reply(_common.act(act.seen, project, catalogue, reinstall=number))


@click.command()
@_NUMBER
@click.argument("measures", nargs=-1, type=int)
def reinstalled(number: int, measures: tuple[int, ...]) -> None:
    """Confirm that *MEASURES* were lifted, and mail the client the new codes; once (C4.2, C7.4).

    \b
    Example:
      hoster act reinstalled 4 17
    """
    from hoster.acts import reinstall as act

    project, catalogue = _common.project(), _common.catalogue()
    _common.print_reply(
        _common.act(act.hand_over, project, catalogue, reinstall=number, measures=measures)
    )


@click.command()
@click.argument("vps", nargs=-1, metavar="[VPS[,VPS]]...", callback=_split)
@click.option("--due", is_flag=True, help="Only those whose days are over; without a name, all.")
@_common.dry_run
def erase(vps: tuple[str, ...], due: bool, dry_run: bool) -> None:
    """Erase former disks of VPSs whose new system was handed over (C7.5).

    \b
    Examples:
      hoster act erase --due
      hoster act erase acme/web
    """
    from hoster.acts import reinstall as act

    if not (vps or due):
        raise click.UsageError("name VPSs, as in acme/web, or say --due")
    _common.print_reply(
        _common.act(act.erase, _common.project(), vps=vps, due=due, dry_run=dry_run)
    )


@click.command()
@_NAMES
@click.option("--reason", type=click.Choice(list(TERMINATIONS)), required=True)
@click.option("--note", default="", help="For the record: a letter, a ticket.")
@_common.dry_run
def terminate(**options: Any) -> None:
    """Want the end of VPSs; says what will be lost. --dry-run says only that (C12.5, C15.2).

    \b
    Example:
      hoster act terminate acme/web --reason end-of-term --dry-run
    """
    from hoster.acts import terminate as act

    project, catalogue = _common.project(), _common.catalogue()
    _common.print_reply(_common.act(act.terminate, project, catalogue, **options))


@click.command()
@_NAMES
def remove(vps: tuple[str, ...]) -> None:
    """Delete VPSs whose end is on record: domain, seed, disks; then their declarations (C15.2).

    \b
    Example:
      hoster act remove acme/web
    """
    from hoster.acts import terminate as act

    with _common.ledger() as ledger:
        reply = act.remove(_common.project(), ledger, vps=vps)
    _common.print_reply(reply)


@click.command()
@_NAMES
def terminated(vps: tuple[str, ...]) -> None:
    """Confirm that nothing is left of VPSs, and tell their clients; once (C12.5, C15.2).

    \b
    Example:
      hoster act terminated acme/web
    """
    from hoster.acts import terminate as act

    _common.print_reply(_common.act(act.terminated, _common.catalogue(), vps=vps))


COMMANDS = (reinstall, give_up, seen, reinstalled, erase, terminate, remove, terminated)
