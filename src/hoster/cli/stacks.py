"""``hoster preview`` and ``hoster apply``: many clients' stacks, a bounded number at once."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hoster.changes.previews import Preview
    from hoster.engine.rollout import Outcome
    from hoster.project import Project


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
    from hoster.engine import rollout
    from hoster.errors import ExitCode

    outcomes, seen = look_at(clients, parallel)
    if as_json:
        _common.print_json(rollout.report(outcomes) | {"vps": _told(seen.values())})
    else:
        click.echo(in_markdown(outcomes, seen) if markdown else _text(outcomes, seen), nl=False)
    if any(one.result not in rollout.GOOD for one in outcomes):
        sys.exit(ExitCode.POLICY)


def look_at(
    clients: Sequence[str], parallel: int | None = None
) -> tuple[list[Outcome], dict[str, Preview]]:
    """Ask what `pulumi up` would do to each of *clients*; return what was judged of it, and it."""
    from hoster.changes import previews
    from hoster.engine import pulumi_cli, rollout
    from hoster.engine.rollout import Outcome, Result

    project = _common.project()
    ended = _common.terminated(project)
    seen: dict[str, Preview] = {}

    def look(client: str) -> Outcome:
        if not project.declaration(client).exists():
            return _vanished(project, client)
        seen[client] = previews.read(client, pulumi_cli.preview(project, client))
        if refused := previews.judge(seen[client], ended):
            return Outcome(client, Result.REFUSED, details=tuple(refused))
        return Outcome(client, Result.CHANGED if seen[client].changes else Result.SAME)

    outcomes = rollout.run(
        clients,
        look,
        at_once=parallel or rollout.most_at_once(),
        max_failures=len(clients) + 1,
        stop=threading.Event(),
        told=_say_one,
    )
    return outcomes, seen


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
    from hoster.engine import pulumi_cli, rollout
    from hoster.engine.rollout import Journal, Outcome, Result
    from hoster.errors import ExitCode
    from hoster.project.files import write

    project = _common.project()
    journal, shared = Journal(project.state / "apply.json"), _shared_digest(project)
    digests = {client: _digest(project, client, shared) for client in clients}
    began, writing = datetime.now(UTC), threading.Lock()

    def make_so(client: str) -> Outcome:
        if journal.has(client, digests[client]):
            return Outcome(client, Result.DONE_BEFORE)
        if not project.declaration(client).exists():
            return _vanished(project, client)
        repaired = pulumi_cli.repair(project, client)
        changed = pulumi_cli.deploy(project, client)
        with writing:
            journal.note(client, digests[client])
        said = (f"settled {repaired} operations that were left half done",) if repaired else ()
        return Outcome(client, Result.CHANGED if changed else Result.SAME, details=said)

    with _until_told_to_stop() as stop:
        outcomes = rollout.run(
            clients,
            make_so,
            at_once=parallel or rollout.most_at_once(),
            max_failures=max_failures,
            stop=stop,
            told=_say_one,
        )
    good = all(one.result in rollout.GOOD for one in outcomes)
    if good:
        journal.close()
    ended = datetime.now(UTC)
    data = rollout.report(outcomes, began=began.isoformat(), ended=ended.isoformat())
    if report:
        write(report, json.dumps(data, indent=2, default=str))
    if as_json:
        _common.print_json(data)
    else:
        click.echo(_text(outcomes, {}), nl=False)
    if not good:
        sys.exit(ExitCode.ERROR)


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
    """Return the clients that are meant, by name.

    Raises:
        ConfigurationError: one of them is unknown; near names are told.
    """
    from hoster.errors import ConfigurationError
    from hoster.problems import near
    from hoster.project import declarations, git

    if sum((bool(names), bool(against), every)) != 1:
        raise click.UsageError("name clients, or say --against REF, or --all")
    project = _common.project()
    if against:
        return git.clients_since(project, against)
    known = declarations.clients(project)
    for name in names:
        if name not in known:
            raise ConfigurationError(f"nothing is declared for a client {name}{near(name, known)}")
    return list(dict.fromkeys(names)) or known


def _vanished(project: Project, client: str) -> Outcome:
    """Say what it means that a client's declaration is gone."""
    from hoster.engine import pulumi_cli
    from hoster.engine.rollout import Outcome, Result

    held = pulumi_cli.stack_outputs(project, client).get("vps", {})
    if not held:
        return Outcome(client, Result.SAME, details=("its declaration and its stack are gone",))
    names = ", ".join(f"{client}/{vps}" for vps in sorted(held))
    return Outcome(
        client,
        Result.REFUSED,
        details=(
            f"{names}: the declaration {project.declaration(client).name} is gone, and they are "
            "still there: put it back, or end them with playbooks/terminate-vps.yml",
        ),
    )


def _shared_digest(project: Project) -> bytes:
    """Return the digest of what every stack is made from: catalogue, program, version."""
    from hoster import __version__

    found = hashlib.sha256(__version__.encode())
    files = (*project.inventory.rglob("*.yml"), *project.program.glob("*.py"))
    for file in sorted(files):
        found.update(file.read_bytes())
    return found.digest()


def _digest(project: Project, client: str, shared: bytes) -> str:
    file = project.declaration(client)
    return hashlib.sha256(shared + (file.read_bytes() if file.exists() else b"")).hexdigest()


def _say_one(outcome: Outcome) -> None:
    _common.say(f"{outcome.client}: {outcome.result} ({outcome.seconds:.1f} s)")


def _told(seen: Iterable[Preview]) -> list[dict[str, Any]]:
    return [
        {
            "vps": vps,
            "changes": changes,
            "notes": [text for of, text in one.notes if of == vps],
        }
        for one in sorted(seen, key=lambda each: each.client)
        for vps, changes in one.changes.items()
    ]


def _lines(outcomes: Sequence[Outcome], seen: dict[str, Preview]) -> list[str]:
    lines = [f"{one['vps']}: {text}" for one in _told(seen.values()) for text in _what(one)]
    return lines + [f"{outcome.result}: {text}" for outcome in outcomes for text in outcome.details]


def _what(one: dict[str, Any]) -> list[str]:
    return one["notes"] or [", ".join(one["changes"])]


def _summary(outcomes: Sequence[Outcome]) -> str:
    from hoster.engine import rollout

    counts = rollout.report(outcomes)["counts"]
    if not counts:
        return "no stack is reached"
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{_common.counted(len(outcomes), 'stack')}: {said}"


def _text(outcomes: Sequence[Outcome], seen: dict[str, Preview]) -> str:
    lines = [*_lines(outcomes, seen), _summary(outcomes)]
    return "".join(f"{line}\n" for line in lines)


def in_markdown(outcomes: Sequence[Outcome], seen: dict[str, Preview]) -> str:
    """Return what was found of stacks as the comment of a pull request says it."""
    lines = [f"- {line}" for line in _lines(outcomes, seen)]
    head = f"**{_summary(outcomes)}**"
    return "\n".join([head, "", *lines]).rstrip() + "\n"
