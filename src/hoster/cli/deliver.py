"""``hoster deliver``: the access codes go to the client."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from datetime import datetime

    from hoster.ledger import Ledger
    from hoster.orders.declarations import VpsDeclaration


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
    chosen = _chosen(names, everybody=everybody)
    results = _deliver(chosen, seconds, everybody=everybody, dry_run=dry_run)
    if as_json:
        _common.print_json({"deliveries": results})
    else:
        _common.print_table(["vps", "state"], [[row["vps"], row["state"]] for row in results])
    _end({row["state"] for row in results})


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


def _chosen(names: tuple[tuple[str, str], ...], *, everybody: bool) -> list[VpsDeclaration]:
    from hoster.errors import ConfigurationError
    from hoster.problems import near
    from hoster.project.declarations import read_all

    declared = read_all(_common.project())
    if everybody:
        return list(declared)
    known = {vps.full_name: vps for vps in declared}
    wanted = ["/".join(name) for name in names]
    for name in wanted:
        if name not in known:
            raise ConfigurationError(f"no VPS {name} is declared{near(name, known)}")
    return [known[name] for name in wanted]


def _deliver(
    chosen: list[VpsDeclaration], seconds: int, *, everybody: bool, dry_run: bool
) -> list[dict[str, Any]]:
    from hoster.acts import deliver as delivery
    from hoster.engine.pulumi_cli import stack_outputs
    from hoster.errors import RuleError
    from hoster.ledger import Ledger
    from hoster.mail import outbox

    project, content = _common.project(), _common.catalogue()
    outputs = {client: stack_outputs(project, client) for client in {vps.client for vps in chosen}}
    if everybody:
        chosen = [vps for vps in chosen if vps.name in outputs[vps.client].get("vps", {})]
    new: set[str] = set()
    refused: dict[str | None, str] = {}
    with Ledger.open(project.ledger_url) as ledger:
        for vps in chosen:
            try:
                delivery.require_deployed(vps, outputs[vps.client])
                if dry_run:
                    continue
                if seconds:
                    delivery.wait_for(vps, seconds, _tell_waiting(vps))
                if delivery.deliver(ledger, vps, content, outputs=outputs[vps.client], now=_now()):
                    new.add(vps.full_name)
            except RuleError as error:
                if not everybody:
                    raise
                refused[vps.full_name] = "refused"
                _common.say(str(error))
        if not dry_run:
            outbox.send_due(ledger, content.company, _now)
        states = _states(ledger) | refused
    return [
        {
            "vps": vps.full_name,
            "state": states.get(vps.full_name, "would be delivered"),
            "changed": vps.full_name in new,
        }
        for vps in chosen
    ]


def _states(ledger: Ledger) -> dict[str | None, str]:
    from hoster.ledger import SENT

    return {
        mail.vps: "delivered" if mail.state == SENT else mail.state
        for mail in ledger.outbox.mails()
        if mail.template == "delivery"
    }


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _tell_waiting(vps: VpsDeclaration) -> Any:
    last = -30.0

    def tell(waited: float) -> None:
        nonlocal last
        if waited - last >= 30:  # noqa: PLR2004 - seconds between two lines
            last = waited
            _common.say(f"waiting for {vps.full_name} at {vps.ipv4} ... {waited:.0f} s")

    return tell
