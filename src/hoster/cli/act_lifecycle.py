"""The parts of ``hoster act`` that put a new system onto a VPS, or end it.

Each is one step of a playbook: it may be cut anywhere, and is called again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common
from hoster.incidents.measures import TERMINATIONS

if TYPE_CHECKING:
    from hoster.catalogue import Catalogue
    from hoster.ledger import Ledger
    from hoster.orders.declarations import VpsDeclaration
    from hoster.orders.systems import Reinstall
    from hoster.project import Project

_NAMES = click.argument("names", nargs=-1, required=True, metavar="VPS[,VPS]...")
_NUMBER = click.argument("number", type=int, metavar="REINSTALL")


@click.command()
@_NAMES
@click.option("--image", type=_common.CatalogueName("images"), help="Another operating system.")
@click.option("--request", default="", help="The ticket of a client who asks for it.")
@click.option("--keep", is_flag=True, help="Keep the former disk readable for some days (C7.5).")
@_common.dry_run
def reinstall(
    names: tuple[str, ...], image: str | None, request: str, keep: bool, dry_run: bool
) -> None:
    """Want a new system for each VPS, on a disk of its own; declare and deploy it (C7.4, C7.5).

    Once for each request, or incident that demands it. Says as JSON what its node must have.

    \b
    Example:
      hoster act reinstall acme/web --image debian-12 --request ticket-4711
    """
    from hoster.engine import pulumi_cli
    from hoster.ledger import Ledger
    from hoster.project.declarations import exclusive

    project, content = _common.project(), _common.catalogue()
    changed, jobs = False, []
    with exclusive(project), Ledger.open(project.ledger_url) as ledger:
        for name in _split(names):
            wanted = _Reinstalling(project, content, ledger, name, request)
            changed |= wanted.judge(image, keep=keep)
            if not dry_run:
                changed |= wanted.record()
            jobs.append(wanted.job())
    if not dry_run:
        for client in sorted({job["client"] for job in jobs if job["open"]}):
            changed |= pulumi_cli.deploy(project, client)
    _common.print_json({"changed": changed, "jobs": jobs})


class _Reinstalling:
    """One VPS that is to be reinstalled: judged first, then recorded, then declared."""

    def __init__(
        self, project: Project, catalogue: Catalogue, ledger: Ledger, name: str, request: str
    ) -> None:
        self._project, self._catalogue, self._ledger = project, catalogue, ledger
        self._vps = _declared(project, name)
        self._request, self._known = ledger.reinstalls.asked(name, request)
        self._new = self._vps
        self._keep_days = 0

    def judge(self, image: str | None, *, keep: bool) -> bool:
        """See that it can be done; return whether there is something to do."""
        if self._known is not None:
            self._require_same(self._known, image)
            if not self._known.is_open or self._vps.installation == self._known.installation:
                return False
            image, keep = self._known.image.partition("@")[0], bool(self._known.keep_days)
        from hoster.orders.systems import reinstalled
        from hoster.project.declarations import read_sound

        declared = read_sound(self._project)
        self._new = reinstalled(self._catalogue, declared, self._vps, image=image, readable=keep)
        self._keep_days = self._catalogue.policy.incidents.former_disk_days if keep else 0
        return True

    def _require_same(self, known: Reinstall, image: str | None) -> None:
        from hoster.errors import RuleError

        if known.is_open and image not in {None, known.image.partition("@")[0]}:
            raise RuleError(
                f"{known.vps} is being reinstalled with {known.image} already",
                remedy="Run it again without another image, or give it up first: "
                f"ansible-playbook playbooks/give-up-reinstall.yml -e vps={known.vps}",
            )

    def record(self) -> bool:
        """Want it in the ledger, then declare it; what an earlier run did is passed over."""
        if self._new is self._vps:
            return False
        vps, new = self._vps, self._new
        if self._known is None:
            self._known = self._ledger.reinstalls.begin(
                vps.full_name,
                self._request,
                image=new.image,
                installation=new.installation,
                former=(vps.installation, vps.image),
                keep_days=self._keep_days,
                user=self._catalogue.images[new.image_name].default_user,
                now=_now(),
            )
        codes = self._ledger.reinstalls.codes(self._known)
        _declare(self._project, new.model_copy(update={"image": self._known.image}), codes)
        return True

    def job(self) -> dict[str, Any]:
        """Say what the node has to have and to do."""
        from hoster.orders import disks

        known, new = self._known, self._new
        domain = _domain(new)
        return {
            "vps": new.full_name,
            "client": new.client,
            "node": new.node,
            "domain": domain,
            "pool": self._catalogue.policy.storage_pool,
            "base": f"{new.image}.qcow2",
            "disk": disks.volume(domain, new.installation),
            "disk_bytes": self._catalogue.plans[new.plan].disk_gib * 2**30,
            "reinstall": known.id if known else 0,
            "request": self._request,
            "open": known is None or known.is_open,
            "stage": known.stage if known else "possible",
        }


@click.command("give-up")
@_NAMES
@_common.dry_run
def give_up(names: tuple[str, ...], dry_run: bool) -> None:
    """Put the former system back, where the new one was never seen up (C6.3).

    \b
    Example:
      hoster act give-up acme/web
    """
    from hoster.engine import pulumi_cli
    from hoster.ledger import Ledger
    from hoster.orders import systems
    from hoster.orders.systems import require_unseen
    from hoster.project.declarations import exclusive

    project, changed, jobs = _common.project(), False, []
    with Ledger.open(project.ledger_url) as ledger:
        for name in _split(names):
            row = ledger.reinstalls.last(name)
            require_unseen(row)
            vps = _declared(project, name)
            changed |= row.is_open
            if row.is_open and not dry_run:
                with exclusive(project):
                    _declare(project, systems.gone_back(vps, row))
                pulumi_cli.unprotect(project, vps.client, vps.name, row.installation)
                pulumi_cli.deploy(project, vps.client)
                ledger.reinstalls.give_up(row.id, _now())
            jobs.append({"vps": name, "node": vps.node, "domain": _domain(vps)})
    _common.print_json({"changed": changed, "jobs": jobs})


@click.command()
@_NUMBER
def seen(number: int) -> None:
    """Note that a new system was seen up from its node; says which measures end with it (C7.4).

    Where none does, it is handed over at once; otherwise `reinstalled` does that, once the node has
    lifted them.

    \b
    Example:
      hoster act seen 4
    """
    from hoster.cli.act import job_of
    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        changed, measures = ledger.reinstalls.note_seen(number, _now())
        now = "" if measures else _hand_over(ledger, number, ())[1]
    data = {"changed": changed, "measures": [job_of(one) for one in measures], "now": now}
    _common.print_json(data)


@click.command()
@_NUMBER
@click.argument("measures", nargs=-1, type=int)
def reinstalled(number: int, measures: tuple[int, ...]) -> None:
    """Confirm that *MEASURES* were lifted, and mail the client the new codes; once (C4.2, C7.4).

    \b
    Example:
      hoster act reinstalled 4 17
    """
    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        changed, now = _hand_over(ledger, number, measures)
    _common.print_json({"changed": changed, "now": now})


def _hand_over(ledger: Ledger, number: int, measures: tuple[int, ...]) -> tuple[bool, str]:
    """Finish a reinstall; return whether that was news, and what the client sees now."""
    from hoster.acts import deliver as delivery
    from hoster.mail import outbox

    content = _common.catalogue()
    row = ledger.reinstalls.numbered(number)
    vps = _declared(_common.project(), row.vps)
    values = delivery.mail_values(vps, content) | {"timezone": content.policy.timezone}
    keep = timedelta(days=row.keep_days)
    news, confirmed = ledger.reinstalls.finish(number, measures, values, _now(), keep=keep)
    outbox.send_due(ledger, content.company, _now)
    situation = ledger.measures.situation(row.vps)
    left = "".join(f"; {one.kind} for {one.ground}" for one in situation.measures)
    return (
        news or any(one.changed for one in confirmed),
        f"{row.vps} has {vps.image}, and is {situation.state}{left}",
    )


@click.command()
@click.argument("names", nargs=-1, metavar="[VPS[,VPS]]...")
@click.option("--due", is_flag=True, help="Only those whose days are over; without a name, all.")
@_common.dry_run
def erase(names: tuple[str, ...], due: bool, dry_run: bool) -> None:
    """Erase former disks of VPSs whose new system was handed over (C7.5).

    \b
    Examples:
      hoster act erase --due
      hoster act erase acme/web
    """
    from hoster.ledger import Ledger

    if not (names or due):
        raise click.UsageError("name VPSs, as in acme/web, or say --due")
    project = _common.project()
    with Ledger.open(project.ledger_url) as ledger:
        wanted = set(_split(names))
        rows = [
            one
            for one in ledger.reinstalls.former_disks(_now() if due else None)
            if not wanted or one.vps in wanted
        ]
        for row in [] if dry_run else rows:
            _erase(project, row)
            ledger.reinstalls.note_erased(row.id, _now())
    _common.print_json({"changed": bool(rows), "vps": [row.vps for row in rows]})


def _erase(project: Project, row: Reinstall) -> None:
    from hoster.engine import pulumi_cli
    from hoster.project.declarations import exclusive

    with exclusive(project):
        vps = _declared(project, row.vps)
        if vps.former_disk and vps.former_disk.installation == row.former_installation:
            _declare(project, vps.model_copy(update={"former_disk": None}))
    pulumi_cli.unprotect(project, vps.client, vps.name, row.former_installation)
    pulumi_cli.deploy(project, vps.client)


@click.command()
@_NAMES
@click.option("--reason", type=click.Choice(list(TERMINATIONS)), required=True)
@click.option("--note", default="", help="For the record: a letter, a ticket.")
@_common.dry_run
def terminate(names: tuple[str, ...], reason: str, note: str, dry_run: bool) -> None:
    """Want the end of VPSs; says what will be lost. --dry-run says only that (C12.5, C15.2).

    \b
    Example:
      hoster act terminate acme/web --reason end-of-term --dry-run
    """
    from hoster.ledger import Ledger

    project = _common.project()
    changed, jobs = False, []
    with Ledger.open(project.ledger_url) as ledger, ledger.together(dry_run=dry_run):
        for name in _split(names):
            known = ledger.terminations.of(name)
            lost = known.lost if known else _lost(project, _common.catalogue(), name)
            changed |= ledger.terminations.begin(name, reason, note, lost, _now())
            ended = bool(known and known.finished_at)
            jobs.append({"vps": name, **lost, "open": not ended})
    _common.print_json({"changed": changed, "jobs": jobs})


def _lost(project: Project, catalogue: Catalogue, name: str) -> dict[str, Any]:
    """Return what goes with a VPS, as the deletion's record keeps it."""
    from hoster.orders import disks

    vps = _declared(project, name)
    domain = _domain(vps)
    return {
        "client": vps.client,
        "node": vps.node,
        "domain": domain,
        "pool": catalogue.policy.storage_pool,
        "ipv4": str(vps.ipv4),
        "plan": vps.plan,
        "since": vps.since.isoformat(),
        "disks": disks.disks(domain, vps, catalogue.plans[vps.plan].disk_gib),
    }


@click.command()
@_NAMES
def remove(names: tuple[str, ...]) -> None:
    """Delete VPSs whose end is on record: domain, seed, disks; then their declarations (C15.2).

    \b
    Example:
      hoster act remove acme/web
    """
    from hoster.engine import pulumi_cli
    from hoster.errors import RuleError
    from hoster.ledger import Ledger
    from hoster.project.declarations import exclusive, read, without
    from hoster.project.files import write

    project, changed = _common.project(), False
    with Ledger.open(project.ledger_url) as ledger:
        for name in _split(names):
            if ledger.terminations.of(name) is None:
                raise RuleError(
                    f"no termination of {name} is on record", remedy="terminate-vps.yml"
                )
            client, _, vps = name.partition("/")
            file = project.declaration(client)
            if not file.exists():
                continue
            with exclusive(project):
                write(file, without(file, vps))
            pulumi_cli.unprotect(project, client, vps)
            every = [one.vps for one in ledger.terminations.all()]
            ended = [one for one in every if one.startswith(f"{client}/")]
            changed |= pulumi_cli.deploy(project, client, ended=ended)
            if not read(file).vps:
                changed |= pulumi_cli.remove_stack(project, client)
                file.unlink(missing_ok=True)
    _common.print_json({"changed": changed})


@click.command()
@_NAMES
def terminated(names: tuple[str, ...]) -> None:
    """Confirm that nothing is left of VPSs, and tell their clients; once (C12.5, C15.2).

    \b
    Example:
      hoster act terminated acme/web
    """
    from hoster.ledger import Ledger
    from hoster.mail import outbox

    project, content = _common.project(), _common.catalogue()
    with Ledger.open(project.ledger_url) as ledger:
        changed = [
            ledger.terminations.finish(name, content.policy.timezone, _now())
            for name in _split(names)
        ]
        outbox.send_due(ledger, content.company, _now)
    _common.print_json({"changed": any(changed)})


COMMANDS = (reinstall, give_up, seen, reinstalled, erase, terminate, remove, terminated)


def _declare(project: Project, vps: VpsDeclaration, codes: Any = None) -> None:
    from hoster.engine import pulumi_cli
    from hoster.project.declarations import with_system
    from hoster.project.files import write

    file = project.declaration(vps.client)
    sealed = pulumi_cli.encrypt(project, vps.client, codes.password_hash) if codes else None
    write(file, with_system(file, vps, sealed))


def _declared(project: Project, name: str) -> VpsDeclaration:
    """Return the declaration of a VPS.

    Raises:
        ConfigurationError: there is none; near names are told.
    """
    from hoster.errors import ConfigurationError
    from hoster.problems import near
    from hoster.project.declarations import read_all

    known = {vps.full_name: vps for vps in read_all(project)}
    if name not in known:
        raise ConfigurationError(f"no VPS {name} is declared{near(name, known)}")
    return known[name]


def _domain(vps: VpsDeclaration) -> str:
    return vps.full_name.replace("/", ".")


def _split(names: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(name for text in names for name in text.split(",") if name))


def _now() -> datetime:
    return datetime.now(UTC)
