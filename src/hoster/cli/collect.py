"""``hoster collect``: what the host nodes tell, fetched into the ledger."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hoster.fleet.events import Answer


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@_common.asks_nodes
@_common.dry_run
@_common.as_json
def collect(
    nodes: tuple[str, ...], timeout: float, at_once: int, dry_run: bool, as_json: bool
) -> None:
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
    from hoster.errors import ExitCode
    from hoster.fleet import events, ssh
    from hoster.ledger import Ledger
    from hoster.mail import outbox

    project, company = _common.project(), _common.catalogue().company
    asked = _chosen(ssh.nodes(project), nodes)
    rows: list[dict[str, Any]] = []
    with Ledger.open(project.ledger_url) as ledger:
        answers = events.collect(
            asked,
            ledger.node_events.last(asked),
            known=ledger.node_events.last_number,
            seconds=timeout,
            at_once=at_once,
        )
        for answer in _counted(answers, len(asked)):
            row: dict[str, Any] = {"node": answer.node, "trouble": answer.trouble}
            if not answer.trouble:
                with ledger.together(dry_run=dry_run):
                    kept = ledger.node_events.keep(answer.node, answer.events, _now())
                row |= vars(kept)
            rows.append(row)
        report = outbox.Report() if dry_run else outbox.send_due(ledger, company, _now)
    rows.sort(key=lambda row: row["node"])
    if as_json:
        _common.print_json({"nodes": rows, "mails": vars(report), "changed": _changed(rows)})
    else:
        _tell(rows, dry_run=dry_run)
    left = report.later | report.failed
    for occasion, reason in left.items():
        _common.say(f"not sent: {occasion}: {reason}")
    if left or any(row["trouble"] for row in rows):
        sys.exit(ExitCode.RESOURCE)


def _chosen(known: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    from hoster.errors import ConfigurationError
    from hoster.problems import near

    for name in wanted:
        if name not in known:
            raise ConfigurationError(f"no host node {name}{near(name, known)}")
    return {name: known[name] for name in wanted} if wanted else known


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


def _changed(rows: list[dict[str, Any]]) -> bool:
    return any(row.get("new") for row in rows)


def _tell(rows: list[dict[str, Any]], *, dry_run: bool) -> None:
    answered = [row for row in rows if not row["trouble"]]
    new = sum(row["new"] for row in answered)
    mails = sum(len(row["mails"]) for row in answered)
    would = "would be " if dry_run else ""
    _common.say(
        f"{len(answered)} of {len(rows)} host nodes answered: {new} events {would}kept, "
        f"{mails} mails {would}queued"
    )
    for row in rows:
        if row["trouble"]:
            _common.say(f"  {row['node']} did not answer: {row['trouble']}")
            continue
        if row["missing"]:
            _common.say(f"  {row['node']} had dropped {row['missing']} events: ask it more often")
        for client in row["unknown"]:
            _common.say(f"  {row['node']}: no client {client} is known here: nobody was told")


def _now() -> datetime:
    return datetime.now(UTC)
