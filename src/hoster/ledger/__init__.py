"""The ledger: who the clients are, what was ordered and delivered, which mails are due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from hoster.ledger._addresses import Addresses
from hoster.ledger._announcements import Announcements, Told
from hoster.ledger._clients import Clients
from hoster.ledger._engine import migrate, open_engine
from hoster.ledger._incidents import Incidents
from hoster.ledger._measures import Confirmed, Measures, Wanted
from hoster.ledger._node_events import KeptEvent, NodeEvents
from hoster.ledger._orders import Orders
from hoster.ledger._outbox import FAILED, QUEUED, SENT, Mail, Outbox
from hoster.ledger._proofs import Proofs
from hoster.ledger._reinstalls import Reinstalls
from hoster.ledger._session import Sessions
from hoster.ledger._terminations import Terminations
from hoster.ledger._trail import Trail, actor

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
]

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Engine


class Ledger:
    """One open ledger: a field a subject, whose every method is one transaction.

    `together` makes one transaction of several. Times are passed in, aware.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sessions = sessions = Sessions(engine)
        self.addresses = Addresses(sessions)
        self.announcements = Announcements(sessions)
        self.clients = Clients(sessions)
        self.incidents = Incidents(sessions)
        self.measures = Measures(sessions)
        self.node_events = NodeEvents(sessions)
        self.orders = Orders(sessions)
        self.outbox = Outbox(sessions)
        self.proofs = Proofs(sessions)
        self.reinstalls = Reinstalls(sessions)
        self.terminations = Terminations(sessions)
        self.trail = Trail(sessions)

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

    def together(self, *, dry_run: bool = False) -> AbstractContextManager[None]:
        """Make one unit of work of all that is done inside: all of it is kept, or nothing.

        What is read inside sees what was written inside. A *dry_run* keeps nothing; one in another,
        or around it, makes a dry run of the whole.
        """
        return self._sessions.together(dry_run=dry_run)
