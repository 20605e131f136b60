"""``hoster act``: what a playbook records of an act, before and after the nodes do it."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common, act_lifecycle
from hoster.incidents.measures import KINDS, SEVERITIES, SUSPENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.acts.choice import Chosen


def _on_vpss(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the chosen VPSs: by name, or by node and image."""

    @click.argument("names", nargs=-1, metavar="[VPS[,VPS]]...")
    @click.option("--node", "nodes", help="All VPSs of this host node, or of several: a,b.")
    @click.option("--image", "images", help="All VPSs with this operating system, or several.")
    @wraps(command)
    def chosen(names: tuple[str, ...], nodes: str | None, images: str | None, **rest: Any) -> None:
        command(chosen=_chosen(names, nodes, images), **rest)

    return chosen


def _chosen(names: tuple[str, ...], nodes: str | None, images: str | None) -> Chosen:
    from hoster.acts.choice import choose, split
    from hoster.project.declarations import read_all

    if not (any(names) or nodes or images):
        raise click.UsageError("name VPSs, as in acme/web, or choose them by --node or --image")
    vps, node, image = split(names), split(nodes), split(images)
    catalogue = _common.catalogue() if node or image else None
    return choose(read_all(_common.project()), catalogue, vps=vps, node=node, image=image)


@click.group()
def act() -> None:
    """Record an act against VPSs in the ledger. Ops run the playbooks, which call this.

    Each subcommand says as JSON what each host node has to do; `done` confirms that it did, and
    tells the clients. What was recorded already is not recorded again.

    \b
    Examples:
      ansible-playbook playbooks/quarantine-vps.yml -e vps=acme/web -e kind=hacked
      ansible-playbook playbooks/quarantine-vps.yml -e image=debian-12 -e kind=vulnerable
      ansible-playbook playbooks/resume-vps.yml -e vps=acme/web -e reason=unpaid
    """


@act.command()
@_on_vpss
@click.option("--kind", type=click.Choice(list(KINDS)), required=True)
@click.option("--severity", type=click.Choice(SEVERITIES), default="serious", show_default=True)
@click.option("--evidence", default="", help="Where the proof is kept: a ticket, a file.")
@click.option("--hours", type=click.FloatRange(min=0), help="How long it is expected to last.")
@click.option("--reinstall", is_flag=True, help="A reinstall is required (C7.4).")
@_common.dry_run
def quarantine(**options: Any) -> None:
    """Open an incident for each VPS, and want its quarantine (C6.1, C7.2, C7.4).

    \b
    Example:
      hoster act quarantine acme/web --kind hacked --evidence ticket-4711 --hours 24
    """
    from hoster.acts import measures

    _common.print_reply(_common.act(measures.quarantine, **options))


@act.command()
@_on_vpss
@click.option("--incident", type=int, help="Which one, where several are open.")
@click.option("--override", default="", help="Why, where the policy refuses it.")
@_common.dry_run
def reconnect(**options: Any) -> None:
    """Want the end of a quarantine whose problem was corrected (C6.2).

    \b
    Example:
      hoster act reconnect acme/web
    """
    from hoster.acts import measures

    _common.print_reply(_common.act(measures.reconnect, _common.catalogue(), **options))


@act.command()
@_on_vpss
@click.option("--reason", type=click.Choice(list(SUSPENSIONS)), required=True)
@click.option("--note", default="", help="For the record: an invoice, a file number.")
@_common.dry_run
def suspend(**options: Any) -> None:
    """Want a suspension for a reason; reasons stack (C7.1, C7.7, C15.1).

    \b
    Example:
      hoster act suspend acme/web --reason unpaid --note invoice-2026-117
    """
    from hoster.acts import measures

    _common.print_reply(_common.act(measures.suspend, **options))


@act.command()
@_on_vpss
@click.option("--reason", type=click.Choice(list(SUSPENSIONS)), required=True)
@click.option("--note", default="", help="For the record: a payment, a file number.")
@_common.dry_run
def resume(**options: Any) -> None:
    """Want the end of the suspension for one reason, and of no other (C15.1).

    \b
    Example:
      hoster act resume acme/web --reason unpaid
    """
    from hoster.acts import measures

    _common.print_reply(_common.act(measures.resume, **options))


@act.command("proofs")
@_common.dry_run
def enforce_proofs(dry_run: bool) -> None:
    """Want the suspension of VPSs whose client's proof is overdue, its end where it came (C7.1).

    \b
    Example:
      hoster act proofs --dry-run
    """
    from hoster.acts import proofs

    _common.print_reply(_common.act(proofs.enforce, _common.project(), dry_run=dry_run))


@act.command()
@click.argument("numbers", nargs=-1, required=True, type=int, metavar="MEASURES...")
def summary(numbers: tuple[int, ...]) -> None:
    """Print what became of measures, a line each: of an act on many VPSs.

    \b
    Example:
      hoster act summary 17 18
    """
    from hoster.acts import measures

    with _common.ledger() as ledger:
        found = measures.summary(ledger, measures=numbers)
    click.echo("\n".join(found.lines()))


@act.command()
@click.argument("numbers", nargs=-1, required=True, type=int, metavar="MEASURES...")
def done(numbers: tuple[int, ...]) -> None:
    """Confirm what the nodes did, and tell the clients; once, however often it is called.

    \b
    Example:
      hoster act done 17 18
    """
    from hoster.acts import measures

    _common.print_reply(_common.act(measures.confirm, _common.catalogue(), measures=numbers))


for _command in act_lifecycle.COMMANDS:
    act.add_command(_command)
