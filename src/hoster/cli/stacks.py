"""``hoster preview`` and ``hoster apply``: many clients' stacks, a bounded number at once."""

from __future__ import annotations

import json
import signal
import sys
import threading
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hoster.acts.apply import Applied
    from hoster.acts.preview import Previewed
    from hoster.changes.previews import Preview
    from hoster.engine.rollout import StackOutcome


def _on_stacks(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the clients that are meant: by name, by what changed, or all."""

    @click.argument("names", nargs=-1, metavar="[CLIENT]...")
    @click.option("--against", metavar="REF", help="Those that the changes since REF reach.")
    @click.option("--all", "every", is_flag=True, help="Every client.")
    @click.option(
        "--parallel", type=click.IntRange(min=1), help="How many at once. Default: one a core, 2-8."
    )
    @wraps(command)
    def chosen(names: tuple[str, ...], against: str | None, every: bool, **options: Any) -> None:
        command(_clients(names, against, every=every), **options)

    return chosen


@click.command()
@_on_stacks
@click.option("--markdown", is_flag=True, help="For the comment of a pull request.")
@_common.as_json
def preview(clients: list[str], parallel: int | None, markdown: bool, as_json: bool) -> None:
    """Say what `pulumi up` would do to clients' stacks, and refuse what loses anything (C6.3).

    A disk, a domain or a VPS that would be deleted or replaced without a termination on record is
    refused. Nothing is changed. Exit code 5 where something is refused.

    \b
    Examples:
      hoster preview acme
      scripts/preview-changes --against origin/main --markdown
    """
    from hoster.acts import preview as act
    from hoster.engine import rollout
    from hoster.errors import ExitCode

    project = _common.project()
    ended = _common.terminated(project)
    found = act.preview(project, clients, ended, at_once=parallel, told=_common.say_outcome)
    if as_json:
        _common.print_json(rollout.report(found.outcomes) | {"vps": _told(found.seen)})
    else:
        click.echo(in_markdown(found) if markdown else _text(found.outcomes, found.seen), nl=False)
    if not found.is_good:
        sys.exit(ExitCode.POLICY)


@click.command()
@_on_stacks
@click.option(
    "--max-failures", type=click.IntRange(min=1), default=3, show_default=True, help="Then stop."
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write it as JSON, too."
)
@_common.as_json
def apply(
    clients: list[str], parallel: int | None, max_failures: int, report: Path | None, as_json: bool
) -> None:
    """Make clients' declarations so: `pulumi up` of each, a bounded number at once.

    Stops after --max-failures, and on SIGTERM or Ctrl-C once what is under way has ended. Run it
    again: it passes over what is done, settles what was left half done, and goes on. Exit code 1
    where a stack failed or was not tried.

    \b
    Examples:
      hoster apply acme beta
      scripts/apply-changes --against HEAD~1 --report apply.json
    """
    from hoster.acts import apply as act
    from hoster.errors import ExitCode

    with _until_told_to_stop() as stop:
        done = act.apply(
            _common.project(),
            clients,
            _common.clock,
            at_once=parallel,
            max_failures=max_failures,
            stop=stop,
            told=_common.say_outcome,
        )
    _print_applied(done, report, as_json=as_json)
    if not done.is_good:
        sys.exit(ExitCode.ERROR)


def _print_applied(done: Applied, report: Path | None, *, as_json: bool) -> None:
    from hoster.engine import rollout
    from hoster.project.files import write

    when = {"began": done.began.isoformat(), "ended": done.ended.isoformat()}
    data = rollout.report(done.outcomes, **when)
    if report:
        write(report, json.dumps(data, indent=2, default=str))
    if as_json:
        _common.print_json(data)
    else:
        click.echo(_text(done.outcomes, {}), nl=False)


@contextmanager
def _until_told_to_stop() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and Ctrl-C set meanwhile."""
    stop = threading.Event()

    def told(*_: object) -> None:
        _common.say("stopping: what is under way ends, nothing new is begun")
        stop.set()

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _clients(names: tuple[str, ...], against: str | None, *, every: bool) -> list[str]:
    """Return the clients that are meant, by name."""
    from hoster.acts import reach

    if sum((bool(names), bool(against), every)) != 1:
        raise click.UsageError("name clients, or say --against REF, or --all")
    if against:
        return reach.clients_since(_common.change(against))
    return reach.named(_common.project(), names)


def _told(seen: Mapping[str, Preview]) -> list[dict[str, Any]]:
    return [
        {
            "vps": vps,
            "changes": changes,
            "notes": [text for of, text in one.notes if of == vps],
        }
        for one in (seen[client] for client in sorted(seen))
        for vps, changes in one.changes.items()
    ]


def _lines(outcomes: Sequence[StackOutcome], seen: Mapping[str, Preview]) -> list[str]:
    lines = [f"{one['vps']}: {text}" for one in _told(seen) for text in _what(one)]
    return lines + [f"{outcome.result}: {text}" for outcome in outcomes for text in outcome.details]


def _what(one: dict[str, Any]) -> list[str]:
    return one["notes"] or [", ".join(one["changes"])]


def _summary(outcomes: Sequence[StackOutcome]) -> str:
    from hoster.engine import rollout

    counts = rollout.report(outcomes)["counts"]
    if not counts:
        return "no stack is reached"
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{_common.counted(len(outcomes), 'stack')}: {said}"


def _text(outcomes: Sequence[StackOutcome], seen: Mapping[str, Preview]) -> str:
    lines = [*_lines(outcomes, seen), _summary(outcomes)]
    return "".join(f"{line}\n" for line in lines)


def in_markdown(found: Previewed) -> str:
    """Return what was found of stacks as the comment of a pull request says it."""
    lines = [f"- {line}" for line in _lines(found.outcomes, found.seen)]
    head = f"**{_summary(found.outcomes)}**"
    return "\n".join([head, "", *lines]).rstrip() + "\n"
