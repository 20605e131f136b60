"""The part of the ledger that knows the security incidents (C6.1, C7.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from hoster.incidents.measures import Incident
from hoster.ledger._session import Subject
from hoster.ledger._trail import actor, note
from hoster.ledger.tables import IncidentRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


class Incidents(Subject):
    """Incidents: opened by a quarantine, closed with its end."""

    def all(self, vps: str | None = None, *, open_only: bool = False) -> list[Incident]:
        """Return the incidents of *vps*, or of all, oldest first."""
        with self._sessions.reading() as session:
            return incidents(session, vps, open_only=open_only)


def incidents(
    session: Session, vps: str | None = None, *, open_only: bool = False
) -> list[Incident]:
    """Return the incidents of *vps*, or of all, oldest first."""
    wanted = select(IncidentRow).order_by(IncidentRow.id)
    wanted = wanted.where(IncidentRow.vps == vps) if vps else wanted
    wanted = wanted.where(IncidentRow.closed_at.is_(None)) if open_only else wanted
    return [row.as_value(Incident) for row in session.scalars(wanted)]


def open_incident(
    session: Session,
    vps: str,
    now: datetime,
    *,
    kind: str,
    severity: str,
    evidence: str,
    reinstall: bool,
    expected_until: datetime | None,
) -> int:
    """Open an incident; return its number."""
    row = IncidentRow(
        vps=vps,
        kind=kind,
        severity=severity,
        evidence=evidence,
        reinstall=reinstall,
        expected_until=expected_until,
        opened_at=now,
        opened_by=actor(),
    )
    session.add(row)
    session.flush()
    note(
        session,
        now,
        "incident-opened",
        vps,
        incident=row.id,
        kind=kind,
        severity=severity,
        evidence=evidence,
        reinstall=reinstall,
    )
    return row.id


def close_incident(row: IncidentRow, now: datetime, why: str) -> None:
    """Close an incident."""
    row.closed_at, row.closed_by, row.closing = now, actor(), why


def end_incidents(session: Session, vps: str, now: datetime) -> None:
    """Close what is open of a VPS that is no more."""
    of_it = select(IncidentRow).where(IncidentRow.vps == vps, IncidentRow.closed_at.is_(None))
    for row in session.scalars(of_it):
        close_incident(row, now, "terminated")
        note(session, now, "incident-closed", vps, incident=row.id, note="terminated")
