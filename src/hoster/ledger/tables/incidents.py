"""The table of the security incidents."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class IncidentRow(Base):
    """A security incident (`hoster.incidents.measures.Incident`)."""

    __tablename__ = "incident"

    id: Mapped[int] = mapped_column(primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    severity: Mapped[str] = mapped_column(String(10))
    evidence: Mapped[str]
    reinstall: Mapped[bool]
    expected_until: Mapped[datetime | None]
    opened_at: Mapped[datetime]
    opened_by: Mapped[str] = mapped_column(String(64))
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None] = mapped_column(String(64))
    closing: Mapped[str | None]
