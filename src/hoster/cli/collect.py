"""``hoster collect``: what the host nodes tell, fetched into the ledger."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hoster.acts.collect import AllTold, NodeTold
    from hoster.fleet.events import Answer


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@_common.asks_nodes
@_common.dry_run
@_common.as_json
def collect(as_json: bool, **options: Any) -> None:
    """Fetch what the host nodes tell into the ledger, each event once; mail the clients.

    Reaches them as Ansible does. Without NODE, all host nodes. Each has --timeout seconds.

    \b
    Examples:
      hoster collect            # a timer runs this every minute: docs/events.md
      hoster collect paris-1 --dry-run
      hoster collect --json

    \b
    Exit codes: 0 every node answered; 4 one did not, or the mail server did not take something.
    """
    from hoster.acts import collect as act
    from hoster.errors import ExitCode

    project, catalogue = _common.project(), _common.catalogue()
    collection = _common.act(act.collect, project, catalogue, watch=_counted, **options)
    if as_json:
        _common.print_json(collection.as_json())
    else:
        _tell(collection, dry_run=options["dry_run"])
    for remark in collection.remarks():
        _common.say(remark)
    if not collection.is_complete:
        sys.exit(ExitCode.RESOURCE)


def _counted(answers: Iterable[Answer], total: int) -> Iterator[Answer]:
    """Show how many nodes have answered, where a person looks on."""
    from rich.console import Console
    from rich.progress import track

    yield from track(
        answers,
        total=total,
        description="host nodes",
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def _tell(collection: AllTold, *, dry_run: bool) -> None:
    answered = [kept for _, kept in collection.answered]
    new, mails = sum(kept.new for kept in answered), sum(len(kept.mails) for kept in answered)
    would = "would be " if dry_run else ""
    _common.say(
        f"{len(answered)} of {len(collection.nodes)} host nodes answered: "
        f"{new} events {would}kept, {mails} mails {would}queued"
    )
    for one in collection.nodes:
        for line in _lines(one):
            _common.say(f"  {one.node}{line}")


def _lines(one: NodeTold) -> Iterator[str]:
    if one.kept is None:
        yield f" did not answer: {one.trouble}"
        return
    if one.kept.missing:
        yield f" had dropped {one.kept.missing} events: ask it more often"
    for client in one.kept.unknown:
        yield f": no client {client} is known here: nobody was told"
