"""The table of the addresses that were given back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class ReleasedAddressRow(Base):
    """An address that was given back, and when: it rests before somebody else gets it."""

    __tablename__ = "released_address"

    ipv4: Mapped[str] = mapped_column(String(15), primary_key=True)
    vps: Mapped[str] = mapped_column(String(63))
    released_at: Mapped[datetime]
