"""The table of what the host nodes told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class NodeEventRow(Base):
    """Something that a host node told; only ever added, and once (`hoster.wire.events`)."""

    __tablename__ = "node_event"
    __table_args__ = (UniqueConstraint("stream", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(String(63), index=True)
    stream: Mapped[str] = mapped_column(String(32))
    number: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(63), index=True)
    details: Mapped[dict[str, Any]]
    collected_at: Mapped[datetime]
