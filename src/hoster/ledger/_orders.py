"""The part of the ledger that knows what was ordered and delivered (C4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoster.errors import RuleError
from hoster.ledger._outbox import hand_over
from hoster.ledger._session import Subject
from hoster.ledger._trail import note
from hoster.ledger.tables import AccessCodeRow
from hoster.orders.access import AccessCodes, generate
from hoster.wire import names

if TYPE_CHECKING:
    from datetime import datetime
    from ipaddress import IPv4Address


class Orders(Subject):
    """Orders, from their access codes to their delivery."""

    def begin(self, vps: str, ipv4: IPv4Address, *, user: str, now: datetime) -> AccessCodes:
        """Return the access codes of an order; the same ones again until it is delivered.

        Raises:
            RuleError: a VPS of that name was delivered before.
        """
        with self._sessions.transaction() as session:
            row = session.get(AccessCodeRow, vps)
            if row is not None and (row.delivered_at or row.password is None):
                raise RuleError(
                    f"{vps} was delivered before, on {row.delivered_at:%Y-%m-%d}",
                    remedy="Order the new VPS under another name.",
                )
            if row is None:
                row = _new(vps, ipv4, user, now)
                session.add(row)
                note(session, now, "order-begun", vps, ipv4=str(ipv4))
            row.ipv4, row.user = str(ipv4), user
            return AccessCodes(vps, user, row.password or "", row.password_hash)

    def deliver(self, vps: str, values: dict[str, Any], now: datetime) -> bool:
        """Record the delivery and queue its mail, together and once; False where it was done.

        Raises:
            RuleError: nobody ordered *vps* here.
        """
        with self._sessions.transaction() as session:
            row = session.get(AccessCodeRow, vps)
            if row is None:
                raise RuleError(
                    f"{vps} was not ordered here: the ledger has no access codes for it",
                    remedy="Declare a VPS with hoster order, or name its ledger: HOSTER_LEDGER.",
                )
            if row.delivered_at is not None:
                return False
            row.delivered_at = now
            hand_over(
                session,
                f"delivery:{vps}",
                now,
                client=names.client_of(vps),
                template="delivery",
                values=values,
                vps=vps,
            )
            note(session, now, "delivered", vps, ipv4=row.ipv4)
        return True


def _new(vps: str, ipv4: IPv4Address, user: str, now: datetime) -> AccessCodeRow:
    codes = generate(vps, user)
    return AccessCodeRow(
        vps=vps,
        ipv4=str(ipv4),
        user=user,
        password=codes.password,
        password_hash=codes.password_hash,
        ordered_at=now,
    )
