"""The part of the ledger that knows the ends of VPSs (C12.5, C15.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hoster.incidents.measures import require_no_court_order
from hoster.ledger._incidents import end_incidents
from hoster.ledger._measures import end_measures, measures
from hoster.ledger._outbox import tell
from hoster.ledger._reinstalls import end_reinstalls
from hoster.ledger._session import Subject
from hoster.ledger._trail import actor, note
from hoster.ledger.tables import AccessCodeRow, ReleasedAddressRow, TerminationRow
from hoster.orders.systems import Termination
from hoster.wire import names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session


class Terminations(Subject):
    """The ends of VPSs: wanted with what will be lost, finished once nothing is left."""

    def of(self, vps: str) -> Termination | None:
        """Return the end of *vps*, if it was wanted."""
        with self._sessions.reading() as session:
            row = _row(session, vps)
            return row.as_value(Termination) if row else None

    def all(self) -> list[Termination]:
        """Return the ends of all VPSs, oldest first."""
        with self._sessions.reading() as session:
            rows = session.scalars(select(TerminationRow).order_by(TerminationRow.id))
            return [row.as_value(Termination) for row in rows]

    def begin(
        self, vps: str, reason: str, why: str, lost: Mapping[str, Any], now: datetime
    ) -> bool:
        """Want the end of *vps*; False where it was wanted already (C12.5, C15.2).

        Raises:
            RuleError: a court wants it kept.
        """
        with self._sessions.transaction() as session:
            if _row(session, vps) is not None:
                return False
            require_no_court_order(vps, reason, measures(session, vps))
            session.add(
                TerminationRow(
                    vps=vps,
                    reason=reason,
                    note=why,
                    lost=dict(lost),
                    author=actor(),
                    wanted_at=now,
                )
            )
            note(session, now, "termination-wanted", vps, reason=reason, note=why, lost=dict(lost))
            return True

    def finish(self, vps: str, timezone: str, now: datetime) -> bool:
        """Note that all of *vps* is deleted, give its address back and tell its client; once.

        The address rests before somebody else gets it (C4.3); measures and incidents end with it.
        """
        with self._sessions.transaction() as session:
            row = session.scalars(select(TerminationRow).where(TerminationRow.vps == vps)).one()
            if row.finished_at is not None:
                return False
            row.finished_at = now
            end_measures(session, vps, now)
            end_incidents(session, vps, now)
            end_reinstalls(session, vps, now)
            _give_back(session, vps, str(row.lost["ipv4"]), now)
            note(session, now, "terminated", vps, termination=row.id, reason=row.reason)
            _tell(session, row, timezone, now)
            return True


def _row(session: Session, vps: str) -> TerminationRow | None:
    return session.scalar(select(TerminationRow).where(TerminationRow.vps == vps))


def _give_back(session: Session, vps: str, ipv4: str, now: datetime) -> None:
    session.merge(ReleasedAddressRow(ipv4=ipv4, vps=vps, released_at=now))
    codes = session.get(AccessCodeRow, vps)
    if codes is not None:
        codes.password = None
        codes.released_at = now
    note(session, now, "address-released", vps, ipv4=ipv4)


def _tell(session: Session, row: TerminationRow, timezone: str, now: datetime) -> None:
    tell(
        session,
        f"termination:{row.id}",
        now,
        client=names.client_of(row.vps),
        template="terminated",
        values={
            "vps": row.vps,
            "ground": row.reason,
            "at": now.isoformat(),
            "timezone": timezone,
            "ipv4": str(row.lost["ipv4"]),
        },
    )
