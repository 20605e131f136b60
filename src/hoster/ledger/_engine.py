"""How the ledger's database is opened: SQLite by default, PostgreSQL by its URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, make_url

from hoster.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

BUSY_MILLISECONDS = 30_000


def open_engine(url: str) -> Engine:
    """Return an engine for *url*; a SQLite file is made private to its owner.

    Raises:
        ConfigurationError: the URL names neither SQLite nor PostgreSQL.
    """
    target = make_url(url)
    if target.get_backend_name() == "sqlite":
        _private_file(Path(target.database or ""))
        engine = create_engine(target)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    if target.get_backend_name() == "postgresql":
        return create_engine(target.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    raise ConfigurationError(
        f"HOSTER_LEDGER names a database of the kind {target.get_backend_name()}",
        remedy="Use sqlite:///PATH or postgresql://USER@HOST/DATABASE.",
    )


def migrate(engine: Engine) -> None:
    """Bring the schema up to date; a schema that is so already costs one query."""
    from alembic import command
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = _configuration()
    with engine.begin() as connection:
        newest = ScriptDirectory.from_config(config).get_current_head()
        if MigrationContext.configure(connection).get_current_revision() != newest:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


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
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
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
    connection.exec_driver_sql("BEGIN IMMEDIATE")
