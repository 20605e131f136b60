"""A new system for VPSs, on a disk of its own, and the way back from it (C4.2, C6.3, C7.4, C7.5).

Each act is one step of a playbook: it may be cut anywhere, and is called again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hoster.acts.choice import Names, named_now
from hoster.acts.deliver import mail_values
from hoster.acts.measures import job_of
from hoster.acts.reply import Reply
from hoster.engine import pulumi_cli
from hoster.errors import ConfigurationError, RuleError
from hoster.mail import outbox
from hoster.orders import disks, systems
from hoster.project import declarations, files

if TYPE_CHECKING:
    from hoster.acts.reply import Clock
    from hoster.catalogue import Catalogue
    from hoster.incidents.measures import Measure
    from hoster.ledger import Ledger
    from hoster.orders.access import AccessCodes
    from hoster.orders.declarations import Declarations, VpsDeclaration
    from hoster.orders.systems import Reinstall
    from hoster.project import Project


@dataclass(frozen=True)
class Job:
    """What a host node must have for the new system of a VPS, and how far its reinstall is.

    ``base`` is the image's volume, ``disk`` the new one; ``reinstall`` is 0 until it is recorded.
    """

    vps: str
    client: str
    node: str
    domain: str
    pool: str
    base: str
    disk: str
    disk_bytes: int
    reinstall: int
    request: str
    open: bool
    stage: str


@dataclass(frozen=True)
class Reinstalling(Reply):
    """The jobs of an act on several VPSs."""

    changed: bool
    jobs: Sequence[Job]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"changed": self.changed, "jobs": [vars(job) for job in self.jobs]}


@dataclass(frozen=True)
class GivenUp(Reply):
    """The VPSs that have their former system again."""

    changed: bool
    vps: Sequence[VpsDeclaration]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        jobs = [{"vps": one.full_name, "node": one.node, "domain": one.domain} for one in self.vps]
        return {"changed": self.changed, "jobs": jobs}


@dataclass(frozen=True)
class Seen(Reply):
    """A new system that was seen up: which measures end with it, or what its client sees now."""

    changed: bool
    measures: Sequence[Measure]
    now: str

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        jobs = [job_of(one).as_json() for one in self.measures]
        return {"changed": self.changed, "measures": jobs, "now": self.now}


@dataclass(frozen=True)
class HandedOver(Reply):
    """A new system that is its client's, and what that client sees now."""

    changed: bool
    now: str

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"changed": self.changed, "now": self.now}


@dataclass(frozen=True)
class Erased(Reply):
    """The VPSs whose former disk is erased."""

    vps: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"changed": bool(self.vps), "vps": list(self.vps)}


def reinstall(
    project: Project,
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    vps: Names,
    image: str | None = None,
    request: str = "",
    keep: bool = False,
    dry_run: bool = False,
) -> Reinstalling:
    """Want a new system for each VPS; declare and deploy it (C7.4, C7.5).

    Once for each *request*, or incident that demands it. All are judged before any is recorded:
    two that fit singly, and not together, are both refused.

    Raises:
        ConfigurationError: a VPS or the image is unknown.
        RuleError: nothing asks for it, or it is not the time.
        NoRoomError: a node has no room for the second disk (C2.1).
    """
    wish = _Wish(image, request, keep)
    with declarations.exclusive(project):
        judged = _judge(project, catalogue, ledger, vps, wish)
        changed = any(one.is_new for one in judged)
        if not dry_run:
            judged = [_recorded(project, catalogue, ledger, clock, one) for one in judged]
    jobs = [_job(catalogue, one) for one in judged]
    if not dry_run:
        for client in sorted({job.client for job in jobs if job.open}):
            changed |= pulumi_cli.deploy(project, client)
    return Reinstalling(changed, jobs)


@dataclass(frozen=True)
class _Wish:
    """What is asked for: another image, by which request, and whether the former disk is kept."""

    image: str | None
    request: str
    keep: bool


@dataclass(frozen=True)
class _Judged:
    """A reinstall that can be done; ``new`` is ``vps`` where an earlier run declared it."""

    vps: VpsDeclaration
    new: VpsDeclaration
    request: str
    known: Reinstall | None
    keep_days: int = 0

    @property
    def is_new(self) -> bool:
        return self.new is not self.vps


def _judge(
    project: Project, catalogue: Catalogue, ledger: Ledger, names: Names, wish: _Wish
) -> list[_Judged]:
    """See of each whether it can be done, given that those before it are."""
    declared, judged = declarations.read_all(project), []
    for name in names:
        [vps] = declared.named([name])
        one = _judge_one(catalogue, declared, ledger, vps, wish)
        declared = declared.replaced(one.new)
        judged.append(one)
    return judged


def _judge_one(
    catalogue: Catalogue,
    declared: Declarations,
    ledger: Ledger,
    vps: VpsDeclaration,
    wish: _Wish,
) -> _Judged:
    request, known = ledger.reinstalls.asked(vps.full_name, wish.request)
    image, keep = wish.image, wish.keep
    if known is not None:
        _require_same(known, image)
        if not known.is_open or vps.installation == known.installation:
            return _Judged(vps, vps, request, known)
        image, keep = known.image.partition("@")[0], bool(known.keep_days)
    declarations.require_sound(declared)
    new = systems.reinstalled(catalogue, declared, vps, image=image, readable=keep)
    days = catalogue.policy.incidents.former_disk_days if keep else 0
    return _Judged(vps, new, request, known, days)


def _require_same(known: Reinstall, image: str | None) -> None:
    if known.is_open and image not in {None, known.image.partition("@")[0]}:
        raise RuleError(
            f"{known.vps} is being reinstalled with {known.image} already",
            remedy="Run it again without another image, or give it up first: "
            f"ansible-playbook playbooks/give-up-reinstall.yml -e vps={known.vps}",
        )


def _recorded(
    project: Project, catalogue: Catalogue, ledger: Ledger, clock: Clock, judged: _Judged
) -> _Judged:
    """Want it in the ledger, then declare it; what an earlier run did is passed over."""
    if not judged.is_new:
        return judged
    vps, new = judged.vps, judged.new
    known = judged.known or ledger.reinstalls.begin(
        vps.full_name,
        judged.request,
        image=new.image,
        installation=new.installation,
        former=(vps.installation, vps.image),
        keep_days=judged.keep_days,
        user=catalogue.images[new.image_name].default_user,
        now=clock(),
    )
    codes = ledger.reinstalls.codes(known)
    _declare(project, new.model_copy(update={"image": known.image}), codes)
    return replace(judged, known=known)


def _job(catalogue: Catalogue, judged: _Judged) -> Job:
    known, new = judged.known, judged.new
    return Job(
        vps=new.full_name,
        client=new.client,
        node=new.node,
        domain=new.domain,
        pool=catalogue.policy.storage_pool,
        base=f"{new.image}.qcow2",
        disk=disks.volume(new.domain, new.installation),
        disk_bytes=catalogue.plans[new.plan].disk_gib * 2**30,
        reinstall=known.id if known else 0,
        request=judged.request,
        open=known is None or known.is_open,
        stage=known.stage if known else "possible",
    )


def give_up(
    project: Project, ledger: Ledger, clock: Clock, *, vps: Names, dry_run: bool = False
) -> GivenUp:
    """Put the former system back, where the new one was never seen up (C6.3).

    Raises:
        ConfigurationError: a VPS is not declared.
        RuleError: it is not being reinstalled, or its new system was seen up.
    """
    changed, declared = False, []
    for name in vps:
        row = ledger.reinstalls.last(name)
        systems.require_unseen(row)
        declared.append(named_now(project, name))
        changed |= row.is_open
        if row.is_open and not dry_run:
            _go_back(project, declared[-1], row)
            ledger.reinstalls.give_up(row.id, clock())
    return GivenUp(changed, declared)


def _go_back(project: Project, vps: VpsDeclaration, row: Reinstall) -> None:
    with declarations.exclusive(project):
        _declare(project, systems.gone_back(vps, row))
    pulumi_cli.unprotect(project, vps.client, vps.name, row.installation)
    pulumi_cli.deploy(project, vps.client)


def seen(
    project: Project, catalogue: Catalogue, ledger: Ledger, clock: Clock, *, reinstall: int
) -> Seen:
    """Note that a new system was seen up from its node; say which measures end with it (C7.4).

    Where none does, it is handed over at once; otherwise `hand_over` does that, once the node has
    lifted them.

    Raises:
        ConfigurationError: there is no reinstall of that number.
    """
    changed, measures = ledger.reinstalls.note_seen(reinstall, clock())
    now = "" if measures else hand_over(project, catalogue, ledger, clock, reinstall=reinstall).now
    return Seen(changed, measures, now)


def hand_over(
    project: Project,
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    reinstall: int,
    measures: tuple[int, ...] = (),
) -> HandedOver:
    """Confirm that *measures* were lifted, and mail the client the new codes; once (C4.2, C7.4).

    Raises:
        ConfigurationError: there is no reinstall, or measure, of a number.
        RuleError: the new system was not seen up yet.
    """
    row = ledger.reinstalls.numbered(reinstall)
    vps = named_now(project, row.vps)
    values = mail_values(vps, catalogue) | {"timezone": catalogue.policy.timezone}
    keep = timedelta(days=row.keep_days)
    news, confirmed = ledger.reinstalls.finish(reinstall, measures, values, clock(), keep=keep)
    outbox.send_due(ledger, catalogue.company, clock)
    situation = ledger.measures.situation(row.vps)
    left = "".join(f"; {one.kind} for {one.ground}" for one in situation.measures)
    return HandedOver(
        news or any(one.changed for one in confirmed),
        f"{row.vps} has {vps.image}, and is {situation.state}{left}",
    )


def erase(
    project: Project,
    ledger: Ledger,
    clock: Clock,
    *,
    vps: Names = (),
    due: bool = False,
    dry_run: bool = False,
) -> Erased:
    """Erase former disks of VPSs whose new system was handed over; all that are *due* (C7.5).

    Raises:
        ConfigurationError: neither VPSs are named nor those that are due.
    """
    if not (vps or due):
        raise ConfigurationError(
            "name VPSs, as in acme/web, or say that those are meant that are due"
        )
    rows = [
        one
        for one in ledger.reinstalls.former_disks(clock() if due else None)
        if not vps or one.vps in vps
    ]
    for row in () if dry_run else rows:
        _erase(project, row)
        ledger.reinstalls.note_erased(row.id, clock())
    return Erased([row.vps for row in rows])


def _erase(project: Project, row: Reinstall) -> None:
    with declarations.exclusive(project):
        vps = named_now(project, row.vps)
        if vps.former_disk and vps.former_disk.installation == row.former_installation:
            _declare(project, vps.model_copy(update={"former_disk": None}))
    pulumi_cli.unprotect(project, vps.client, vps.name, row.former_installation)
    pulumi_cli.deploy(project, vps.client)


def _declare(project: Project, vps: VpsDeclaration, codes: AccessCodes | None = None) -> None:
    file = project.declaration(vps.client)
    sealed = pulumi_cli.encrypt(project, vps.client, codes.password_hash) if codes else None
    files.write(file, declarations.with_system(file, vps, sealed))
