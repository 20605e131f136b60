"""``hoster-node``: the agent's command. stdout is data, stderr is talk.

Exit codes: 0 done (whether or not anything changed), 1 refused or failed, 2 wrong usage; of
``watch`` also where there is no such VPS.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from functools import partial, wraps
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hoster.node import CONFIG, STATE
from hoster.node.errors import UnknownVpsError
from hoster.wire.errors import InvalidMeasureError, NodeError
from hoster.wire.events import asked_after
from hoster.wire.measures import BLOCK_PORT, CUT, THROTTLE, jobs_of_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.node.agent import Agent, Outcome
    from hoster.node.store import Store
    from hoster.wire.events import EventId
    from hoster.wire.measures import MeasureJob

WATCH_SECONDS = 300
"""How long a boot may take: under emulation, on a busy node."""
_PORT_MAX = 65535


class _Node:
    """The state and the agent, opened by the command that needs them."""

    def __init__(self, state: Path, config: Path) -> None:
        self._state, self._config = state, config

    @property
    def interfaces(self) -> Path:
        """The kernel's list of links."""
        from hoster.node.agent import Config

        return Config(self._config).interfaces

    @property
    def store(self) -> Store:
        """The state."""
        from hoster.node.store import Store

        return Store(self._state)

    @property
    def agent(self) -> Agent:
        """The acts."""
        from hoster.node.agent import Agent, Config

        return Agent(self.store, Config(self._config))


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def _said(act: Callable[..., Outcome]) -> Callable[..., None]:
    """Print what an act did, and turn its errors into a sentence and an exit code."""

    @_json_option
    @wraps(act)
    def command(*arguments: Any, as_json: bool, **options: Any) -> None:
        try:
            outcome = act(*arguments, **options)
        except NodeError as error:
            _fail(error)
        if as_json:
            said = {"changed": outcome.changed, "vps": outcome.subject, "text": outcome.text}
            click.echo(json.dumps(said))
        else:
            subject = f"{outcome.subject}: " if outcome.subject else ""
            click.echo(f"{subject}{outcome.text}{'' if outcome.changed else ' (no change)'}")

    return command


def _fail(error: NodeError, code: int = 1) -> None:
    click.echo(f"hoster-node: {error}", err=True)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", type=click.Path(path_type=Path), default=STATE, hidden=True)
@click.option("--config", type=click.Path(path_type=Path), default=CONFIG, hidden=True)
@click.pass_context
def main(context: click.Context, state: Path, config: Path) -> None:
    """Enforce on this host node what its VPSs may do.

    VPS is a name (acme/web), an address or a tap.

    \b
    Examples:
      hoster-node status
      hoster-node quarantine acme/web --reason "scans port 22, incident 17"
      hoster-node quarantine acme/web --lift
      hoster-node block-port 203.0.113.17 25/tcp --reason spam
    """
    context.obj = _Node(state, config)


@main.group()
def vps() -> None:
    """What libvirt's hook does; the domain's XML comes on standard input."""


@vps.command("start")
@click.pass_obj
@_said
def vps_start(node: _Node) -> Outcome:
    """Let a VPS onto the network as its plan says.

    \b
    Example:
      virsh dumpxml acme.web | hoster-node vps start
    """
    return node.agent.start(_domain())


@vps.command("stop")
@click.pass_obj
@_said
def vps_stop(node: _Node) -> Outcome:
    """Take a VPS off the network, and keep its volume.

    \b
    Example:
      virsh dumpxml acme.web | hoster-node vps stop
    """
    return node.agent.stop(_domain())


def _domain() -> str:
    # What is no UTF-8 is refused as no XML, in every locale.
    return sys.stdin.buffer.read().decode(errors="surrogateescape")


_REASON = click.option("--reason", default="", help="Why, for the record.")
_LIFT = click.option("--lift", is_flag=True, help="Lift it instead.")
_AS = click.option(
    "--as",
    "name",
    default="",
    help="A name of its own: several may be in force, and each is lifted by its name.",
)


@main.command()
@click.argument("vps_", metavar="VPS")
@_AS
@_REASON
@_LIFT
@click.pass_obj
@_said
def quarantine(node: _Node, vps_: str, name: str, reason: str, lift: bool) -> Outcome:
    """Cut a VPS off, both ways, open connections included, until the last one is lifted.

    \b
    Examples:
      hoster-node quarantine acme/web --reason "incident 17"
      hoster-node quarantine acme/web --lift
    """
    return _measured(node, vps_, CUT, reason, lift=lift, detail=name)


@main.command()
@click.argument("vps_", metavar="VPS")
@_REASON
@_LIFT
@click.pass_obj
@_said
def throttle(node: _Node, vps_: str, reason: str, lift: bool) -> Outcome:
    """Hold a VPS to its plan's throttle rate, whatever its volume.

    \b
    Example:
      hoster-node throttle 203.0.113.17 --reason "incident 18"
    """
    return _measured(node, vps_, THROTTLE, reason, lift=lift)


@main.command()
@click.pass_obj
def measures(node: _Node) -> None:
    """Put measures in force, or lift them, as a JSON list on standard input says.

    Each has `vps`, `kind` (quarantine, throttle), `as`, `reason` and `lift`. Prints a list of what
    became of each, in the same order. Exit code 1 where one failed; the others are done.

    \b
    Example:
      echo '[{"vps": "acme/web", "kind": "quarantine", "as": "measure-17", "lift": false}]' |
        hoster-node measures
    """
    jobs, agent = _jobs(), node.agent
    answers = [_answer(agent, job) for job in jobs]
    click.echo(json.dumps(answers))
    failed = [answer for answer in answers if "error" in answer]
    for answer in failed:
        click.echo(f"hoster-node: {answer['vps']}: {answer['error']}", err=True)
    sys.exit(bool(failed))


def _jobs() -> list[MeasureJob]:
    try:
        said = json.load(sys.stdin)
    except ValueError as error:
        raise click.UsageError(f"standard input is no JSON: {error}") from error
    try:
        return jobs_of_json(said)
    except InvalidMeasureError as error:
        raise click.UsageError("standard input is no list of measures: see --help") from error


def _answer(agent: Agent, job: MeasureJob) -> dict[str, Any]:
    try:
        if job.lift:
            outcome = agent.lift(job.vps, job.kind, job.name)
        else:
            outcome = agent.measure(job.vps, job.kind, job.reason, job.name)
    except NodeError as error:
        return {"vps": job.vps, "changed": False, "error": str(error)}
    return {"vps": outcome.subject, "changed": outcome.changed, "text": outcome.text}


@main.command("block-port")
@click.argument("vps_", metavar="VPS")
@click.argument("port", metavar="PORT/PROTOCOL")
@_REASON
@_LIFT
@click.pass_obj
@_said
def block_port(node: _Node, vps_: str, port: str, reason: str, lift: bool) -> Outcome:
    """Let a VPS send nothing to a port, such as 25/tcp.

    \b
    Example:
      hoster-node block-port acme/web 25/tcp --reason spam
    """
    number, _, protocol = port.partition("/")
    sound = number.isascii() and number.isdigit() and 0 < int(number) <= _PORT_MAX
    if not sound or protocol not in {"tcp", "udp"}:
        raise click.BadParameter(f"«{port}» is not of the form 25/tcp or 53/udp")
    closed = f"{int(number)}/{protocol}"
    return _measured(node, vps_, BLOCK_PORT, reason, lift=lift, detail=closed)


def _ipv4(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> IPv4Address | None:
    try:
        return None if value is None else IPv4Address(value)
    except AddressValueError as error:
        raise click.BadParameter(f"«{value}» is no IPv4 address") from error


def _measured(
    node: _Node, named: str, kind: str, reason: str, *, lift: bool, detail: str = ""
) -> Outcome:
    if lift:
        return node.agent.lift(named, kind, detail)
    return node.agent.measure(named, kind, reason, detail)


@main.command()
@click.argument("vps_", metavar="[VPS]", required=False)
@_json_option
@click.pass_obj
def status(node: _Node, vps_: str | None, as_json: bool) -> None:
    """Say of each VPS that was on this node: running, volume, measures.

    \b
    Examples:
      hoster-node status
      hoster-node status acme/web --json
    """
    from hoster.node import status as status_of
    from hoster.wire import status as wire

    try:
        wanted = node.store.find(vps_).vps if vps_ else None
        known = [one for one in node.agent.known() if wanted in {None, one.vps}]
    except NodeError as error:
        _fail(error)
    now = datetime.now(UTC)
    if as_json:
        click.echo(wire.written(status_of.of(one, now) for one in known))
        return
    for one in known:
        click.echo(status_of.as_line(one, now))


@main.command()
@click.argument("vps_", metavar="VPS")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=WATCH_SECONDS,
    show_default=True,
    help="How long to wait for it.",
)
@_json_option
@click.pass_obj
def watch(node: _Node, vps_: str, seconds: float, as_json: bool) -> None:
    """Watch a VPS boot until its SSH greets: ARP, then ping, then SSH on port 22.

    From outside, on its own tap: nothing inside it helps, and the packet filter stays as it is. A
    VPS in quarantine stays cut off. One that does not run yet, or is started again meanwhile, is
    waited for. Exit code 1 where its SSH did not greet in time, 2 where there is no such VPS.

    \b
    Examples:
      hoster-node watch acme/web
      hoster-node watch acme/web --seconds 120 --json
    """
    from hoster.node.boot.watch import Watch

    store = node.store
    try:
        tap = store.find(vps_).vps.tap
        watched = Watch(lambda: store.find(tap), partial(click.echo, err=True), node.interfaces)
        answered = watched.run(seconds)
    except UnknownVpsError as error:
        _fail(error, code=2)
    except NodeError as error:
        _fail(error)
    if as_json:
        click.echo(json.dumps(answered.as_json()))
    if answered.reason:
        _fail(NodeError(f"{answered.vps} {answered.reason}"))


@main.command()
@click.argument("vps_", metavar="VPS")
@click.option(
    "--ipv4",
    callback=_ipv4,
    help="Only where it has this address: the name may belong to a later VPS.",
)
@click.pass_obj
@_said
def forget(node: _Node, vps_: str, ipv4: IPv4Address | None) -> Outcome:
    """Forget a VPS that ended: its measures, its volume, its place in the filter.

    Refused while it runs. Whoever has its address later starts with nothing; what happened stays
    among the events. A VPS that is not known here is no error.

    \b
    Examples:
      hoster-node forget acme/web
      hoster-node forget acme/web --ipv4 203.0.113.17
    """
    return node.agent.forget(vps_, ipv4)


def _event_id(_context: click.Context, _option: click.Parameter, value: str) -> EventId | int:
    try:
        return asked_after(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@main.command()
@click.option(
    "--after",
    metavar="ID",
    callback=_event_id,
    default="0",
    help="Only those after this number, or after the event of this id; all, where the state was "
    "made anew since.",
)
@click.option("--limit", type=int, default=-1, help="At most so many, oldest first.")
@_json_option
@click.pass_obj
def events(node: _Node, after: EventId | int, limit: int, as_json: bool) -> None:
    """List what happened on this node, oldest first.

    \b
    Examples:
      hoster-node events
      hoster-node events --after 120 --json
    """
    try:
        listed = node.store.events(after, limit)
    except NodeError as error:
        _fail(error)
    for event in listed:
        if as_json:
            click.echo(event.line())
        else:
            details = " ".join(f"{key}={value}" for key, value in event.details.items())
            at = f"{event.at:%Y-%m-%d %H:%M:%S}"
            click.echo(f"{event.number:>6} {at} {event.kind:<22} {event.subject:<30} {details}")


@main.command()
@click.pass_obj
@_said
def restore(node: _Node) -> Outcome:
    """Load the rules, and let the VPSs that run onto the network; before guests start.

    \b
    Example:
      hoster-node restore
    """
    return node.agent.restore()


@main.command()
@click.pass_obj
@_said
def reconcile(node: _Node) -> Outcome:
    """Count, keep, tell, and repair what differs between libvirt, the state and the kernel.

    \b
    Example:
      hoster-node reconcile
    """
    from hoster.node.domains import running_vpss

    return node.agent.reconcile(running_vpss())
