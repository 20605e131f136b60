"""The table of the measures against VPSs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class MeasureRow(Base):
    """A measure against a VPS (`hoster.incidents.measures.Measure`)."""

    __tablename__ = "measure"

    id: Mapped[int] = mapped_column(primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    ground: Mapped[str] = mapped_column(String(20))
    incident: Mapped[int | None] = mapped_column(ForeignKey("incident.id"))
    note: Mapped[str]
    author: Mapped[str] = mapped_column(String(64))
    wanted_at: Mapped[datetime]
    in_force_at: Mapped[datetime | None]
    lift_wanted_at: Mapped[datetime | None]
    lift_author: Mapped[str | None] = mapped_column(String(64))
    lift_note: Mapped[str | None]
    lifted_at: Mapped[datetime | None]
