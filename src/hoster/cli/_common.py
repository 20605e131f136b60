"""What every subcommand shares: options, the project, tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from click.shell_completion import CompletionItem

    from hoster.acts.change import Change
    from hoster.acts.reply import Reply
    from hoster.catalogue import Catalogue
    from hoster.engine.rollout import StackOutcome
    from hoster.ledger import Ledger
    from hoster.project import Project

_Value = TypeVar("_Value")
_Command = TypeVar("_Command", bound="Callable[..., Any]")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON with stable keys.")
dry_run = click.option("--dry-run", is_flag=True, help="Tell what would be done; write nothing.")


def asks_nodes(command: _Command) -> _Command:
    """Give *command* how long a host node has for its answer, and how many are asked at a time."""
    at_once = click.option(
        "--at-once",
        type=click.IntRange(1, 500),
        default=32,
        show_default=True,
        help="So many host nodes are asked at a time.",
    )
    seconds = click.FloatRange(min=1)
    timeout = click.option("--timeout", type=seconds, default=30.0, show_default=True)
    return timeout(at_once(command))


def project() -> Project:
    """Return the project that the command line names, or the one of this folder.

    Raises:
        ConfigurationError: there is none.
    """
    from hoster.project import Project

    context = click.get_current_context(silent=True)
    options = (context.find_root().obj if context else None) or {}
    return Project.find(options.get("project"))


def catalogue() -> Catalogue:
    """Return the project's catalogue.

    Raises:
        InventoryError: it is not valid.
    """
    from hoster.project.inventory import load_catalogue

    return load_catalogue(project().inventory)


def clock() -> datetime:
    """Return what time it is: the clock of every act."""
    from datetime import UTC, datetime

    return datetime.now(UTC)


def ledger() -> Ledger:
    """Open the project's ledger, for a ``with``.

    Raises:
        LedgerUnreachableError: it cannot be opened.
    """
    from hoster.ledger import Ledger

    return Ledger.open(project().ledger_url)


def act(do: Callable[..., _Value], *handed: Any, **given: Any) -> _Value:
    """Do an act: it gets what is *handed* in, the ledger, the clock, and what is *given*."""
    with ledger() as opened:
        return do(*handed, opened, clock, **given)


def change(ref: str | None) -> Change:
    """Return the project beside what *ref* says of it, to be read as it is asked."""
    from hoster.acts.change import Change

    here = project()
    return Change(here, ref, lambda: terminated(here))


def terminated(project: Project) -> set[str]:
    """Return the VPSs whose termination is on record; none where there is no ledger here."""
    from hoster.ledger import Ledger

    if project.has_no_ledger:
        return set()
    with Ledger.open(project.ledger_url) as ledger:
        return {one.vps for one in ledger.terminations.all()}


def counted(number: int, what: str) -> str:
    """Return how many there are of *what*: ``1 VPS``, ``2 VPSs``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def say(text: str) -> None:
    """Tell a person something; standard output stays for data."""
    click.echo(text, err=True)


def say_outcome(outcome: StackOutcome) -> None:
    """Tell what became of one stack among many."""
    say(f"{outcome.client}: {outcome.result} ({outcome.seconds:.1f} s)")


def print_json(data: Any) -> None:
    """Print data for a program."""
    click.echo(json.dumps(data, indent=2, default=str, ensure_ascii=False))


def print_reply(reply: Reply) -> None:
    """Print what an act said, for a program; what people should know besides, for them."""
    for remark in reply.remarks():
        say(remark)
    print_json(reply.as_json())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print rows: a table on a terminal, tab-separated values in a pipe."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(str(value) for value in row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    Console().print(table)


class _Completed(click.ParamType[_Value], ABC):
    """A parameter that the shell completes out of the project's files."""

    @abstractmethod
    def names(self) -> Iterable[str]:
        """Return what can be offered."""

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Offer the names that fit; nothing where the project cannot be read."""
        from click.shell_completion import CompletionItem

        from hoster.errors import HosterError

        try:
            with ctx:
                return [
                    CompletionItem(name) for name in self.names() if name.startswith(incomplete)
                ]
        except HosterError:
            return []


class CatalogueName(_Completed[str]):
    """A name of the catalogue's section; judged later, with near names."""

    def __init__(self, section: str) -> None:
        self.section = section
        self.name = section.removesuffix("s")

    def names(self) -> Iterable[str]:
        """Return the section's names."""
        return list(getattr(catalogue(), self.section))


class VpsName(_Completed[tuple[str, str]]):
    """A ``client/vps`` name, as a pair."""

    name = "client/vps"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split the name."""
        if isinstance(value, tuple):
            return value
        client, slash, vps = str(value).partition("/")
        if not (client and slash and vps) or "/" in vps:
            self.fail(f"«{value}» is not of the form client/vps, as in acme/web", param, ctx)
        return client, vps

    def names(self) -> Iterable[str]:
        """Return the declared names."""
        from hoster.project.declarations import read_all

        return [vps.full_name for vps in read_all(project())]
