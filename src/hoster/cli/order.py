"""``hoster order``: a new VPS, declared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from hoster.acts.order import Ordered


@click.command()
@click.argument("name", type=_common.VpsName())
@click.option("--plan", required=True, type=_common.CatalogueName("plans"), help="Plan (C4.1).")
@click.option(
    "--image", required=True, type=_common.CatalogueName("images"), help="Operating system."
)
@click.option(
    "--location", required=True, type=_common.CatalogueName("locations"), help="For ever (C10.1)."
)
@click.option(
    "--ssh-key",
    "ssh_keys",
    multiple=True,
    help="A public key of the client's, or the file that holds it. Repeatable.",
)
@click.option("--term", default=1, show_default=True, help="Initial term in months (C12.1).")
@click.option("--ipv4", help="Wish for this address instead of the lowest free one.")
@click.option("--node", help="Wish for this host node of the location.")
@_common.dry_run
@_common.as_json
def order(
    name: tuple[str, str],
    plan: str,
    image: str,
    location: str,
    ssh_keys: tuple[str, ...],
    term: int,
    ipv4: str | None,
    node: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Declare a new VPS: a host node with room, a free IPv4, the image pinned.

    \b
    Examples:
      hoster order acme/web --plan kvm-2 --image debian-12 --location paris
      hoster order acme/db --plan kvm-4 --image debian-12 --location roubaix \\
        --ssh-key ~/.ssh/id_ed25519.pub --term 12 --dry-run

    \b
    Exit codes: 0 declared (or declared already, just so); 2 not valid; 4 no room; 5 a rule.
    """
    from hoster.acts import order as act
    from hoster.ledger import Ledger
    from hoster.orders.ordering import Order

    keys = tuple(_public_key(key) for key in ssh_keys)
    wish = Order(*name, plan, image, location, keys, term, _address(ipv4), node)
    project, catalogue = _common.project(), _common.catalogue()
    with Ledger.open(project.ledger_url) as ledger:
        done = act.order(project, catalogue, ledger, _common.clock, wish, dry_run=dry_run)
    _tell(done, dry_run=dry_run, as_json=as_json)


def _tell(done: Ordered, *, dry_run: bool, as_json: bool) -> None:
    vps = done.vps
    data = {"name": vps.full_name, "changed": done.written, **vps.fields_written()}
    if as_json:
        _common.print_json(data)
        return
    _common.print_table(["field", "value"], [[key, value] for key, value in data.items()])
    if dry_run:
        _common.say("Dry run: nothing was written.")
    elif not done.written:
        _common.say(f"{vps.full_name} is declared already, just so; nothing was written.")
    else:
        _common.say(
            f"Declared in pulumi/Pulumi.{vps.client}.yaml. "
            f"Next: pulumi -C pulumi up -s {vps.client}, then hoster deliver {vps.full_name}"
        )


def _public_key(key: str) -> str:
    from hoster.errors import ConfigurationError
    from hoster.orders.ssh_keys import checked

    file = Path(key).expanduser()
    try:
        text = (
            file.read_text(encoding="utf-8").strip() if "\n" not in key and file.is_file() else key
        )
        return checked(text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--ssh-key: {error}", remedy="Give a .pub file, or its one line between quotes."
        ) from error


def _address(ipv4: str | None) -> IPv4Address | None:
    from ipaddress import AddressValueError, IPv4Address

    try:
        return IPv4Address(ipv4) if ipv4 else None
    except AddressValueError as error:
        raise click.BadParameter(str(error), param_hint="--ipv4") from error
