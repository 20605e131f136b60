"""The table of the mails."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class MailRow(Base):
    """A mail to be sent, once: ``occasion`` is unique.

    ``values`` are what the template needs, secrets apart; ``vps`` names the access codes that a
    delivery mail carries. ``claimed_until`` keeps a second sender away while one is at it.
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True)
    occasion: Mapped[str] = mapped_column(String(200), unique=True)
    client: Mapped[str] = mapped_column(ForeignKey("client.name"))
    template: Mapped[str] = mapped_column(String(60))
    values: Mapped[dict[str, Any]] = mapped_column("content")
    vps: Mapped[str | None] = mapped_column(ForeignKey("access_code.vps"))
    message_id: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int]
    queued_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime]
    claimed_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
