"""``hoster deliver``: the access codes go to the client."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.acts.deliver import Delivery
    from hoster.orders.declarations import VpsDeclaration

SECONDS_BETWEEN_LINES = 30


@click.command()
@click.argument("names", nargs=-1, type=_common.VpsName())
@click.option("--all", "everybody", is_flag=True, help="Every declared VPS that is deployed.")
@click.option(
    "--wait",
    "seconds",
    type=click.IntRange(min=0),
    default=0,
    help="First wait until the VPS answers on its SSH port, this long at most.",
)
@_common.dry_run
@_common.as_json
def deliver(
    names: tuple[tuple[str, str], ...],
    everybody: bool,
    seconds: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Mail the access codes of deployed VPSs, each once (C4.2, C14.1).

    The mail is queued together with the record of the delivery, and sent at once where the mail
    server is there; otherwise `hoster outbox send` sends it later.

    \b
    Examples:
      hoster deliver acme/web --wait 300
      hoster deliver --all

    \b
    Exit codes: 0 delivered, now or before; 4 queued and not sent yet, refused by the mail server
    for good, or no answer within --wait; 5 not deployed, or not ordered here.
    """
    if not names and not everybody:
        raise click.UsageError("name a VPS, as in acme/web, or say --all")
    found = _delivered(names, seconds, everybody=everybody, dry_run=dry_run)
    if as_json:
        _common.print_json({"deliveries": [asdict(one) for one in found]})
    else:
        _common.print_table(["vps", "state"], [[one.vps, one.state] for one in found])
    _end({one.state for one in found})


def _delivered(
    names: tuple[tuple[str, str], ...], seconds: int, *, everybody: bool, dry_run: bool
) -> list[Delivery]:
    from hoster.acts.deliver import Deliveries
    from hoster.ledger import Ledger
    from hoster.project.declarations import read_all

    project = _common.project()
    declared = read_all(project)
    chosen = [] if everybody else declared.named("/".join(name) for name in names)
    catalogue = _common.catalogue()
    with Ledger.open(project.ledger_url) as ledger:
        act = Deliveries(
            project, catalogue, ledger, _common.clock, seconds, dry_run, _waiting_teller()
        )
        if everybody:
            return act.all(declared, lambda error: _common.say(str(error)))
        return act.each(chosen)


def _end(states: set[str]) -> None:
    from hoster.errors import ExitCode

    if "queued" in states:
        _common.say("Not sent yet: hoster outbox tells why, hoster outbox send tries again.")
    if "failed" in states:
        _common.say("Refused for good: hoster outbox tells why; then hoster outbox retry ID.")
    if states & {"queued", "failed"}:
        sys.exit(ExitCode.RESOURCE)
    if "refused" in states:
        sys.exit(ExitCode.POLICY)


def _waiting_teller() -> Callable[[VpsDeclaration, float], None]:
    """Return what tells, each half minute, which VPS is waited for."""
    last: dict[str, float] = {}

    def tell(vps: VpsDeclaration, waited: float) -> None:
        if waited - last.get(vps.full_name, -SECONDS_BETWEEN_LINES) >= SECONDS_BETWEEN_LINES:
            last[vps.full_name] = waited
            _common.say(f"waiting for {vps.full_name} at {vps.ipv4} ... {waited:.0f} s")

    return tell
