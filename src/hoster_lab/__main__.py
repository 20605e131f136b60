"""The command line of the lab: ``scripts/lab``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import rich_click as click

from hoster_lab.errors import LabError
from hoster_lab.lab import Lab

CHECKOUT = Path(__file__).resolve().parents[2]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def cli(context: click.Context) -> None:
    """A hosting company on one machine: two host nodes, an outside world, a mail server.

    \b
    Examples:
      scripts/lab up                 bring everything up, ready to order
      . .lab/env                     then use hoster, pulumi, ansible-playbook
      scripts/lab shell paris-1      a shell on a host node
      scripts/lab down               stop it all; disks and mail stay
    """
    context.obj = Lab(CHECKOUT)


@cli.command()
@click.option("--configure", is_flag=True, help="Run the playbook even if nothing changed.")
@click.pass_obj
def up(lab: Lab, configure: bool) -> None:
    """Bring the lab up, or repair what is missing; a second run is quick.

    \b
    Example:
      scripts/lab up
    """
    lab.up(configure=configure)
    click.echo(f"The lab is up. Now:  . {lab.root / 'env'}", err=True)


@cli.command()
@click.option("--purge", is_flag=True, help="Delete disks, mail, project and keys too (.lab/).")
@click.pass_obj
def down(lab: Lab, purge: bool) -> None:
    """Stop everything that `up` started.

    VPSs' disks, mail and the company's project stay in .lab/, and the next `up` finds them.

    \b
    Examples:
      scripts/lab down
      scripts/lab down --purge
    """
    lab.down(purge=purge)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def status(lab: Lab, as_json: bool) -> None:
    """Say what runs; exit code 1 unless everything does.

    \b
    Example:
      scripts/lab status --json
    """
    found = lab.status()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for node in found["nodes"]:
            state = "up" if node["running"] and node["wired"] else "down"
            click.echo(f"{node['name']:12} {node['location']:10} {node['address']:16} {state}")
        mail = found["mail"]
        click.echo(
            f"{'mail':12} {'port ' + str(mail['port']):27} {'up' if mail['running'] else 'down'}"
        )
    sys.exit(0 if found["up"] else 1)


@cli.command()
@click.argument("node")
@click.argument("command", nargs=-1)
@click.pass_obj
def shell(lab: Lab, node: str, command: tuple[str, ...]) -> None:
    """Open a shell on NODE, or run COMMAND there.

    \b
    Examples:
      scripts/lab shell paris-1
      scripts/lab shell paris-1 -- virsh list --all
    """
    argv = lab.ssh.argv(lab.node(node), *command)
    os.execvp(argv[0], argv)  # noqa: S606 - an argv list, no shell


@cli.command()
@click.argument("node")
@click.pass_obj
def reboot(lab: Lab, node: str) -> None:
    """Restart NODE as a reboot does, and connect it again.

    \b
    Example:
      scripts/lab reboot roubaix-1
    """
    lab.reboot(lab.node(node))


def main() -> None:
    """Run the command line; an error of the lab is a message, not a traceback."""
    try:
        cli(prog_name="scripts/lab")
    except LabError as error:
        click.echo(f"lab: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
