"""The part of the ledger that knows incidents and the measures against VPSs (C4.11, C6, C15)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from hoster.errors import ConfigurationError, RuleError
from hoster.incidents.measures import Incident, Measure, grade, require_reconnection
from hoster.incidents.situation import Act, Situation
from hoster.ledger import audit
from hoster.ledger._session import Sessions, actor, note, queue
from hoster.ledger.tables import (
    ClientRow,
    EventRow,
    IncidentRow,
    MeasureRow,
    ReinstallRow,
    TerminationRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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


class Measures(Sessions):
    """Incidents and measures. An act first says what it wants, and confirms what its node did."""

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
        with self._transaction() as session:
            situation(session, vps).require(vps, Act.QUARANTINE)
            for known in left(session, vps, Act.QUARANTINE):
                if known.ground == kind and known.lift_wanted_at is None:
                    return Wanted(measure(known), changed=False)
            incident = IncidentRow(
                vps=vps,
                kind=kind,
                severity=severity,
                evidence=evidence,
                reinstall=reinstall,
                expected_until=expected_until,
                opened_at=now,
                opened_by=actor(),
            )
            session.add(incident)
            session.flush()
            note(
                session,
                now,
                "incident-opened",
                vps,
                incident=incident.id,
                kind=kind,
                severity=severity,
                evidence=evidence,
                reinstall=reinstall,
            )
            return _want(session, vps, Act.QUARANTINE, kind, now, incident=incident.id)

    def suspend(self, vps: str, reason: str, why: str, now: datetime) -> Wanted:
        """Want a suspension; the one for that reason, where it is in force (C15.1)."""
        with self._transaction() as session:
            situation(session, vps).require(vps, Act.SUSPEND)
            for known in left(session, vps, Act.SUSPEND):
                if known.ground == reason and known.lift_wanted_at is None:
                    return Wanted(measure(known), changed=False)
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
        with self._transaction() as session:
            row = self._one(session, vps, Act.RECONNECT, Act.QUARANTINE, incident=incident)
            if row.lift_wanted_at is not None:
                return Wanted(measure(row), changed=False)
            about = _incident(session.get_one(IncidentRow, row.incident))
            since = about.opened_at - policy.recurrence
            earlier = session.scalar(
                select(func.count())
                .select_from(IncidentRow)
                .where(
                    IncidentRow.vps == vps,
                    IncidentRow.id < about.id,
                    IncidentRow.opened_at >= since,
                )
            )
            verdict = grade(policy.after_correction, about.severity, earlier or 0)
            require_reconnection(about, verdict, override)
            return unwant(session, row, now, override)

    def resume(self, vps: str, reason: str, why: str, now: datetime) -> Wanted:
        """Want the end of the suspension for *reason*, and of no other measure (C15.1).

        Raises:
            RuleError: no suspension for that reason is in force.
        """
        with self._transaction() as session:
            row = self._one(session, vps, Act.RESUME, Act.SUSPEND, ground=reason)
            if row.lift_wanted_at is not None:
                return Wanted(measure(row), changed=False)
            return unwant(session, row, now, why)

    @staticmethod
    def _one(
        session: Session,
        vps: str,
        act: Act,
        kind: Act,
        *,
        ground: str = "",
        incident: int | None = None,
    ) -> MeasureRow:
        def fits(row: MeasureRow) -> bool:
            is_named = ground in {"", row.ground} and incident in {None, row.incident}
            return row.kind == kind and is_named

        there = list(left(session, vps))
        mine = [row for row in there if fits(row)]
        if len(mine) == 1:
            return mine[0]
        lifted = select(MeasureRow).where(MeasureRow.vps == vps, MeasureRow.lifted_at.is_not(None))
        before = list(filter(fits, session.scalars(lifted.order_by(MeasureRow.id.desc()))))
        if not mine and before:
            return before[0]  # the same act again
        situation(session, vps).require(vps, act)
        of_kind = [row for row in there if row.kind == kind]
        known = ", ".join(
            f"{row.incident} ({row.ground})" if row.incident else row.ground for row in of_kind
        )
        raise RuleError(
            f"{vps}: name one of what is in force: {known}",
            remedy="With -e incident=NUMBER, or -e reason=REASON.",
        )

    def confirm(self, numbers: Iterable[int], now: datetime, timezone: str) -> list[Confirmed]:
        """Note that the nodes did what the measures with these *numbers* wait for, and tell it.

        Together and once: the note, the mail to the client, the end of the incident.

        Raises:
            ConfigurationError: there is no measure of a number.
        """
        with self._transaction() as session:
            return [confirm(session, number, now, timezone) for number in numbers]

    def situation(self, vps: str) -> Situation:
        """Return what an act would find."""
        with self._reading() as session:
            return situation(session, vps)

    def measures(self, vps: str | None = None, *, in_force: bool = False) -> list[Measure]:
        """Return the measures against *vps*, or against all, oldest first."""
        wanted = select(MeasureRow).order_by(MeasureRow.id)
        wanted = wanted.where(MeasureRow.vps == vps) if vps else wanted
        wanted = wanted.where(MeasureRow.lifted_at.is_(None)) if in_force else wanted
        with self._reading() as session:
            return [measure(row) for row in session.scalars(wanted)]

    def incidents(self, vps: str | None = None, *, open_only: bool = False) -> list[Incident]:
        """Return the incidents of *vps*, or of all, oldest first."""
        wanted = select(IncidentRow).order_by(IncidentRow.id)
        wanted = wanted.where(IncidentRow.vps == vps) if vps else wanted
        wanted = wanted.where(IncidentRow.closed_at.is_(None)) if open_only else wanted
        with self._reading() as session:
            return [_incident(row) for row in session.scalars(wanted)]

    def trail(self, subject: str | None = None, limit: int | None = None) -> list[audit.Entry]:
        """Return the audit trail, of *subject* alone or its *limit* latest entries, in order."""
        wanted = select(EventRow).order_by(EventRow.id.desc()).limit(limit)
        wanted = wanted.where(EventRow.subject == subject) if subject else wanted
        with self._reading() as session:
            return [_entry(row) for row in reversed(session.scalars(wanted).all())]

    def verify_trail(self, anchor: str = "") -> audit.Verdict:
        """Follow the audit trail's chain from its first entry to its last."""
        with self._reading() as session:
            rows = session.scalars(select(EventRow).order_by(EventRow.id)).yield_per(1000)
            return audit.verify(map(_entry, rows), anchor)


def situation(session: Session, vps: str) -> Situation:
    """Return what an act finds of *vps*."""
    reinstall = select(ReinstallRow.id).where(
        ReinstallRow.vps == vps,
        ReinstallRow.finished_at.is_(None),
        ReinstallRow.given_up_at.is_(None),
    )
    end = session.scalar(select(TerminationRow).where(TerminationRow.vps == vps))
    return Situation(
        measures=tuple(measure(row) for row in left(session, vps)),
        is_reinstalling=session.scalar(reinstall.limit(1)) is not None,
        is_ending=end is not None,
        has_ended=end is not None and end.finished_at is not None,
    )


def left(session: Session, vps: str, kind: Act | None = None) -> Iterator[MeasureRow]:
    """Yield the measures against *vps* that are not lifted."""
    wanted = select(MeasureRow).where(MeasureRow.vps == vps, MeasureRow.lifted_at.is_(None))
    wanted = wanted.where(MeasureRow.kind == kind) if kind else wanted
    yield from session.scalars(wanted.order_by(MeasureRow.id)).all()


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
    return Wanted(measure(row), changed=True)


def unwant(session: Session, row: MeasureRow, now: datetime, why: str) -> Wanted:
    """Want the end of a measure."""
    row.lift_wanted_at, row.lift_author, row.lift_note = now, actor(), why
    note(session, now, f"{row.kind}-unwanted", row.vps, measure=row.id, ground=row.ground, note=why)
    return Wanted(measure(row), changed=True)


def confirm(session: Session, number: int, now: datetime, timezone: str) -> Confirmed:
    """Note that its node did what a measure waits for, and tell the client, once."""
    row = session.get(MeasureRow, number)
    if row is None:
        raise ConfigurationError(
            f"the ledger has no measure {number}",
            remedy="Those that it has: hoster incidents --all --json",
        )
    lifting = row.lift_wanted_at is not None
    if row.lifted_at is not None or (row.in_force_at is not None and not lifting):
        return Confirmed(measure(row), changed=False)
    if lifting:
        row.lifted_at = now
        happened = "lifted"
    else:
        row.in_force_at = now
        happened = "in-force"
    incident = session.get(IncidentRow, row.incident) if row.incident else None
    if incident is not None and lifting:
        incident.closed_at, incident.closed_by = now, actor()
        incident.closing = row.lift_note or "corrected"
        note(session, now, "incident-closed", row.vps, incident=incident.id)
    note(session, now, f"{row.kind}-{happened}", row.vps, measure=row.id, ground=row.ground)
    session.flush()
    return Confirmed(
        measure(row),
        changed=True,
        told=_tell(session, row, incident, happened=happened, now=now, timezone=timezone),
    )


def _tell(
    session: Session,
    row: MeasureRow,
    incident: IncidentRow | None,
    *,
    happened: str,
    now: datetime,
    timezone: str,
) -> bool:
    client = row.vps.partition("/")[0]
    if session.get(ClientRow, client) is None:
        return False
    until = incident.expected_until if incident else None
    values: dict[str, Any] = {
        "vps": row.vps,
        "ground": row.ground,
        "at": now.isoformat(),
        "timezone": timezone,
        "incident": row.incident,
        "reinstall": bool(incident and incident.reinstall),
        "expected_until": until.isoformat() if until else None,
        "left": sorted({other.ground for other in left(session, row.vps)}),
    }
    queue(
        session,
        f"measure:{row.id}:{happened}",
        now,
        client=client,
        template=f"{row.kind}-{happened}",
        values=values,
    )
    return True


def measure(row: MeasureRow) -> Measure:
    """Return what a row says."""
    return Measure(**{one.name: getattr(row, one.name) for one in fields(Measure)})


def _incident(row: IncidentRow) -> Incident:
    return Incident(**{one.name: getattr(row, one.name) for one in fields(Incident)})


def _entry(row: EventRow) -> audit.Entry:
    return audit.Entry(**{one.name: getattr(row, one.name) for one in fields(audit.Entry)})
