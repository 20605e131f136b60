"""Measures against VPSs: wanted first, done by the nodes, then confirmed and told (C6, C7, C15).

A run that is cut anywhere is run again: what was recorded already is not recorded again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from hoster.acts.reply import Reply
from hoster.clients import proofs
from hoster.clients.announcements import require_overdue
from hoster.errors import RuleError
from hoster.incidents.measures import KINDS, SEVERITIES, SUSPENSIONS
from hoster.mail import outbox
from hoster.problems import one_of
from hoster.wire.measures import CUT, MeasureJob

if TYPE_CHECKING:
    from hoster.acts.choice import Chosen
    from hoster.acts.reply import Clock
    from hoster.catalogue import Catalogue
    from hoster.incidents.measures import Measure
    from hoster.incidents.situation import Situation
    from hoster.ledger import Confirmed, Ledger, Wanted

IncidentKind = Annotated[str, AfterValidator(one_of(KINDS))]
Severity = Annotated[str, AfterValidator(one_of(SEVERITIES))]
SuspensionReason = Annotated[str, AfterValidator(one_of(SUSPENSIONS))]
Hours = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Recorded(Reply):
    """What is wanted of each node, and which VPSs were passed over, each with the reason.

    ``wanted`` has a pair for each VPS: its host node, and the measure as the act left it.
    """

    wanted: Sequence[tuple[str, Wanted]]
    passed_over: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return it as the playbooks read it: for each node, what `hoster-node measures` does."""
        nodes: dict[str, list[dict[str, Any]]] = {}
        for node, one in self.wanted:
            nodes.setdefault(node, []).append(job_of(one.measure).as_json())
        return {
            "changed": any(one.changed for _, one in self.wanted),
            "nodes": [{"node": node, "measures": some} for node, some in nodes.items()],
            "passed_over": dict(self.passed_over),
        }


@dataclass(frozen=True)
class Done(Reply):
    """What became of measures whose nodes did their part, and what the clients see now."""

    confirmed: Sequence[Confirmed]
    situations: Mapping[str, Situation]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        measures = [one.measure for one in self.confirmed]
        return {
            "changed": any(one.changed for one in self.confirmed),
            "measures": [
                {"vps": one.vps, "measure": one.id, "stage": one.stage} for one in measures
            ],
            "now": [_seen(vps, situation) for vps, situation in self.situations.items()],
        }

    def remarks(self) -> list[str]:
        """Return who was not told."""
        return [
            f"no client of {one.measure.vps} is known here: nobody was told"
            for one in self.confirmed
            if not one.told
        ]


@dataclass(frozen=True)
class Summary(Reply):
    """What became of measures, of an act on many VPSs."""

    measures: Sequence[Measure]

    @property
    def waiting(self) -> int:
        """How many were not done."""
        return sum(one.stage in {"wanted", "being lifted"} for one in self.measures)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        rows = [dict(zip(_COLUMNS, _row(one), strict=True)) for one in self.measures]
        return {"changed": False, "measures": rows, "waiting": self.waiting}

    def lines(self) -> list[str]:
        """Return it for people: a table, and how many are done."""
        rows = [_COLUMNS, *map(_row, self.measures)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        head, *body = ["  " + "   ".join(map(str.ljust, row, widths)) + "  " for row in rows]
        blank, rule = " " * len(head), f" {'─' * (len(head) - 2)} "
        done = len(self.measures) - self.waiting
        last = f"{done} done, {self.waiting} not: run the playbook again for those"
        return [blank, head, rule, *body, blank, last]


_COLUMNS = ("vps", "measure", "for", "stage")


def _row(one: Measure) -> tuple[str, ...]:
    return (one.vps, one.kind, one.ground, one.stage)


def quarantine(
    ledger: Ledger,
    clock: Clock,
    chosen: Chosen,
    *,
    kind: IncidentKind,
    severity: Severity = "serious",
    evidence: str = "",
    hours: Hours | None = None,
    reinstall: bool = False,
    dry_run: bool = False,
) -> Recorded:
    """Open an incident for each VPS, and want its quarantine (C6.1, C7.2, C7.4).

    *hours* is how long it is expected to last; *evidence* says where the proof is kept. One for a
    missing update needs an announcement that is overdue (C7.3).

    Raises:
        RuleError: it does not make sense for a VPS that was named.
    """
    now = clock()
    until = now + timedelta(hours=hours) if hours is not None else None
    announced = ledger.announcements.all() if kind == "update-missing" else None

    def want(vps: str) -> Wanted:
        if announced is not None:
            require_overdue(vps, announced, now)
        return ledger.measures.quarantine(
            vps, kind, severity, now, evidence=evidence, reinstall=reinstall, expected_until=until
        )

    return record(ledger, chosen, want, dry_run=dry_run)


def reconnect(
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    chosen: Chosen,
    *,
    incident: int | None = None,
    override: str = "",
    dry_run: bool = False,
) -> Recorded:
    """Want the end of a quarantine whose problem was corrected (C6.2).

    *incident* says which one, where several are open; *override* why, where the policy refuses it.

    Raises:
        RuleError: the policy refuses it, or it does not make sense for a VPS that was named.
    """
    now, policy = clock(), catalogue.policy.incidents

    def want(vps: str) -> Wanted:
        return ledger.measures.reconnect(
            vps, now, policy=policy, incident=incident, override=override
        )

    return record(ledger, chosen, want, dry_run=dry_run)


def suspend(
    ledger: Ledger,
    clock: Clock,
    chosen: Chosen,
    *,
    reason: SuspensionReason,
    note: str = "",
    dry_run: bool = False,
) -> Recorded:
    """Want a suspension for a reason; reasons stack (C7.1, C7.7, C15.1).

    Raises:
        RuleError: it does not make sense for a VPS that was named, or no proof is overdue.
    """
    now, demands = clock(), _demands(ledger, reason)

    def want(vps: str) -> Wanted:
        if demands is not None:
            proofs.require_overdue(vps, demands, now)
        return ledger.measures.suspend(vps, reason, note, now)

    return record(ledger, chosen, want, dry_run=dry_run)


def resume(
    ledger: Ledger,
    clock: Clock,
    chosen: Chosen,
    *,
    reason: SuspensionReason,
    note: str = "",
    dry_run: bool = False,
) -> Recorded:
    """Want the end of the suspension for one reason, and of no other (C15.1).

    Raises:
        RuleError: it does not make sense for a VPS that was named, or a proof is still to come.
    """
    now, demands = clock(), _demands(ledger, reason)

    def want(vps: str) -> Wanted:
        if demands is not None:
            proofs.require_settled(vps, demands)
        return ledger.measures.resume(vps, reason, note, now)

    return record(ledger, chosen, want, dry_run=dry_run)


def _demands(ledger: Ledger, reason: str) -> list[proofs.Demand] | None:
    return ledger.proofs.demands() if reason == proofs.GROUND else None


def confirm(
    catalogue: Catalogue, ledger: Ledger, clock: Clock, *, measures: tuple[int, ...]
) -> Done:
    """Note what the nodes did, and tell the clients; once, however often it is called.

    Raises:
        ConfigurationError: there is no measure of a number.
    """
    confirmed = ledger.measures.confirm(measures, clock(), catalogue.policy.timezone)
    outbox.send_due(ledger, catalogue.company, clock)
    vpss = dict.fromkeys(one.measure.vps for one in confirmed)
    return Done(confirmed, {vps: ledger.measures.situation(vps) for vps in vpss})


def summary(ledger: Ledger, *, measures: tuple[int, ...]) -> Summary:
    """Say what became of measures; a number that there is none of is passed over."""
    wanted = set(measures)
    return Summary([one for one in ledger.measures.all() if one.id in wanted])


def record(
    ledger: Ledger, chosen: Chosen, want: Callable[[str], Wanted], *, dry_run: bool
) -> Recorded:
    """Record one act for each VPS, for all of them or for none.

    One that was not named, but found by its node or image, is passed over where the act does not
    make sense for it.
    """
    wanted: list[tuple[str, Wanted]] = []
    passed_over: dict[str, str] = {}
    with ledger.together(dry_run=dry_run):
        for name, node in chosen.node_of.items():
            try:
                wanted.append((node, want(name)))
            except RuleError as error:
                if chosen.by_name:
                    raise
                passed_over[name] = error.message
    return Recorded(wanted, passed_over)


def job_of(measure: Measure) -> MeasureJob:
    """Return what a host node has to do about a measure."""
    return MeasureJob(
        vps=measure.vps,
        kind=CUT,
        name=measure.name,
        lift=not measure.is_wanted,
        reason=f"{measure.kind}: {measure.ground}",
        measure=measure.id,
    )


def _seen(vps: str, situation: Situation) -> str:
    measures = "".join(f"; {one.kind} for {one.ground}: {one.stage}" for one in situation.measures)
    return f"{vps} is {situation.state}{measures}"
