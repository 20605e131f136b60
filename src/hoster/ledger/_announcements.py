"""The part of the ledger that knows what clients were told beforehand (C7.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hoster.clients.announcements import Announcement, Concerned, Kind, by_client
from hoster.errors import ConfigurationError
from hoster.ledger._clients import is_known
from hoster.ledger._outbox import tell
from hoster.ledger._session import Subject
from hoster.ledger._trail import actor, note
from hoster.ledger.tables import AnnouncementRow, ConcernedRow
from hoster.wire.names import client_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Told:
    """An announcement, the clients whose mail was queued now, and those that nobody knows."""

    announcement: Announcement
    clients: tuple[str, ...]
    unknown: tuple[str, ...]


class Announcements(Subject):
    """Announcements: made once, reminded of once a day, settled VPS by VPS."""

    def announce(
        self,
        kind: Kind,
        about: str,
        vpss: Sequence[str],
        now: datetime,
        *,
        at: datetime,
        until: datetime | None = None,
        what: str = "",
        timezone: str,
    ) -> Told:
        """Announce something to the clients of *vpss*, a mail each.

        What is announced already is told only to those who came since.
        """
        with self._sessions.transaction() as session:
            row = _find(session, kind, about, at) or _add(
                session,
                AnnouncementRow(
                    kind=kind.value,
                    about=about,
                    what=what,
                    at=at,
                    until=until,
                    announced_at=now,
                    author=actor(),
                ),
            )
            before = {each.vps for each in _concerned(session, row.id)}
            new = [vps for vps in vpss if vps not in before]
            session.add_all(ConcernedRow(announcement=row.id, vps=vps, reminders=0) for vps in new)
            session.flush()
            occasion = f"announcement:{row.id}:{len(before)}"
            return _tell(session, row, new, occasion, now, template=row.kind, timezone=timezone)

    def remind(self, number: int, now: datetime, *, today: date, timezone: str) -> Told:
        """Remind the clients whose VPSs have not done what an update asks; each once a day.

        A client that was reminded *today* hears of a VPS that came since on another day.

        Raises:
            ConfigurationError: there is no such announcement, or it asks nothing of clients.
        """
        with self._sessions.transaction() as session:
            row = _update(session, number)
            due = _due(_concerned(session, number), today.isoformat())
            for each in due:
                each.reminders += 1
                each.reminded_on = today.isoformat()
            session.flush()
            occasion = f"announcement:{number}:{today.isoformat()}"
            names = [each.vps for each in due]
            template = "update-reminder"
            return _tell(session, row, names, occasion, now, template=template, timezone=timezone)

    def settle(self, number: int, vpss: Iterable[str], now: datetime) -> list[str]:
        """Note that VPSs have done what an update asks; return those for which that is new.

        Raises:
            ConfigurationError: there is no such announcement, or it does not concern one of them.
        """
        with self._sessions.transaction() as session:
            _update(session, number)
            rows = {each.vps: each for each in _concerned(session, number)}
            new = []
            for vps in vpss:
                if vps not in rows:
                    raise ConfigurationError(f"announcement {number} does not concern {vps}")
                if rows[vps].settled_at is None:
                    rows[vps].settled_at = now
                    note(session, now, "update-settled", vps, announcement=number)
                    new.append(vps)
            return new

    def all(self) -> list[Announcement]:
        """Return every announcement with whom it concerns, oldest first."""
        with self._sessions.reading() as session:
            rows = session.scalars(select(AnnouncementRow).order_by(AnnouncementRow.id)).all()
            return [_announcement(session, row) for row in rows]


def _find(session: Session, kind: Kind, about: str, at: datetime) -> AnnouncementRow | None:
    known = select(AnnouncementRow).where(
        AnnouncementRow.kind == kind.value,
        AnnouncementRow.about == about,
        AnnouncementRow.at == at,
    )
    return session.scalars(known).one_or_none()


def _add(session: Session, row: AnnouncementRow) -> AnnouncementRow:
    session.add(row)
    session.flush()
    note(session, row.announced_at, "announced", row.about, announcement=row.id, kind=row.kind)
    return row


def _update(session: Session, number: int) -> AnnouncementRow:
    row = session.get(AnnouncementRow, number)
    if row is None or row.kind != Kind.UPDATE.value:
        raise ConfigurationError(
            f"no update was announced under the number {number}", remedy="hoster announce"
        )
    return row


def _concerned(session: Session, number: int) -> list[ConcernedRow]:
    wanted = select(ConcernedRow).where(ConcernedRow.announcement == number)
    return list(session.scalars(wanted.order_by(ConcernedRow.vps)))


def _due(concerned: list[ConcernedRow], today: str) -> list[ConcernedRow]:
    heard = {client_of(each.vps) for each in concerned if each.reminded_on == today}
    return [each for each in concerned if not each.settled_at and client_of(each.vps) not in heard]


def _announcement(session: Session, row: AnnouncementRow) -> Announcement:
    return Announcement(
        id=row.id,
        kind=Kind(row.kind),
        about=row.about,
        what=row.what,
        at=row.at,
        until=row.until,
        announced_at=row.announced_at,
        author=row.author,
        concerned=tuple(
            Concerned(each.vps, each.reminders, each.settled_at is not None)
            for each in _concerned(session, row.id)
        ),
    )


def _tell(
    session: Session,
    row: AnnouncementRow,
    vpss: Sequence[str],
    occasion: str,
    now: datetime,
    *,
    template: str,
    timezone: str,
) -> Told:
    values: dict[str, Any] = {
        "about": row.about,
        "what": row.what,
        "at": row.at.isoformat(),
        "until": row.until.isoformat() if row.until else None,
        "timezone": timezone,
        "announcement": row.id,
    }
    told, unknown = [], []
    for client, mine in by_client(vpss).items():
        of_client = {"vpss": mine, **values}
        for_client = f"{occasion}:{client}"
        if tell(session, for_client, now, client=client, template=template, values=of_client):
            told.append(client)
        elif not is_known(session, client):
            unknown.append(client)
    return Told(_announcement(session, row), tuple(told), tuple(unknown))
