"""The table of the clients."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class ClientRow(Base):
    """A client's contact details (C7.1)."""

    __tablename__ = "client"

    name: Mapped[str] = mapped_column(String(31), primary_key=True)
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
