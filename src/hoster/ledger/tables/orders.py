"""The table of the orders, and of the access codes that wait for their mail."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class AccessCodeRow(Base):
    """The codes of an order; the password is forgotten when its mail is sent (C4.2)."""

    __tablename__ = "access_code"

    vps: Mapped[str] = mapped_column(String(63), primary_key=True)
    ipv4: Mapped[str] = mapped_column(String(15))
    user: Mapped[str] = mapped_column("login", String(32))
    password: Mapped[str | None]
    password_hash: Mapped[str]
    ordered_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]
