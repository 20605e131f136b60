"""The part of the ledger that knows which addresses are held, and which rest (C4.3)."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from sqlalchemy import select

from hoster.ledger._session import Subject
from hoster.ledger._trail import note
from hoster.ledger.tables import AccessCodeRow, ReleasedAddressRow

if TYPE_CHECKING:
    from datetime import datetime


class Addresses(Subject):
    """Addresses that were ordered, and those that were given back."""

    def release(self, ipv4: IPv4Address, *, vps: str, now: datetime) -> None:
        """Remember that *vps* gave *ipv4* back: it rests before somebody else gets it (C4.3)."""
        with self._sessions.transaction() as session:
            session.merge(ReleasedAddressRow(ipv4=str(ipv4), vps=vps, released_at=now))
            order = session.get(AccessCodeRow, vps)
            if order is not None and order.ipv4 == str(ipv4):
                order.released_at = now
            note(session, now, "address-released", vps, ipv4=str(ipv4))

    def released(self) -> dict[IPv4Address, datetime]:
        """Return every address that was given back, and when."""
        with self._sessions.reading() as session:
            rows = session.scalars(select(ReleasedAddressRow))
            return {IPv4Address(row.ipv4): row.released_at for row in rows}

    def held(self, *, besides: str) -> set[IPv4Address]:
        """Return the addresses that were ordered and not given back, those of *besides* apart.

        A VPS that vanished from its declaration may still run: its address is nobody else's until
        it is released (C4.3).
        """
        mine = (AccessCodeRow.released_at.is_(None), AccessCodeRow.vps != besides)
        with self._sessions.reading() as session:
            return {
                IPv4Address(held)
                for held in session.scalars(select(AccessCodeRow.ipv4).where(*mine))
            }
