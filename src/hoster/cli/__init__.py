"""The ``hoster`` command. Each subcommand is imported when it is asked for, and no sooner."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from pathlib import Path
from typing import Any

import rich_click as click

from hoster import __version__
from hoster.errors import ConfigurationError, HosterError

# Name -> where it is. The order is the one in which a newcomer needs them.
COMMANDS = {
    "catalogue": "hoster.cli.catalogue:catalogue",
    "client": "hoster.cli.client:client",
    "order": "hoster.cli.order:order",
    "deliver": "hoster.cli.deliver:deliver",
    "resize": "hoster.cli.resize:resize",
    "show": "hoster.cli.show:show",
    "check": "hoster.cli.check:check",
    "impact": "hoster.cli.impact:impact",
    "preview": "hoster.cli.stacks:preview",
    "review": "hoster.cli.review:review",
    "apply": "hoster.cli.stacks:apply",
    "drift": "hoster.cli.drift:drift",
    "geofeed": "hoster.cli.geofeed:geofeed",
    "collect": "hoster.cli.collect:collect",
    "events": "hoster.cli.events:events",
    "act": "hoster.cli.act:act",
    "announce": "hoster.cli.announce:announce",
    "proof": "hoster.cli.proof:proof",
    "incidents": "hoster.cli.incidents:incidents",
    "audit": "hoster.cli.audit:audit",
    "outbox": "hoster.cli.outbox:outbox",
    "doctor": "hoster.cli.doctor:doctor",
}


class LazyGroup(click.RichGroup):
    """A group that imports a subcommand's module when somebody asks for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in `COMMANDS`' order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hoster")
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    help="The company's folder (inventory/, pulumi/). Default: HOSTER_PROJECT, or the nearest "
    "parent of here.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def cli(ctx: click.Context, project: Path | None, debug: bool) -> None:
    """Order, resize and check virtual private servers, as the contract promises them.

    \b
    Examples:
      hoster catalogue
      hoster order acme/web --plan kvm-2 --image debian-12 --location paris
      hoster check --json

    \b
    Exit codes: 0 done; 1 error; 2 usage, inventory or declaration not valid;
    4 no room, or a node, mail server or backend out of reach;
    5 a rule forbids it; 7 something is not as declared.

    \b
    Completion (bash, zsh, fish): eval "$(_HOSTER_COMPLETE=bash_source hoster)"
    """
    ctx.obj = {"project": project, "debug": debug}


def main() -> None:
    """Run the command line; an error that people can act upon is told without a traceback."""
    arguments: dict[str, Any] = {"prog_name": "hoster"}
    try:
        cli(**arguments)
    except HosterError as error:
        if "--debug" in sys.argv:
            raise
        _tell(error)
        sys.exit(error.exit_code)


def call(argv: list[str]) -> tuple[str, str]:
    """Run a command line in this process; return what it printed, and what it told besides.

    Raises:
        HosterError: it was refused, or is no command line of ours.
    """
    printed, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
        try:
            cli.main(argv, prog_name="hoster", standalone_mode=False)
        except click.ClickException as error:
            raise ConfigurationError(f"hoster {' '.join(argv)}: {error.format_message()}") from None
    return printed.getvalue(), told.getvalue()


def _tell(error: HosterError) -> None:
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    console.print(f"hoster: {error.message}", style="red")
    if error.remedy:
        console.print(error.remedy)
