"""The part of the ledger that knows which clients were asked to prove their details (C7.1)."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from hoster.clients.proofs import Demand
from hoster.errors import RuleError
from hoster.ledger._clients import require_client
from hoster.ledger._outbox import tell
from hoster.ledger._session import Subject
from hoster.ledger._trail import actor, note
from hoster.ledger.tables import MailRow, ProofDemandRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


TEMPLATE = "proof-demanded"


class Proofs(Subject):
    """Demands: one at a time for a client, each told and settled once."""

    def demand(self, client: str, why: str, now: datetime, *, hours: int, timezone: str) -> bool:
        """Ask *client* for a proof, by mail; False where one is asked for already.

        Raises:
            ConfigurationError: nobody is registered under that name.
        """
        with self._sessions.transaction() as session:
            require_client(session, client)
            last = _last(session, client)
            if last is not None and last.settled_at is None:
                return False
            row = ProofDemandRow(
                client=client, note=why, hours=hours, author=actor(), demanded_at=now
            )
            session.add(row)
            session.flush()
            note(session, now, "proof-demanded", client, demand=row.id, note=why)
            values = {
                "hours": hours,
                "at": (now + timedelta(hours=hours)).isoformat(),
                "timezone": timezone,
            }
            tell(session, _occasion(row), now, client=client, template=TEMPLATE, values=values)
            return True

    def settle(self, client: str, why: str, now: datetime) -> bool:
        """Note that the proof came, or is asked for no more, and tell it; False where it was.

        Raises:
            ConfigurationError: nobody is registered under that name.
            RuleError: the client was never asked for one.
        """
        with self._sessions.transaction() as session:
            require_client(session, client)
            row = _last(session, client)
            if row is None:
                raise RuleError(
                    f"{client} was never asked for a proof", remedy="Who was: hoster proof"
                )
            if row.settled_at is not None:
                return False
            row.settled_at, row.settled_by, row.settlement = now, actor(), why
            note(session, now, "proof-settled", client, demand=row.id, note=why)
            occasion = f"proof:{row.id}:settled"
            tell(session, occasion, now, client=client, template="proof-settled", values={})
            return True

    def demands(self, client: str | None = None) -> list[Demand]:
        """Return the demands to *client*, or to all, oldest first."""
        wanted = select(ProofDemandRow).order_by(ProofDemandRow.id)
        wanted = wanted.where(ProofDemandRow.client == client) if client else wanted
        told = select(MailRow.occasion, MailRow.sent_at).where(MailRow.template == TEMPLATE)
        with self._sessions.reading() as session:
            sent_at: dict[str, datetime | None] = dict(session.execute(told).all())
            return [_demand(row, sent_at.get(_occasion(row))) for row in session.scalars(wanted)]


def _last(session: Session, client: str) -> ProofDemandRow | None:
    mine = select(ProofDemandRow).where(ProofDemandRow.client == client)
    return session.scalars(mine.order_by(ProofDemandRow.id.desc()).limit(1)).one_or_none()


def _occasion(row: ProofDemandRow) -> str:
    return f"proof:{row.id}:demanded"


def _demand(row: ProofDemandRow, told_at: datetime | None) -> Demand:
    kept = {each.name: getattr(row, each.name) for each in fields(Demand) if each.name != "told_at"}
    return Demand(told_at=told_at, **kept)
