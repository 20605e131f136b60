"""The ledger: who the clients are, what was ordered and delivered, which mails are due."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, or_, select, update

from hoster.clients.contact import Client
from hoster.clients.notices import Collected, notice
from hoster.errors import ConfigurationError, RuleError
from hoster.ledger._announcements import Announcements, Told
from hoster.ledger._engine import forget
from hoster.ledger._measures import Confirmed, Measures, Wanted
from hoster.ledger._proofs import Proofs
from hoster.ledger._session import FAILED, QUEUED, SENT, actor, client_row, note, queue
from hoster.ledger._systems import Systems, require_unseen
from hoster.ledger.tables import AccessCodeRow, ClientRow, MailRow, NodeEventRow, ReleasedAddressRow
from hoster.orders.access import AccessCodes, generate
from hoster.wire.events import NodeEvent

__all__ = [
    "FAILED",
    "QUEUED",
    "SENT",
    "Confirmed",
    "KeptEvent",
    "Ledger",
    "Mail",
    "Told",
    "Wanted",
    "actor",
    "require_unseen",
]

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Mail:
    """A mail of the outbox. ``values`` hold no secret; ``vps`` names whose codes go with it."""

    id: int
    occasion: str
    client: str
    template: str
    values: dict[str, Any]
    vps: str | None
    message_id: str
    state: str
    attempts: int
    queued_at: datetime
    next_attempt_at: datetime
    sent_at: datetime | None
    last_error: str | None


@dataclass(frozen=True)
class KeptEvent:
    """An event, the host node that told it, and when it was collected."""

    node: str
    event: NodeEvent
    collected_at: datetime


class Ledger(Measures, Systems, Announcements, Proofs):
    """One open ledger; every method is one transaction. Times are passed in, aware."""

    # --- clients ---

    def add_client(self, client: Client, now: datetime) -> bool:
        """Keep a new client; False where it is known already, with just these details.

        Raises:
            RuleError: it is known with other details.
        """
        with self._transaction() as session:
            known = session.get(ClientRow, client.name)
            if known is not None:
                if known.details == client.model_dump():
                    return False
                raise RuleError(
                    f"the client {client.name} is known already, with other details",
                    remedy=f"Change them: hoster client edit {client.name} --help",
                )
            session.add(ClientRow(name=client.name, details=client.model_dump(), created_at=now))
            note(session, now, "client-added", client.name)
        return True

    def edit_client(self, client: Client, now: datetime) -> list[str]:
        """Replace a client's details; return the names of the fields that changed.

        Raises:
            ConfigurationError: there is no such client.
        """
        with self._transaction() as session:
            row = client_row(session, client.name)
            new = client.model_dump()
            changed = [name for name, value in new.items() if row.details.get(name) != value]
            if changed:
                row.details = new
                note(session, now, "client-edited", client.name, fields=changed)
        return changed

    def client(self, name: str) -> Client:
        """Return a client.

        Raises:
            ConfigurationError: there is none of that name.
        """
        with self._reading() as session:
            return _client(client_row(session, name))

    def clients(self) -> list[Client]:
        """Return all clients, by name."""
        with self._reading() as session:
            rows = session.scalars(select(ClientRow).order_by(ClientRow.name))
            return [_client(row) for row in rows]

    # --- orders ---

    def begin_order(self, vps: str, ipv4: IPv4Address, *, user: str, now: datetime) -> AccessCodes:
        """Return the access codes of an order; the same ones again until it is delivered.

        Raises:
            RuleError: a VPS of that name was delivered before.
        """
        with self._transaction() as session:
            row = session.get(AccessCodeRow, vps)
            if row is not None and (row.delivered_at or row.password is None):
                raise RuleError(
                    f"{vps} was delivered before, on {row.delivered_at:%Y-%m-%d}",
                    remedy="Order the new VPS under another name.",
                )
            if row is None:
                codes = generate(vps, user)
                row = AccessCodeRow(
                    vps=vps,
                    ipv4=str(ipv4),
                    user=user,
                    password=codes.password,
                    password_hash=codes.password_hash,
                    ordered_at=now,
                )
                session.add(row)
                note(session, now, "order-begun", vps, ipv4=str(ipv4))
            row.ipv4, row.user = str(ipv4), user
            return AccessCodes(vps, user, row.password or "", row.password_hash)

    def release_address(self, ipv4: IPv4Address, *, vps: str, now: datetime) -> None:
        """Remember that *vps* gave *ipv4* back: it rests before somebody else gets it (C4.3)."""
        with self._transaction() as session:
            session.merge(ReleasedAddressRow(ipv4=str(ipv4), vps=vps, released_at=now))
            order = session.get(AccessCodeRow, vps)
            if order is not None and order.ipv4 == str(ipv4):
                order.released_at = now
            note(session, now, "address-released", vps, ipv4=str(ipv4))

    def released_addresses(self) -> dict[IPv4Address, datetime]:
        """Return every address that was given back, and when."""
        with self._reading() as session:
            rows = session.scalars(select(ReleasedAddressRow))
            return {IPv4Address(row.ipv4): row.released_at for row in rows}

    def held_addresses(self, *, besides: str) -> set[IPv4Address]:
        """Return the addresses that were ordered and not given back, those of *besides* apart.

        A VPS that vanished from its declaration may still run: its address is nobody else's until
        it is released (C4.3).
        """
        mine = (AccessCodeRow.released_at.is_(None), AccessCodeRow.vps != besides)
        with self._reading() as session:
            return {
                IPv4Address(held)
                for held in session.scalars(select(AccessCodeRow.ipv4).where(*mine))
            }

    def deliver(self, vps: str, values: dict[str, Any], now: datetime) -> bool:
        """Record the delivery and queue its mail, together and once; False where it was done.

        Raises:
            RuleError: nobody ordered *vps* here.
        """
        with self._transaction() as session:
            row = session.get(AccessCodeRow, vps)
            if row is None:
                raise RuleError(
                    f"{vps} was not ordered here: the ledger has no access codes for it",
                    remedy="Declare a VPS with hoster order, or name its ledger: HOSTER_LEDGER.",
                )
            if row.delivered_at is not None:
                return False
            row.delivered_at = now
            client = vps.partition("/")[0]
            queue(
                session,
                f"delivery:{vps}",
                now,
                client=client,
                template="delivery",
                values=values,
                vps=vps,
            )
            note(session, now, "delivered", vps, ipv4=row.ipv4)
        return True

    # --- outbox ---

    def mails(self) -> list[Mail]:
        """Return the whole outbox, oldest first."""
        with self._reading() as session:
            return [_mail(row) for row in session.scalars(select(MailRow).order_by(MailRow.id))]

    def claim_mail(self, now: datetime, lease: timedelta) -> Mail | None:
        """Take the oldest due mail for *lease*, alone; None where nothing is due."""
        free = or_(MailRow.claimed_until.is_(None), MailRow.claimed_until <= now)
        due = (
            select(MailRow)
            .where(MailRow.state == QUEUED, MailRow.next_attempt_at <= now, free)
            .order_by(MailRow.next_attempt_at, MailRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._transaction() as session:
            row = session.scalars(due).one_or_none()
            if row is None:
                return None
            row.claimed_until = now + lease
            row.attempts += 1
            return _mail(row)

    def codes_of(self, mail: Mail) -> AccessCodes | None:
        """Return the access codes that go with *mail*, if any do.

        Raises:
            RuleError: they went out already, and the password is forgotten.
        """
        if mail.vps is None:
            return None
        with self._reading() as session:
            row = session.get_one(AccessCodeRow, mail.vps)
            if row.password is None:
                raise RuleError(f"the access codes of {mail.vps} were sent before")
            return AccessCodes(row.vps, row.user, row.password, row.password_hash)

    def mail_sent(self, mail: Mail, now: datetime) -> None:
        """Mark *mail* sent and forget the password that went with it, together (C4.2)."""
        with self._transaction() as session:
            row = session.get_one(MailRow, mail.id)
            row.state, row.sent_at, row.claimed_until, row.last_error = SENT, now, None, None
            if mail.vps is not None:
                session.execute(
                    update(AccessCodeRow).where(AccessCodeRow.vps == mail.vps).values(password=None)
                )
            note(session, now, "mail-sent", mail.client, occasion=mail.occasion)
        forget(self._engine)

    def mail_refused(
        self, mail: Mail, reason: str, now: datetime, *, again_at: datetime | None
    ) -> None:
        """Note why *mail* was not taken; try again at *again_at*, or give up where it is None.

        A sender whose claim ran out is not heard: another one has the mail, or sent it.
        """
        with self._transaction() as session:
            row = session.get_one(MailRow, mail.id)
            if row.state != QUEUED or row.attempts != mail.attempts:
                return
            row.last_error, row.claimed_until = reason[:500], None
            row.state = FAILED if again_at is None else QUEUED
            row.next_attempt_at = again_at or row.next_attempt_at
            if again_at is None:
                note(session, now, "mail-failed", mail.client, occasion=mail.occasion)

    def retry_mail(self, mail_id: int, now: datetime) -> Mail:
        """Put a failed or waiting mail at the head of the queue.

        Raises:
            ConfigurationError: there is no such mail.
            RuleError: it was sent.
        """
        with self._transaction() as session:
            row = session.get(MailRow, mail_id)
            if row is None:
                raise ConfigurationError(
                    f"the outbox has no mail {mail_id}", remedy="hoster outbox"
                )
            if row.state == SENT:
                raise RuleError(f"mail {mail_id} was sent on {row.sent_at:%Y-%m-%d %H:%M} UTC")
            row.state, row.next_attempt_at, row.attempts = QUEUED, now, 0
            note(session, now, "mail-retried", row.client, occasion=row.occasion)
            return _mail(row)

    # --- what the host nodes tell ---

    def last_node_events(self, nodes: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Return of each of *nodes* the last event that was kept: its stream and number."""
        row = NodeEventRow
        with self._reading() as session:
            found = {
                node: session.execute(
                    select(row.stream, row.number)
                    .where(row.node == node)
                    .order_by(row.id.desc())
                    .limit(1)
                ).one_or_none()
                for node in nodes
            }
        return {node: (last.stream, last.number) for node, last in found.items() if last}

    def last_number_of(self, stream: str) -> int:
        """Return the number of the last event of *stream* that was kept, whoever told it; or 0."""
        with self._reading() as session:
            return _last_number(session, stream)

    def keep_node_events(
        self, node: str, events: Sequence[NodeEvent], now: datetime, *, dry_run: bool = False
    ) -> Collected:
        """Keep what *node* told and queue the clients' mails for it, together and once.

        *events* are of one stream, oldest first. Those that were kept before are passed over, so
        that two who collect at the same time do no harm.
        """
        if not events:
            return Collected(0, (), (), 0)
        with self._transaction() as session:
            last = _last_number(session, events[0].stream)
            new = [event for event in events if event.number > last]
            mails, unknown = _notices(session, new, now)
            session.add_all(
                NodeEventRow(node=node, collected_at=now, **asdict(event)) for event in new
            )
            if dry_run:
                session.rollback()
        gap = events[0].number - last - 1
        return Collected(len(new), tuple(mails), tuple(sorted(unknown)), max(gap, 0))

    def node_events(
        self,
        *,
        subject: str | None = None,
        kinds: Collection[str] = (),
        node: str | None = None,
        limit: int | None = None,
    ) -> list[KeptEvent]:
        """Return the latest events that fit, oldest first."""
        row = NodeEventRow
        wanted = select(row).order_by(row.id.desc()).limit(limit)
        for column, value in ((row.subject, subject), (row.node, node)):
            wanted = wanted.where(column == value) if value is not None else wanted
        if kinds:
            wanted = wanted.where(row.kind.in_(kinds))
        with self._reading() as session:
            found = session.scalars(wanted).all()
            return [_kept(one) for one in reversed(found)]


def _last_number(session: Session, stream: str) -> int:
    of_it = select(func.max(NodeEventRow.number)).where(NodeEventRow.stream == stream)
    return session.scalar(of_it) or 0


def _notices(
    session: Session, events: Iterable[NodeEvent], now: datetime
) -> tuple[list[str], set[str]]:
    """Queue the mails that *events* ask for; return their occasions, and clients unknown here."""
    queued: list[str] = []
    unknown: set[str] = set()
    for wanted in filter(None, map(notice, events)):
        occasion = wanted.occasion
        told = select(MailRow.id).where(MailRow.occasion == occasion)
        if occasion in queued or session.scalar(told) is not None:
            continue
        if session.get(ClientRow, wanted.client) is None:
            unknown.add(wanted.client)
            continue
        queued.append(occasion)
        queue(
            session,
            occasion,
            now,
            client=wanted.client,
            template=wanted.template,
            values=wanted.values,
        )
    return queued, unknown


def _kept(row: NodeEventRow) -> KeptEvent:
    event = NodeEvent(**{field.name: getattr(row, field.name) for field in fields(NodeEvent)})
    return KeptEvent(row.node, event, row.collected_at)


def _client(row: ClientRow) -> Client:
    # Valid when it was written; a telephone plan that changed since must not hide the client.
    return Client.model_construct(**row.details)


def _mail(row: MailRow) -> Mail:
    return Mail(**{name: getattr(row, name) for name in Mail.__dataclass_fields__})
