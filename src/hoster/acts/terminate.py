"""The end of VPSs: wanted, removed, and confirmed once nothing is left (C12.5, C15.2).

Each act is one step of a playbook: it may be cut anywhere, and is called again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from hoster.acts.choice import Names
from hoster.acts.reply import Changed, Reply
from hoster.engine import pulumi_cli
from hoster.errors import RuleError
from hoster.incidents.measures import TERMINATIONS
from hoster.mail import outbox
from hoster.orders import disks
from hoster.problems import one_of
from hoster.project import declarations, files

if TYPE_CHECKING:
    from collections.abc import Collection

    from hoster.acts.reply import Clock
    from hoster.catalogue import Catalogue
    from hoster.ledger import Ledger
    from hoster.orders.declarations import VpsDeclaration
    from hoster.project import Project

TerminationReason = Annotated[str, AfterValidator(one_of(TERMINATIONS))]


@dataclass(frozen=True)
class Ending:
    """What goes with a VPS; ``is_open`` until nothing of it is left."""

    vps: str
    lost: Mapping[str, Any]
    is_open: bool

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"vps": self.vps, **self.lost, "open": self.is_open}


@dataclass(frozen=True)
class Terminating(Reply):
    """The ends of VPSs."""

    changed: bool
    endings: Sequence[Ending]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"changed": self.changed, "jobs": [one.as_json() for one in self.endings]}


def terminate(
    project: Project,
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    vps: Names,
    reason: TerminationReason,
    note: str = "",
    dry_run: bool = False,
) -> Terminating:
    """Want the end of VPSs, and say what will be lost; a dry run says only that (C12.5, C15.2).

    Raises:
        ConfigurationError: a VPS is not declared.
        RuleError: a court wants one of them kept; none is terminated then.
    """
    declared = declarations.read_all(project)
    known = {one.vps: one for one in ledger.terminations.all()}
    changed, endings = False, []
    with ledger.together(dry_run=dry_run):
        for name in vps:
            before = known.get(name)
            lost = before.lost if before else _lost(catalogue, *declared.named([name]))
            changed |= ledger.terminations.begin(name, reason, note, lost, clock())
            endings.append(Ending(name, lost, not (before and before.finished_at)))
    return Terminating(changed, endings)


def _lost(catalogue: Catalogue, vps: VpsDeclaration) -> dict[str, Any]:
    """Return what goes with a VPS, as the deletion's record keeps it."""
    return {
        "client": vps.client,
        "node": vps.node,
        "domain": vps.domain,
        "pool": catalogue.policy.storage_pool,
        "ipv4": str(vps.ipv4),
        "plan": vps.plan,
        "since": vps.since.isoformat(),
        "disks": disks.disks(vps.domain, vps, catalogue.plans[vps.plan].disk_gib),
    }


def remove(project: Project, ledger: Ledger, *, vps: Names) -> Changed:
    """Delete VPSs whose end is on record: domain, seed, disks; then their declarations (C15.2).

    Raises:
        RuleError: the end of one of them is not on record.
    """
    ended, changed = [one.vps for one in ledger.terminations.all()], False
    for name in vps:
        _require_recorded(name, ended)
        if project.declaration(name.partition("/")[0]).exists():
            changed |= _remove(project, name, ended)
    return Changed(changed)


def _require_recorded(name: str, ended: Collection[str]) -> None:
    if name not in ended:
        raise RuleError(
            f"no termination of {name} is on record",
            remedy=f"ansible-playbook playbooks/terminate-vps.yml -e vps={name}",
        )


def _remove(project: Project, name: str, ended: Collection[str]) -> bool:
    client, _, vps = name.partition("/")
    file = project.declaration(client)
    with declarations.exclusive(project):
        files.write(file, declarations.without(file, vps))
    pulumi_cli.unprotect(project, client, vps)
    mine = [one for one in ended if one.startswith(f"{client}/")]
    changed = pulumi_cli.deploy(project, client, ended=mine)
    if not declarations.read(file).vps:
        changed |= pulumi_cli.remove_stack(project, client)
        file.unlink(missing_ok=True)
    return changed


def terminated(catalogue: Catalogue, ledger: Ledger, clock: Clock, *, vps: Names) -> Changed:
    """Confirm that nothing is left of VPSs, and tell their clients; once (C12.5, C15.2).

    Raises:
        RuleError: the end of one of them is not on record; none is confirmed then.
    """
    timezone, ended = catalogue.policy.timezone, [one.vps for one in ledger.terminations.all()]
    for name in vps:
        _require_recorded(name, ended)
    changed = [ledger.terminations.finish(name, timezone, clock()) for name in vps]
    outbox.send_due(ledger, catalogue.company, clock)
    return Changed(any(changed))
