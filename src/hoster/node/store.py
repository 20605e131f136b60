"""The agent's state: one SQLite file that outlives every crash of the node.

Who changes it holds its write lock from before it looks at the kernel until after it changed it,
so that two acts on one node never mix.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from hoster.node.errors import UnknownVpsError
from hoster.node.kernel.vps_elements import Enforced, Measures
from hoster.wire.errors import NodeError
from hoster.wire.events import EventId, EventKind, NodeEvent
from hoster.wire.measures import BLOCK_PORT, CUT, THROTTLE
from hoster.wire.vps import Vps, shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 1
BUSY_SECONDS = 10
FIRST_CLASS = 16
"""Traffic classes below are the node's own."""
LAST_CLASS = 0xFFFE
KEPT_EVENTS = 100_000
_NOT_ITS_CONTENT = {
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
}
_SCHEMA = """
CREATE TABLE meta (stream TEXT NOT NULL);
CREATE TABLE vps (
    tap TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    facts TEXT NOT NULL,
    class_minor INTEGER NOT NULL UNIQUE,
    running INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    cycle_start TEXT NOT NULL,
    used_bytes INTEGER NOT NULL,
    told_percent INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE measure (
    tap TEXT NOT NULL REFERENCES vps (tap) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL,
    since TEXT NOT NULL,
    PRIMARY KEY (tap, kind, detail)
);
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
);
CREATE TABLE refusal (
    tap TEXT PRIMARY KEY,
    packets INTEGER NOT NULL,
    said_at TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure in force, of a kind of `wire.measures`; *detail* is its name, or its port."""

    kind: str
    detail: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A VPS that was on this node, running or not, and what is known of it."""

    vps: Vps
    class_minor: int
    running: bool
    started_at: datetime
    cycle_start: datetime
    used_bytes: int
    told_percent: int
    measures: tuple[Measure, ...] = ()

    @property
    def enforced(self) -> Enforced:
        """What its elements are made from."""
        kinds = {measure.kind for measure in self.measures}
        blocked = frozenset(
            (protocol, int(port))
            for measure in self.measures
            if measure.kind == BLOCK_PORT
            for port, _, protocol in [measure.detail.partition("/")]
        )
        in_force = Measures(CUT in kinds, THROTTLE in kinds, blocked)
        return Enforced(self.vps, self.class_minor, self.used_bytes, in_force)


class Store:
    """The state in *path*, made where it is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._trouble():
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._log_ahead()
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()

    def _log_ahead(self) -> None:
        # Two that make the file at the same time: SQLite does not wait here by itself.
        patience = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                    raise
                time.sleep(0.01)
            else:
                return

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Say what SQLite reports in a sentence that helps."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise NodeError(f"{self._path}: {error}: {_remedy(error)}") from error

    def _migrate(self) -> None:
        with self.hold():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise NodeError(f"the state is of version {version}: install the newer agent")
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO meta VALUES (?)", (os.urandom(16).hex(),))
                self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the write lock: what is done inside is kept whole, or not at all.

        It is on the disk when this returns, whatever the power does then.
        """
        with self._trouble():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # of itself, SQLite gives up on a full disk
                    self._db.execute("ROLLBACK")
                raise

    def all(self) -> list[Known]:
        """Return every VPS that is known, by tap."""
        return self._known("%")

    def get(self, tap: str) -> Known | None:
        """Return the VPS with that tap, or None."""
        return next(iter(self._known(tap)), None)

    def _known(self, taps: str) -> list[Known]:
        with self._trouble():
            return self._read(taps)

    def _read(self, taps: str) -> list[Known]:
        measures: dict[str, list[Measure]] = {}
        rows = self._db.execute(
            """SELECT tap, kind, detail, reason, since FROM measure
               WHERE tap LIKE ? ORDER BY rowid""",
            (taps,),
        )
        for tap, kind, detail, reason, since in rows:
            measure = Measure(kind, detail, reason, datetime.fromisoformat(since))
            measures.setdefault(tap, []).append(measure)
        rows = self._db.execute(
            """SELECT tap, facts, class_minor, running, started_at, cycle_start, used_bytes,
               told_percent FROM vps WHERE tap LIKE ? ORDER BY tap""",
            (taps,),
        )
        return [
            Known(
                vps=_facts(facts),
                class_minor=minor,
                running=bool(running),
                started_at=datetime.fromisoformat(started),
                cycle_start=datetime.fromisoformat(cycle),
                used_bytes=used,
                told_percent=told,
                measures=tuple(measures.get(tap, ())),
            )
            for tap, facts, minor, running, started, cycle, used, told in rows
        ]

    def find(self, named: str) -> Known:
        """Return the VPS of that name (``client/vps``), address or tap.

        Of several addresses that had the name, the one that runs, or ran last.

        Raises:
            UnknownVpsError: there never was one on this node.
        """
        with self._trouble():
            row = self._db.execute(
                """SELECT tap FROM vps WHERE ? IN (name, tap, json_extract(facts, '$.ipv4'))
                   ORDER BY running DESC, started_at DESC""",
                (named,),
            ).fetchone()
        known = self.get(row[0]) if row else None
        if known is None:
            raise UnknownVpsError(
                f"no VPS {named!r} was ever on this node: `hoster-node status` lists them"
            )
        return known

    def put(self, known: Known) -> None:
        """Keep a VPS and the measures against it as *known* says."""
        tap = known.vps.tap
        self._db.execute(
            """INSERT INTO vps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (tap) DO UPDATE SET name = excluded.name, facts = excluded.facts,
               class_minor = excluded.class_minor, running = excluded.running,
               started_at = excluded.started_at,
               cycle_start = excluded.cycle_start, used_bytes = excluded.used_bytes,
               told_percent = excluded.told_percent""",
            (
                *(tap, known.vps.full_name, _written(known.vps), known.class_minor),
                *(known.running, known.started_at.isoformat(), known.cycle_start.isoformat()),
                *(known.used_bytes, known.told_percent),
            ),
        )
        self._db.execute("DELETE FROM measure WHERE tap = ?", (tap,))
        self._db.executemany(
            "INSERT INTO measure VALUES (?, ?, ?, ?, ?)",
            [(tap, m.kind, m.detail, m.reason, m.since.isoformat()) for m in known.measures],
        )

    def forget(self, tap: str) -> None:
        """Keep nothing of the VPS with that tap: measures, volume and refusals go with it."""
        self._db.execute("DELETE FROM vps WHERE tap = ?", (tap,))
        self._db.execute("DELETE FROM refusal WHERE tap = ?", (tap,))

    def free_class(self) -> int:
        """Return the lowest traffic class that no VPS has."""
        taken = {row[0] for row in self._db.execute("SELECT class_minor FROM vps")}
        free = (minor for minor in range(FIRST_CLASS, LAST_CLASS + 1) if minor not in taken)
        found = next(free, None)
        if found is None:
            raise NodeError(f"{len(taken)} VPSs were on this node: no traffic class is left")
        return found

    def append(self, at: datetime, kind: str, subject: str, **details: Any) -> None:
        """Add an event."""
        self._db.execute(
            "INSERT INTO event (at, kind, subject, details) VALUES (?, ?, ?, ?)",
            (at.astimezone(UTC).isoformat(), kind, subject, json.dumps(details, sort_keys=True)),
        )

    def events(self, after: EventId | int = 0, limit: int = -1) -> list[NodeEvent]:
        """Return the events after that one, oldest first; all where it is of another stream.

        A number above the last event's is of a time that this state does not know: it was
        restored from an older copy. Its events go on above that number, so that none of them
        is taken for one that was collected before, and the first one says so.
        """
        with self._trouble():
            stream = self._db.execute("SELECT stream FROM meta").fetchone()[0]
            if isinstance(after, EventId):
                after = after.number if after.stream == stream else 0
                self._go_on_above(after)
            rows = self._db.execute(
                """SELECT number, at, kind, subject, details FROM event
                   WHERE number > ? ORDER BY number LIMIT ?""",
                (after, limit),
            ).fetchall()
        return [
            NodeEvent(
                stream, number, datetime.fromisoformat(at), kind, subject, json.loads(details)
            )
            for number, at, kind, subject, details in rows
        ]

    def _go_on_above(self, number: int) -> None:
        last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'"
        if self._db.execute(last).fetchone()[0] >= number:
            return
        with self.hold():
            known = self._db.execute(last).fetchone()[0]
            if known >= number:
                return  # somebody else asked, too, and it has been said
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'event'")
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('event', ?)", (number,))
            details = {"known": known, "collected": number}
            self.append(datetime.now(UTC), EventKind.STATE_SET_BACK, "", **details)

    def prune(self) -> None:
        """Forget the oldest events beyond `KEPT_EVENTS`."""
        self._db.execute(
            "DELETE FROM event WHERE number <= (SELECT max(number) FROM event) - ?", (KEPT_EVENTS,)
        )

    def refusals(self) -> dict[str, tuple[int, datetime]]:
        """Return by tap how many refused packets were said, and when."""
        rows = self._db.execute("SELECT tap, packets, said_at FROM refusal")
        return {tap: (packets, datetime.fromisoformat(at)) for tap, packets, at in rows}

    def keep_refusal(self, tap: str, packets: int, said_at: datetime) -> None:
        """Keep that so many packets of a tap were refused, and that it was said."""
        self._db.execute(
            "INSERT OR REPLACE INTO refusal VALUES (?, ?, ?)", (tap, packets, said_at.isoformat())
        )


def _remedy(error: sqlite3.Error) -> str:
    if _code(error) == sqlite3.SQLITE_BUSY:
        return f"another act has held it for {BUSY_SECONDS} s: try again"
    if _code(error) in _NOT_ITS_CONTENT:
        return "only root may open it, and its disk must have room"
    return (
        "restore it from a copy, or move it away: the VPSs' volumes of this cycle and the measures "
        "against them are in it"
    )


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # above it is which kind of it


def _written(vps: Vps) -> str:
    return json.dumps(asdict(vps), default=str, sort_keys=True)


def _facts(written: str) -> Vps:
    fields = json.loads(written)
    fields["ipv4"] = IPv4Address(fields["ipv4"])
    if fields.get("gateway") is not None:
        fields["gateway"] = IPv4Address(fields["gateway"])
    fields["anchor"] = date.fromisoformat(fields["anchor"])
    return shared(Vps(**fields))
