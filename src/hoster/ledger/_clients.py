"""The part of the ledger that knows who the clients are (C7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from hoster.clients.contact import Client
from hoster.errors import ConfigurationError, RuleError
from hoster.ledger._session import Subject
from hoster.ledger._trail import note
from hoster.ledger.tables import ClientRow
from hoster.problems import near

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


class Clients(Subject):
    """The clients and their contact details."""

    def add(self, client: Client, now: datetime) -> bool:
        """Keep a new client; False where it is known already, with just these details.

        Raises:
            RuleError: it is known with other details.
        """
        with self._sessions.transaction() as session:
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

    def edit(self, client: Client, now: datetime) -> list[str]:
        """Replace a client's details; return the names of the fields that changed.

        Raises:
            ConfigurationError: there is no such client.
        """
        with self._sessions.transaction() as session:
            row = require_client(session, client.name)
            new = client.model_dump()
            changed = [name for name, value in new.items() if row.details.get(name) != value]
            if changed:
                row.details = new
                note(session, now, "client-edited", client.name, fields=changed)
        return changed

    def named(self, name: str) -> Client:
        """Return a client.

        Raises:
            ConfigurationError: there is none of that name; near names are told.
        """
        with self._sessions.reading() as session:
            return _client(require_client(session, name))

    def all(self) -> list[Client]:
        """Return all clients, by name."""
        with self._sessions.reading() as session:
            rows = session.scalars(select(ClientRow).order_by(ClientRow.name))
            return [_client(row) for row in rows]


def is_known(session: Session, name: str) -> bool:
    """Whether a client is registered under *name*."""
    return session.get(ClientRow, name) is not None


def require_client(session: Session, name: str) -> ClientRow:
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


def _client(row: ClientRow) -> Client:
    # Valid when it was written; a telephone plan that changed since must not hide the client.
    return Client.model_construct(**row.details)
