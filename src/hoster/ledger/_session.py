"""Transactions of the ledger, and the unit of work that makes one of several."""

from __future__ import annotations

from contextlib import contextmanager
from threading import local
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from hoster.ledger._engine import READS_ONLY, forget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


class _UnitOfWork(local):
    """What is under way in a thread; other threads see only what was kept."""

    session: Session | None = None
    is_dry = False
    forgets = False


class Sessions:
    """The transactions of one open ledger; all its subjects have the same ones."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{READS_ONLY: True})
        self._unit = _UnitOfWork()

    @contextmanager
    def together(self, *, dry_run: bool = False) -> Iterator[None]:
        """Make one unit of work of all that this thread does inside; what it reads is in it, too.

        One inside another joins it. A *dry_run* at any depth makes one of the whole: it is undone
        at the outermost end, and until then it is there to be read. An error that leaves a unit
        undoes it, also where somebody outside catches it and goes on.
        """
        unit = self._unit
        if unit.session is not None:
            unit.is_dry = unit.is_dry or dry_run
            with unit.session.begin_nested():
                yield
            return
        with self._begun() as session:
            unit.session, unit.is_dry, unit.forgets = session, dry_run, False
            try:
                yield
            finally:
                unit.session = None
            if unit.is_dry:
                session.rollback()
        if unit.forgets:
            self.forget()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Write: a transaction of its own, or a part of the unit of work that is under way."""
        if self._unit.session is None:
            with self._begun() as session:
                yield session
        else:
            with self._unit.session.begin_nested():
                yield self._unit.session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Read what is kept, waiting for no writer; in a unit of work, what that wrote as well."""
        if self._unit.session is None:
            with Session(self._reader, expire_on_commit=False) as session, session.begin():
                yield session
        else:
            yield self._unit.session

    def forget(self) -> None:
        """Overwrite what was deleted, as soon as its deletion is kept (C4.2)."""
        if self._unit.session is None:
            forget(self._engine)
        else:
            self._unit.forgets = True

    @contextmanager
    def _begun(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session


class Subject:
    """One subject of the ledger, on the transactions that all of them share."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
