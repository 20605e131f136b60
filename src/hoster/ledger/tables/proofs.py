"""The table of the proofs that clients were asked for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from hoster.ledger.tables.base import Base


class ProofDemandRow(Base):
    """A proof of contact details that a client was asked for (`hoster.clients.proofs.Demand`)."""

    __tablename__ = "proof_demand"

    id: Mapped[int] = mapped_column(primary_key=True)
    client: Mapped[str] = mapped_column(ForeignKey("client.name"), index=True)
    note: Mapped[str]
    hours: Mapped[int]
    author: Mapped[str] = mapped_column(String(64))
    demanded_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str | None] = mapped_column(String(64))
    settlement: Mapped[str | None]
