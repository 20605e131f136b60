"""How the ledger's database is opened: SQLite by default, PostgreSQL by its URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from hoster.errors import ConfigurationError, ExitCode, HosterError

if TYPE_CHECKING:
    from alembic.config import Config

BUSY_MILLISECONDS = 30_000
READS_ONLY = "hoster_reads_only"
"""Execution option of a transaction that writes nothing: it waits for no writer."""
_WRITERS_LOCK = 0x686F73746572
"""The advisory lock that PostgreSQL's writers hold: «hoster», spelt as a number."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_KINDS = "Use sqlite:///PATH or postgresql://USER@HOST/DATABASE."


class LedgerUnreachableError(HosterError):
    """The database that holds the ledger cannot be opened."""

    exit_code = ExitCode.RESOURCE


def open_engine(url: str) -> Engine:
    """Return an engine for *url*; a SQLite file is made private to its owner.

    Raises:
        ConfigurationError: the URL names neither a SQLite file nor PostgreSQL.
    """
    try:
        target = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("HOSTER_LEDGER is not a database's URL", remedy=_KINDS) from error
    if target.get_backend_name() == "sqlite":
        if target.database in {None, "", ":memory:"}:
            raise ConfigurationError("HOSTER_LEDGER names no file", remedy=_KINDS)
        _private_file(Path(str(target.database)))
        engine = create_engine(target)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    if target.get_backend_name() == "postgresql":
        engine = create_engine(target.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
        event.listen(engine, "begin", _lock_out_writers)
        return engine
    raise ConfigurationError(
        f"HOSTER_LEDGER names a database of the kind {target.get_backend_name()}",
        remedy=_KINDS,
    )


def migrate(engine: Engine) -> None:
    """Bring the schema up to date; a schema that is so already costs one query, and no Alembic.

    Two that open a new ledger at once do it in turn.

    Raises:
        LedgerUnreachableError: nobody can be reached at the URL, or the file cannot be written.
        ConfigurationError: a newer release of the toolkit wrote this ledger.
    """
    if _is_current(engine):
        return
    from alembic import command
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = _configuration()
    releases = ScriptDirectory.from_config(config)
    known = {release.revision for release in releases.walk_revisions()}
    try:
        with engine.begin() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            if current is not None and current not in known:
                raise ConfigurationError(
                    f"the ledger's schema is {current}, newer than this release of hoster knows",
                    remedy="Update hoster on this machine.",
                )
            if current != releases.get_current_head():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except DBAPIError as error:
        place = engine.url.render_as_string(hide_password=True)
        raise LedgerUnreachableError(
            f"the ledger {place} cannot be opened: {error.orig}",
            remedy="See that the database is there and takes this user, or name another one: "
            "HOSTER_LEDGER.",
        ) from error


def newest() -> str:
    """Return the newest revision of the schema that this release knows: its files are numbered."""
    return max(file.name for file in _MIGRATIONS.glob("versions/[0-9]*.py")).partition("_")[0]


def _is_current(engine: Engine) -> bool:
    reader = engine.execution_options(**{READS_ONLY: True})
    try:
        with reader.begin() as connection:
            rows = connection.exec_driver_sql("SELECT version_num FROM alembic_version")
            return rows.scalar() == newest()
    except DBAPIError:
        return False  # a new ledger has no such table; what else is wrong shows next


def forget(engine: Engine) -> None:
    """Overwrite what was deleted: SQLite keeps old pages in its write-ahead log until then."""
    if engine.dialect.name == "sqlite":
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()


def _configuration() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _private_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # Transactions are begun by `_begin_immediate`, not by the driver.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_MILLISECONDS}",
        "journal_mode = WAL",
        "foreign_keys = ON",
        "secure_delete = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Any) -> None:
    # A writer that begins as a reader may find the database changed under it, and fail.
    reads_only = connection.get_execution_options().get(READS_ONLY)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


def _lock_out_writers(connection: Any) -> None:
    # As SQLite does it: what a writer looked up stays true until it commits.
    if not connection.get_execution_options().get(READS_ONLY):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")
