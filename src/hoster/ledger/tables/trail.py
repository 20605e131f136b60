"""The table of the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class AuditEntryRow(Base):
    """Something that happened; only ever added, and chained by ``digest`` (`hoster.ledger.audit`).

    No secret in ``details``.
    """

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(63))
    details: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64), server_default="")
