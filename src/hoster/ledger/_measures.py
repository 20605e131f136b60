"""The part of the ledger that knows the measures against VPSs (C4.11, C6, C15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hoster.errors import ConfigurationError
from hoster.incidents.measures import (
    Incident,
    Measure,
    Step,
    earlier,
    grade,
    require_reconnection,
)
from hoster.incidents.situation import Act, Situation, meant
from hoster.ledger._incidents import close_incident, incidents, open_incident
from hoster.ledger._outbox import tell
from hoster.ledger._session import Subject
from hoster.ledger._trail import actor, note
from hoster.ledger.tables import IncidentRow, MeasureRow, ReinstallRow, TerminationRow
from hoster.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from hoster.catalogue import IncidentPolicy


@dataclass(frozen=True)
class Wanted:
    """A measure as an act left it; ``changed`` is False where an earlier run asked for it."""

    measure: Measure
    changed: bool


@dataclass(frozen=True)
class Confirmed:
    """A measure that its node has, or has let go of; ``told`` is False for an unknown client."""

    measure: Measure
    changed: bool
    told: bool = True


class Measures(Subject):
    """Measures. An act first says what it wants, and confirms what its node did."""

    def quarantine(
        self,
        vps: str,
        kind: str,
        severity: str,
        now: datetime,
        *,
        evidence: str = "",
        reinstall: bool = False,
        expected_until: datetime | None = None,
    ) -> Wanted:
        """Open an incident and want its quarantine; otherwise, the one of that kind in force."""
        with self._sessions.transaction() as session:
            known = _known(session, vps, Act.QUARANTINE, kind)
            if known is not None:
                return Wanted(known, changed=False)
            incident = open_incident(
                session,
                vps,
                now,
                kind=kind,
                severity=severity,
                evidence=evidence,
                reinstall=reinstall,
                expected_until=expected_until,
            )
            return _want(session, vps, Act.QUARANTINE, kind, now, incident=incident)

    def suspend(self, vps: str, reason: str, why: str, now: datetime) -> Wanted:
        """Want a suspension; the one for that reason, where it is in force (C15.1)."""
        with self._sessions.transaction() as session:
            known = _known(session, vps, Act.SUSPEND, reason)
            if known is not None:
                return Wanted(known, changed=False)
            return _want(session, vps, Act.SUSPEND, reason, now, why=why)

    def reconnect(
        self,
        vps: str,
        now: datetime,
        *,
        policy: IncidentPolicy,
        incident: int | None = None,
        override: str = "",
    ) -> Wanted:
        """Want the end of a quarantine whose problem the client has corrected (C6.2).

        Raises:
            RuleError: no quarantine is in force, several are and none is named, or the policy
                refuses it and there is no *override*.
        """
        with self._sessions.transaction() as session:
            measure = _meant(session, vps, Act.RECONNECT, incident=incident)
            if not measure.is_wanted:
                return Wanted(measure, changed=False)
            about = session.get_one(IncidentRow, measure.incident).as_value(Incident)
            before = earlier(about, incidents(session, vps), policy.recurrence)
            verdict = grade(policy.after_correction, about.severity, before)
            require_reconnection(about, verdict, override)
            return unwant(session, measure, now, override)

    def resume(self, vps: str, reason: str, why: str, now: datetime) -> Wanted:
        """Want the end of the suspension for *reason*, and of no other measure (C15.1).

        Raises:
            RuleError: no suspension for that reason is in force.
        """
        with self._sessions.transaction() as session:
            measure = _meant(session, vps, Act.RESUME, ground=reason)
            if not measure.is_wanted:
                return Wanted(measure, changed=False)
            return unwant(session, measure, now, why)

    def confirm(self, numbers: Iterable[int], now: datetime, timezone: str) -> list[Confirmed]:
        """Note that the nodes did what the measures with these *numbers* wait for, and tell it.

        Together and once: the note, the mail to the client, the end of the incident.

        Raises:
            ConfigurationError: there is no measure of a number.
        """
        with self._sessions.transaction() as session:
            return [confirm(session, number, now, timezone) for number in numbers]

    def situation(self, vps: str) -> Situation:
        """Return what an act would find."""
        with self._sessions.reading() as session:
            return situation(session, vps)

    def all(self, vps: str | None = None, *, in_force: bool = False) -> list[Measure]:
        """Return the measures against *vps*, or against all, oldest first."""
        with self._sessions.reading() as session:
            return measures(session, vps, in_force=in_force)


def situation(session: Session, vps: str) -> Situation:
    """Return what an act finds of *vps*."""
    reinstall = select(ReinstallRow.id).where(
        ReinstallRow.vps == vps,
        ReinstallRow.finished_at.is_(None),
        ReinstallRow.given_up_at.is_(None),
    )
    end = session.scalar(select(TerminationRow).where(TerminationRow.vps == vps))
    return Situation(
        measures=tuple(measures(session, vps, in_force=True)),
        is_reinstalling=session.scalar(reinstall.limit(1)) is not None,
        is_ending=end is not None,
        has_ended=end is not None and end.finished_at is not None,
    )


def measures(session: Session, vps: str | None = None, *, in_force: bool = False) -> list[Measure]:
    """Return the measures against *vps* or all, oldest first; if said, those not lifted."""
    wanted = select(MeasureRow).order_by(MeasureRow.id)
    wanted = wanted.where(MeasureRow.vps == vps) if vps else wanted
    wanted = wanted.where(MeasureRow.lifted_at.is_(None)) if in_force else wanted
    return [row.as_value(Measure) for row in session.scalars(wanted)]


def unwant(session: Session, measure: Measure, now: datetime, why: str) -> Wanted:
    """Want the end of a measure."""
    row = session.get_one(MeasureRow, measure.id)
    row.lift_wanted_at, row.lift_author, row.lift_note = now, actor(), why
    note(session, now, f"{row.kind}-unwanted", row.vps, measure=row.id, ground=row.ground, note=why)
    return Wanted(row.as_value(Measure), changed=True)


def confirm(session: Session, number: int, now: datetime, timezone: str) -> Confirmed:
    """Note that its node did what a measure waits for, and tell the client, once."""
    row = session.get(MeasureRow, number)
    if row is None:
        raise ConfigurationError(
            f"the ledger has no measure {number}",
            remedy="Those that it has: hoster incidents --all --json",
        )
    happened = row.as_value(Measure).awaits
    if happened is None:
        return Confirmed(row.as_value(Measure), changed=False)
    incident = session.get(IncidentRow, row.incident) if row.incident else None
    if happened is Step.LIFTED:
        row.lifted_at = now
        if incident is not None:
            close_incident(incident, now, row.lift_note or "corrected")
            note(session, now, "incident-closed", row.vps, incident=incident.id)
    else:
        row.in_force_at = now
    note(session, now, f"{row.kind}-{happened}", row.vps, measure=row.id, ground=row.ground)
    session.flush()
    told = _tell(session, row, incident, happened=happened, now=now, timezone=timezone)
    return Confirmed(row.as_value(Measure), changed=True, told=told)


def end_measures(session: Session, vps: str, now: datetime) -> None:
    """Lift what is in force against a VPS that is no more."""
    of_it = select(MeasureRow).where(MeasureRow.vps == vps, MeasureRow.lifted_at.is_(None))
    for row in session.scalars(of_it.order_by(MeasureRow.id)):
        row.lift_wanted_at = row.lift_wanted_at or now
        row.lift_author = row.lift_author or actor()
        row.lift_note = row.lift_note or "terminated"
        row.lifted_at = now
        note(session, now, f"{row.kind}-lifted", vps, measure=row.id, note="terminated")


def _known(session: Session, vps: str, act: Act, ground: str) -> Measure | None:
    """Return the measure that an act would make, where it is wanted already."""
    found = situation(session, vps)
    found.require(vps, act)
    return found.wanted(act, ground)


def _meant(
    session: Session, vps: str, act: Act, *, ground: str = "", incident: int | None = None
) -> Measure:
    there = situation(session, vps)
    return meant(vps, act, there, measures(session, vps), ground=ground, incident=incident)


def _want(
    session: Session,
    vps: str,
    kind: Act,
    ground: str,
    now: datetime,
    *,
    why: str = "",
    incident: int | None = None,
) -> Wanted:
    row = MeasureRow(
        vps=vps,
        kind=kind.value,
        ground=ground,
        incident=incident,
        note=why,
        author=actor(),
        wanted_at=now,
    )
    session.add(row)
    session.flush()
    note(session, now, f"{kind.value}-wanted", vps, measure=row.id, ground=ground, note=why)
    return Wanted(row.as_value(Measure), changed=True)


def _tell(
    session: Session,
    row: MeasureRow,
    incident: IncidentRow | None,
    *,
    happened: Step,
    now: datetime,
    timezone: str,
) -> bool:
    until = incident.expected_until if incident else None
    left = measures(session, row.vps, in_force=True)
    values: dict[str, Any] = {
        "vps": row.vps,
        "ground": row.ground,
        "at": now.isoformat(),
        "timezone": timezone,
        "incident": row.incident,
        "reinstall": bool(incident and incident.reinstall),
        "expected_until": until.isoformat() if until else None,
        "left": sorted({each.ground for each in left}),
    }
    return tell(
        session,
        f"measure:{row.id}:{happened}",
        now,
        client=names.client_of(row.vps),
        template=f"{row.kind}-{happened}",
        values=values,
    )
