"""The part of the ledger that keeps the audit trail (C15.1)."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hoster.ledger import audit
from hoster.ledger._session import Subject
from hoster.ledger.tables import AuditEntryRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


class Trail(Subject):
    """The audit trail: every other subject adds to it, nobody changes it."""

    def entries(self, subject: str | None = None, limit: int | None = None) -> list[audit.Entry]:
        """Return the audit trail, of *subject* alone or its *limit* latest entries, in order."""
        wanted = select(AuditEntryRow).order_by(AuditEntryRow.id.desc()).limit(limit)
        wanted = wanted.where(AuditEntryRow.subject == subject) if subject else wanted
        with self._sessions.reading() as session:
            return [row.as_value(audit.Entry) for row in reversed(session.scalars(wanted).all())]

    def verify(self, anchor: str = "") -> audit.Verdict:
        """Follow the audit trail's chain from its first entry to its last."""
        with self._sessions.reading() as session:
            rows = session.scalars(select(AuditEntryRow).order_by(AuditEntryRow.id))
            entries = (row.as_value(audit.Entry) for row in rows.yield_per(1000))
            return audit.verify(entries, anchor)


def actor() -> str:
    """Return who is at the keyboard, for the audit trail."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def note(session: Session, now: datetime, kind: str, subject: str, /, **details: Any) -> None:
    """Add an entry to the audit trail, chained to the one before it."""
    last = select(AuditEntryRow.digest).order_by(AuditEntryRow.id.desc()).limit(1)
    previous = session.scalar(last) or audit.START
    who = actor()
    digest = audit.digest(previous, now, actor=who, kind=kind, subject=subject, details=details)
    session.add(
        AuditEntryRow(at=now, actor=who, kind=kind, subject=subject, details=details, digest=digest)
    )
