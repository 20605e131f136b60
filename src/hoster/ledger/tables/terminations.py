"""The table of the ends of VPSs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class TerminationRow(Base):
    """The end of a VPS (`hoster.orders.systems.Termination`); the record of the deletion."""

    __tablename__ = "termination"

    id: Mapped[int] = mapped_column(primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), unique=True)
    reason: Mapped[str] = mapped_column(String(20))
    note: Mapped[str]
    lost: Mapped[dict[str, Any]]
    author: Mapped[str] = mapped_column(String(64))
    wanted_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
