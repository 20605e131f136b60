"""What every part of the ledger adds: a mail to the outbox, an entry to the audit trail."""

from __future__ import annotations

import getpass
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from hoster.errors import ConfigurationError
from hoster.ledger import audit
from hoster.ledger._engine import READS_ONLY, migrate, open_engine
from hoster.ledger.tables import ClientRow, EventRow, MailRow
from hoster.problems import near

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Engine

QUEUED, SENT, FAILED = "queued", "sent", "failed"


class Sessions:
    """One open ledger; every method of its kinds is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{READS_ONLY: True})
        self._together: Session | None = None

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger at a SQLAlchemy *url*, made and brought up to date where needed.

        Raises:
            ConfigurationError: the URL names no database that the ledger can live in.
            LedgerUnreachableError: it cannot be opened.
        """
        engine = open_engine(url)
        migrate(engine)
        return cls(engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    @contextmanager
    def together(self, *, dry_run: bool = False) -> Iterator[None]:
        """Make one transaction of all that is done inside; a *dry_run* keeps nothing of it."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            self._together = session
            try:
                yield
            finally:
                self._together = None
            if dry_run:
                session.rollback()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        if self._together is not None:
            yield self._together
            return
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session


def actor() -> str:
    """Return who is at the keyboard, for the audit trail."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def queue(
    session: Session,
    occasion: str,
    now: datetime,
    *,
    client: str,
    template: str,
    values: dict[str, Any],
    vps: str | None = None,
) -> None:
    """Queue a mail, once for each *occasion*; *vps* names whose access codes go with it."""
    session.add(
        MailRow(
            occasion=occasion,
            client=client,
            template=template,
            values=values,
            vps=vps,
            message_id=f"<{uuid.uuid4()}@hoster>",
            state=QUEUED,
            attempts=0,
            queued_at=now,
            next_attempt_at=now,
        )
    )


def client_row(session: Session, name: str) -> ClientRow:
    """Return a client.

    Raises:
        ConfigurationError: there is none of that name; near names are told.
    """
    row = session.get(ClientRow, name)
    if row is None:
        known = session.scalars(select(ClientRow.name)).all()
        raise ConfigurationError(
            f"no client {name}{near(name, known)}",
            remedy=f"Register it: hoster client add {name} --help",
        )
    return row


def note(session: Session, now: datetime, kind: str, subject: str, /, **details: Any) -> None:
    """Add an entry to the audit trail, chained to the one before it."""
    last = select(EventRow.digest).order_by(EventRow.id.desc()).limit(1)
    previous = session.scalar(last) or audit.START
    who = actor()
    digest = audit.digest(previous, now, actor=who, kind=kind, subject=subject, details=details)
    session.add(
        EventRow(at=now, actor=who, kind=kind, subject=subject, details=details, digest=digest)
    )
