"""The part of the ledger that keeps what the host nodes tell (C4.9, C4.10)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from hoster.clients.notices import Collected, notice
from hoster.ledger._clients import is_known
from hoster.ledger._outbox import tell
from hoster.ledger._session import Subject
from hoster.ledger.tables import NodeEventRow
from hoster.wire.events import NodeEvent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class KeptEvent:
    """An event, the host node that told it, and when it was collected."""

    node: str
    event: NodeEvent
    collected_at: datetime


class NodeEvents(Subject):
    """The host nodes' events: each kept once, in the order of its stream."""

    def last(self, nodes: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Return of each of *nodes* the last event that was kept: its stream and number."""
        row = NodeEventRow
        with self._sessions.reading() as session:
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

    def last_number(self, stream: str) -> int:
        """Return the number of the last event of *stream* that was kept, whoever told it; or 0."""
        with self._sessions.reading() as session:
            return _last_number(session, stream)

    def keep(self, node: str, events: Sequence[NodeEvent], now: datetime) -> Collected:
        """Keep what *node* told and queue the clients' mails for it, together and once.

        *events* are of one stream, oldest first. Those that were kept before are passed over, so
        that two who collect at the same time do no harm.
        """
        if not events:
            return Collected(0, (), (), 0)
        with self._sessions.transaction() as session:
            last = _last_number(session, events[0].stream)
            new = [event for event in events if event.number > last]
            mails, unknown = _tell(session, new, now)
            session.add_all(
                NodeEventRow(node=node, collected_at=now, **asdict(event)) for event in new
            )
        gap = events[0].number - last - 1
        return Collected(len(new), tuple(mails), tuple(sorted(unknown)), max(gap, 0))

    def latest(
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
        with self._sessions.reading() as session:
            found = session.scalars(wanted).all()
            return [_kept(each) for each in reversed(found)]


def _last_number(session: Session, stream: str) -> int:
    of_it = select(func.max(NodeEventRow.number)).where(NodeEventRow.stream == stream)
    return session.scalar(of_it) or 0


def _tell(
    session: Session, events: Iterable[NodeEvent], now: datetime
) -> tuple[list[str], set[str]]:
    """Queue the mails that *events* ask for; return their occasions, and clients unknown here."""
    queued: list[str] = []
    unknown: set[str] = set()
    for wanted in filter(None, map(notice, events)):
        if not is_known(session, wanted.client):
            unknown.add(wanted.client)
        elif tell(
            session,
            wanted.occasion,
            now,
            client=wanted.client,
            template=wanted.template,
            values=wanted.values,
        ):
            queued.append(wanted.occasion)
    return queued, unknown


def _kept(row: NodeEventRow) -> KeptEvent:
    return KeptEvent(row.node, row.as_value(NodeEvent), row.collected_at)
