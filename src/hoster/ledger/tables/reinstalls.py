"""The table of the new systems of VPSs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class ReinstallRow(Base):
    """A new system for a VPS (`hoster.orders.systems.Reinstall`)."""

    __tablename__ = "reinstall"

    id: Mapped[int] = mapped_column(primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), index=True)
    request: Mapped[str] = mapped_column(String(200))
    image: Mapped[str] = mapped_column(String(100))
    installation: Mapped[int]
    former_installation: Mapped[int]
    former_image: Mapped[str] = mapped_column(String(100))
    keep_days: Mapped[int]
    author: Mapped[str] = mapped_column(String(64))
    wanted_at: Mapped[datetime]
    seen_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]
    erase_after: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
