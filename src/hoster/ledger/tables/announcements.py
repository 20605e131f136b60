"""The tables of what clients were told beforehand."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class AnnouncementRow(Base):
    """Something that clients were told beforehand (`hoster.clients.announcements`).

    ``at`` is when a maintenance starts, or until when an update is due; ``until`` when the first
    is expected to end.
    """

    __tablename__ = "announcement"
    __table_args__ = (UniqueConstraint("kind", "about", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    about: Mapped[str] = mapped_column(String(500))
    what: Mapped[str]
    at: Mapped[datetime]
    until: Mapped[datetime | None]
    announced_at: Mapped[datetime]
    author: Mapped[str] = mapped_column(String(64))


class ConcernedRow(Base):
    """A VPS that an announcement concerns, how often its client was reminded, and if it is done."""

    __tablename__ = "concerned"

    announcement: Mapped[int] = mapped_column(ForeignKey("announcement.id"), primary_key=True)
    vps: Mapped[str] = mapped_column(String(63), primary_key=True)
    reminders: Mapped[int]
    reminded_on: Mapped[str | None] = mapped_column(String(10))
    settled_at: Mapped[datetime | None]
