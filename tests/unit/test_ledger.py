"""The ledger's database, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import ast
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, Table, inspect, select, text

from hoster.clients.contact import Client
from hoster.errors import ConfigurationError, ExitCode
from hoster.ledger import Ledger
from hoster.ledger import tables as tables_face
from hoster.ledger._engine import LedgerUnreachableError, _configuration, open_engine
from hoster.ledger.tables import Base, Instant

EngineOf = Callable[[str], Engine]
SideBySide = Callable[[str, list[list[str]]], list[str]]
WEB = IPv4Address("203.0.113.17")
BEGUN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def make(url: str) -> None:
    """Make an empty ledger."""
    with Ledger.open(url):
        pass


def make_by(revision: str, url: str) -> None:
    """Make an empty ledger as an earlier release did."""
    engine, config = open_engine(url), _configuration()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


# --- the database ---


def test_the_migrations_make_just_the_tables_that_the_code_knows(
    new_url: str, engine_of: EngineOf
) -> None:
    make(new_url)
    engine = engine_of(new_url)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, Base.metadata)
        assert {*Base.metadata.tables, "alembic_version"} == set(
            inspect(connection).get_table_names()
        )
    engine.dispose()


def test_the_face_of_the_tables_hands_on_every_module_of_them() -> None:
    """What it does not import, the migrations do not know."""
    folder = Path(tables_face.__file__).parent
    face = ast.parse((folder / "__init__.py").read_text())
    imported = {node.module for node in ast.walk(face) if isinstance(node, ast.ImportFrom)}

    there = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert there
    assert {f"hoster.ledger.tables.{name}" for name in there} == imported - {"__future__"}


def test_constraints_have_names_that_a_migration_can_find(
    new_url: str, engine_of: EngineOf
) -> None:
    make(new_url)
    engine = engine_of(new_url)

    with engine.connect() as connection:
        looking = inspect(connection)
        assert ["uq_outbox_occasion"] == [
            each["name"] for each in looking.get_unique_constraints("outbox")
        ]
        assert {"fk_outbox_client_client", "fk_outbox_vps_access_code"} == {
            each["name"] for each in looking.get_foreign_keys("outbox")
        }
    engine.dispose()


def test_a_ledger_is_opened_again_with_what_it_held(
    new_url: str, ada: Client, now: datetime
) -> None:
    with Ledger.open(new_url) as ledger:
        ledger.clients.add(ada, now)
    with Ledger.open(new_url) as ledger:
        assert [ada] == ledger.clients.all()


def test_a_ledger_of_a_newer_release_is_left_alone(ledger_url: str, engine_of: EngineOf) -> None:
    make(ledger_url)
    engine = engine_of(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(ConfigurationError, match="9999, newer than this release"):
        Ledger.open(ledger_url)


def test_two_that_open_a_new_ledger_at_once_both_can(
    new_url: str, side_by_side: SideBySide
) -> None:
    script = "import sys; from hoster.ledger import Ledger; Ledger.open(sys.argv[1]).__exit__()"

    assert [""] * 2 == side_by_side(script, [[new_url]] * 2)


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://a/b"])
def test_a_url_that_holds_no_ledger_is_refused_with_those_that_can(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Use sqlite:///PATH or postgresql://"):
        Ledger.open(url)


def test_a_database_out_of_reach_is_told_without_its_password() -> None:
    with pytest.raises(LedgerUnreachableError) as caught:
        Ledger.open("postgresql://ops:the-password@127.0.0.1:1/ledger")

    assert "the-password" not in str(caught.value)
    assert ExitCode.RESOURCE == caught.value.exit_code


def test_a_sqlite_ledger_is_its_owners_alone(tmp_path: Path, ada: Client, now: datetime) -> None:
    file = tmp_path / "new" / "ledger.sqlite3"

    with Ledger.open(f"sqlite:///{file}") as ledger:
        ledger.clients.add(ada, now)
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}

    assert 0o700 == stat.S_IMODE(file.parent.stat().st_mode)
    assert {"ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm"} == set(modes)
    assert {0o600} == set(modes.values())


def test_every_connection_to_sqlite_is_set_up(tmp_path: Path) -> None:
    asked = ("foreign_keys", "journal_mode", "secure_delete", "busy_timeout")

    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    with Ledger.open(url) as ledger, ledger._engine.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {each}").scalar() for each in asked]

    assert [1, "wal", 1, 30_000] == found


def test_a_reader_waits_for_no_writer(ledger: Ledger) -> None:
    with ledger._sessions.transaction() as session:
        session.execute(text("UPDATE client SET created_at = created_at"))
        assert ["acme"] == [client.name for client in ledger.clients.all()]


# --- times ---


def test_a_time_without_a_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="a time without a zone"):
        ledger.addresses.release(WEB, vps="acme/web", now=datetime(2026, 3, 1))  # noqa: DTZ001


def test_a_time_comes_back_in_utc_and_is_the_same_instant(ledger: Ledger) -> None:
    paris = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    ledger.addresses.release(WEB, vps="acme/web", now=paris)

    [came_back] = ledger.addresses.released().values()
    assert (paris, UTC) == (came_back, came_back.tzinfo)


def test_no_time_stays_no_time() -> None:
    assert Instant().process_bind_param(None, None) is None
    assert Instant().process_result_value(None, None) is None


def tables(engine: Engine) -> dict[str, Table]:
    """The tables as they are in the database, whatever the code knows."""
    there = MetaData()
    there.reflect(engine)
    return {name: table for name, table in there.tables.items() if name != "alembic_version"}


def content(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        return {
            name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for name, table in tables(engine).items()
        }


def test_a_ledger_of_the_first_release_is_brought_up_to_date_with_its_rows(
    new_url: str, engine_of: EngineOf
) -> None:
    first: dict[str, dict[str, Any]] = {
        "client": {"name": "acme", "details": {"email": "ada@client.example"}}
        | {"created_at": BEGUN},
        "access_code": {"vps": "acme/web", "ipv4": str(WEB), "login": "debian"}
        | {"password": "secret", "password_hash": "$6$", "ordered_at": BEGUN},
        "released_address": {"ipv4": "203.0.113.18", "vps": "acme/db", "released_at": BEGUN},
        "outbox": {"id": 1, "occasion": "delivery:acme/web", "client": "acme", "attempts": 0}
        | {"template": "delivery", "content": {}, "vps": "acme/web", "message_id": "<1@hoster>"}
        | {"state": "queued", "queued_at": BEGUN, "next_attempt_at": BEGUN},
        "event": {"id": 1, "at": BEGUN, "actor": "ada", "kind": "client-added"}
        | {"subject": "acme", "details": {}},
    }
    make_by("0001", new_url)
    engine = engine_of(new_url)
    with engine.begin() as connection:
        there = tables(engine)
        for name, row in first.items():
            connection.execute(there[name].insert(), row)
    before = content(engine)

    with Ledger.open(new_url) as ledger:
        assert [] == ledger.node_events.latest()
        assert ["delivery:acme/web"] == [mail.occasion for mail in ledger.outbox.mails()]

    after = content(engine)
    engine.dispose()
    assert set(before) < set(after)
    assert before == {
        table: [{name: row[name] for name in before[table][0]} for row in after[table]]
        for table in before
    }
