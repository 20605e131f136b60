"""The ledger, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, Table, create_engine, inspect, make_url, select, text
from sqlalchemy.exc import DBAPIError

from hoster.clients.contact import Client, client_of
from hoster.errors import ConfigurationError, ExitCode, RuleError
from hoster.ledger import FAILED, QUEUED, SENT, Ledger, actor
from hoster.ledger._engine import LedgerUnreachableError, _configuration, open_engine
from hoster.ledger.tables import Base, Instant

LEASE = timedelta(minutes=5)
WEB = IPv4Address("203.0.113.17")
VALUES = {"vps": "acme/web", "ipv4": str(WEB)}
BEGUN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def engine_of(url: str) -> Engine:
    """Look at the database past the ledger."""
    target = make_url(url)
    sqlite = target.get_backend_name() == "sqlite"
    return create_engine(target if sqlite else target.set(drivername="postgresql+psycopg"))


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


def events(url: str) -> list[tuple[str, str]]:
    engine = engine_of(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT kind, subject FROM event ORDER BY id")).all()
    engine.dispose()
    return [(row.kind, row.subject) for row in rows]


def side_by_side(script: str, arguments: list[list[str]]) -> list[str]:
    """Run *script* once for each of *arguments*, all at the same time; return what they print."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, *each],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in arguments
    ]
    done = [(*process.communicate(timeout=120), process.returncode) for process in running]
    assert [("", 0)] * len(arguments) == [(error, code) for _, error, code in done]
    return [output for output, _, _ in done]


@pytest.fixture
def ordered(ledger: Ledger, now: datetime) -> Ledger:
    """A ledger with one order, not delivered."""
    ledger.begin_order("acme/web", WEB, user="debian", now=now)
    return ledger


@pytest.fixture
def delivered(ordered: Ledger, now: datetime) -> Ledger:
    """A ledger with one delivery, whose mail waits."""
    ordered.deliver("acme/web", VALUES, now)
    return ordered


# --- the database ---


def test_the_migrations_make_just_the_tables_that_the_code_knows(new_url: str) -> None:
    make(new_url)
    engine = engine_of(new_url)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, Base.metadata)
        assert {*Base.metadata.tables, "alembic_version"} == set(
            inspect(connection).get_table_names()
        )
    engine.dispose()


def test_constraints_have_names_that_a_migration_can_find(new_url: str) -> None:
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
        ledger.add_client(ada, now)
    with Ledger.open(new_url) as ledger:
        assert [ada] == ledger.clients()


def test_a_ledger_of_a_newer_release_is_left_alone(ledger_url: str) -> None:
    make(ledger_url)
    engine = engine_of(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(ConfigurationError, match="9999, newer than this release"):
        Ledger.open(ledger_url)


def test_two_that_open_a_new_ledger_at_once_both_can(new_url: str) -> None:
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
        ledger.add_client(ada, now)
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
    with ledger._transaction() as session:
        session.execute(text("UPDATE client SET created_at = created_at"))
        assert ["acme"] == [client.name for client in ledger.clients()]


# --- times ---


def test_a_time_without_a_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="a time without a zone"):
        ledger.release_address(WEB, vps="acme/web", now=datetime(2026, 3, 1))  # noqa: DTZ001


def test_a_time_comes_back_in_utc_and_is_the_same_instant(ledger: Ledger) -> None:
    paris = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    ledger.release_address(WEB, vps="acme/web", now=paris)

    [came_back] = ledger.released_addresses().values()
    assert (paris, UTC) == (came_back, came_back.tzinfo)


def test_no_time_stays_no_time() -> None:
    assert Instant().process_bind_param(None, None) is None
    assert Instant().process_result_value(None, None) is None


# --- clients ---


def test_a_client_comes_back_as_it_was_given(ledger: Ledger, ada: Client) -> None:
    assert ada == ledger.client("acme")


def test_a_client_that_is_not_there_is_told_with_near_names(ledger: Ledger) -> None:
    with pytest.raises(ConfigurationError, match=r"no client acne; did you mean acme\?"):
        ledger.client("acne")


def test_a_client_is_added_once(
    ledger: Ledger, ledger_url: str, ada: Client, now: datetime
) -> None:
    assert ledger.add_client(ada, now) is False
    assert [("client-added", "acme")] == events(ledger_url)


def test_a_client_is_not_overwritten_by_adding(
    ledger: Ledger, details: dict[str, Any], ada: Client, now: datetime
) -> None:
    with pytest.raises(RuleError, match="hoster client edit acme"):
        ledger.add_client(client_of(details | {"city": "Roubaix"}), now)

    assert ada == ledger.client("acme")


def test_an_edit_tells_what_changed_and_notes_no_personal_data(
    ledger: Ledger, ledger_url: str, details: dict[str, Any], now: datetime
) -> None:
    changed = ledger.edit_client(client_of(details | {"city": "Roubaix"}), now)

    assert ["city"] == changed
    assert "Roubaix" == ledger.client("acme").city
    engine = engine_of(ledger_url)
    with engine.connect() as connection:
        noted = connection.execute(text("SELECT kind, actor, details FROM event ORDER BY id")).all()
    engine.dispose()
    last = noted[-1]
    found = json.loads(last.details) if isinstance(last.details, str) else last.details
    assert ("client-edited", actor(), {"fields": ["city"]}) == (last.kind, last.actor, found)


def test_an_edit_that_changes_nothing_is_no_event(
    ledger: Ledger, ledger_url: str, ada: Client, now: datetime
) -> None:
    assert [] == ledger.edit_client(ada, now)
    assert [("client-added", "acme")] == events(ledger_url)


def test_an_edit_of_nobody_is_refused(
    ledger: Ledger, details: dict[str, Any], now: datetime
) -> None:
    with pytest.raises(ConfigurationError, match="no client nobody"):
        ledger.edit_client(client_of(details | {"name": "nobody"}), now)


def test_a_stored_client_outlives_a_change_of_what_is_valid(
    ledger: Ledger, ledger_url: str, ada: Client
) -> None:
    # As if the telephone plan had changed since.
    stored = json.dumps(ada.model_dump() | {"phone": "+3312"})
    engine = engine_of(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE client SET details = :it"), {"it": stored})
    engine.dispose()

    assert "+3312" == ledger.client("acme").phone


# --- events ---


@pytest.mark.parametrize("change", ["UPDATE event SET actor = 'eve'", "DELETE FROM event"])
def test_an_event_is_never_changed(ledger: Ledger, ledger_url: str, change: str) -> None:
    engine = engine_of(ledger_url)

    with pytest.raises(DBAPIError, match="an event is never changed"), engine.begin() as connection:
        connection.execute(text(change))

    engine.dispose()
    assert [("client-added", "acme")] == events(ledger_url)


def test_the_author_is_who_stands_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")

    assert "ada" == actor()


# --- orders ---


def test_an_order_that_is_begun_again_gets_the_same_codes(
    ledger: Ledger, ledger_url: str, now: datetime
) -> None:
    first = ledger.begin_order("acme/web", WEB, user="debian", now=now)
    again = ledger.begin_order("acme/web", WEB, user="debian", now=now + timedelta(days=1))

    assert first == again
    assert [("client-added", "acme"), ("order-begun", "acme/web")] == events(ledger_url)


def test_two_orders_have_two_passwords(ledger: Ledger, now: datetime) -> None:
    web = ledger.begin_order("acme/web", WEB, user="debian", now=now)
    mail = ledger.begin_order("acme/mail", WEB + 1, user="debian", now=now)

    assert web.password != mail.password


def test_a_delivered_vps_is_not_ordered_again(delivered: Ledger, now: datetime) -> None:
    with pytest.raises(RuleError, match="acme/web was delivered before, on 2026-03-01"):
        delivered.begin_order("acme/web", WEB, user="debian", now=now)


ORDERS = """
import sys
from datetime import UTC, datetime
from ipaddress import IPv4Address
from hoster.ledger import Ledger

url, *names = sys.argv[1:]
with Ledger.open(url) as ledger:
    for name in names:
        codes = ledger.begin_order(
            name, IPv4Address("203.0.113.17"), user="debian", now=datetime.now(UTC)
        )
        print(codes.vps, codes.password_hash)
"""


def test_twenty_orders_by_four_at_once_are_all_kept(ledger: Ledger, ledger_url: str) -> None:
    names = [[f"acme/vps-{which}-{number}" for number in range(5)] for which in range(4)]

    said = side_by_side(ORDERS, [[ledger_url, *mine] for mine in names])

    assert 20 == len({line.split()[1] for output in said for line in output.splitlines()})
    begun = [subject for kind, subject in events(ledger_url) if kind == "order-begun"]
    assert sorted(name for mine in names for name in mine) == sorted(begun)


def test_one_order_by_two_at_once_has_one_password(ledger: Ledger, ledger_url: str) -> None:
    said = side_by_side(ORDERS, [[ledger_url, "acme/web"]] * 2)

    assert 1 == len(set(said))
    assert 1 == [kind for kind, _ in events(ledger_url)].count("order-begun")


def test_a_released_address_is_remembered_from_its_last_release(
    ledger: Ledger, now: datetime
) -> None:
    later = now + timedelta(days=40)
    ledger.release_address(WEB, vps="acme/web", now=now)
    ledger.release_address(WEB, vps="beta/web", now=later)
    ledger.release_address(WEB + 1, vps="acme/mail", now=now)

    assert {WEB: later, WEB + 1: now} == ledger.released_addresses()


def test_an_ordered_address_is_held_until_it_is_given_back(ledger: Ledger, now: datetime) -> None:
    """C4.3: also when its VPS has vanished from the declarations."""
    ledger.begin_order("acme/web", WEB, user="debian", now=now)
    assert {WEB} == ledger.held_addresses(besides="acme/mail")
    assert set() == ledger.held_addresses(besides="acme/web")

    ledger.release_address(WEB, vps="acme/web", now=now)
    assert set() == ledger.held_addresses(besides="acme/mail")


# --- delivery ---


def test_a_delivery_queues_one_mail_and_notes_one_event(
    ordered: Ledger, ledger_url: str, now: datetime
) -> None:
    assert ordered.deliver("acme/web", VALUES, now) is True
    assert ordered.deliver("acme/web", VALUES, now) is False

    [mail] = ordered.mails()
    assert ("delivery:acme/web", QUEUED, "acme", now) == (
        mail.occasion,
        mail.state,
        mail.client,
        mail.next_attempt_at,
    )
    assert 1 == events(ledger_url).count(("delivered", "acme/web"))


def test_a_vps_that_nobody_ordered_is_not_delivered(ledger: Ledger, now: datetime) -> None:
    with pytest.raises(RuleError, match="acme/web was not ordered here"):
        ledger.deliver("acme/web", VALUES, now)

    assert [] == ledger.mails()


def test_a_delivery_that_fails_midway_leaves_neither_mail_nor_record(
    ledger: Ledger, ledger_url: str, now: datetime
) -> None:
    ledger.begin_order("stranger/web", WEB, user="debian", now=now)

    # The mail's client is none: the database refuses the mail after the record was made.
    with pytest.raises(DBAPIError):
        ledger.deliver("stranger/web", VALUES, now)

    assert [] == ledger.mails()
    assert ("delivered", "stranger/web") not in events(ledger_url)
    ledger.begin_order("stranger/web", WEB, user="debian", now=now)


DELIVERY = """
import sys
from datetime import UTC, datetime
from hoster.ledger import Ledger

with Ledger.open(sys.argv[1]) as ledger:
    print(ledger.deliver("acme/web", {}, datetime.now(UTC)))
"""


def test_of_two_deliveries_at_once_one_counts(ordered: Ledger, ledger_url: str) -> None:
    said = side_by_side(DELIVERY, [[ledger_url]] * 2)

    assert ["False\n", "True\n"] == sorted(said)
    assert 1 == len(ordered.mails())


# --- outbox ---


def test_a_claimed_mail_is_nobody_elses_until_the_claim_runs_out(
    delivered: Ledger, now: datetime
) -> None:
    first = delivered.claim_mail(now, LEASE)

    assert first is not None
    assert delivered.claim_mail(now + LEASE - timedelta(seconds=1), LEASE) is None
    again = delivered.claim_mail(now + LEASE, LEASE)
    assert again is not None
    assert (1, 2, first.message_id) == (first.attempts, again.attempts, again.message_id)


CLAIM = """
import sys
from datetime import UTC, datetime, timedelta
from hoster.ledger import Ledger

with Ledger.open(sys.argv[1]) as ledger:
    while mail := ledger.claim_mail(datetime.now(UTC), timedelta(minutes=5)):
        print(mail.id)
"""


def test_two_senders_at_once_claim_each_mail_once(
    ledger: Ledger, ledger_url: str, now: datetime
) -> None:
    for number in range(6):
        ledger.begin_order(f"acme/v{number}", WEB + number, user="debian", now=now)
        ledger.deliver(f"acme/v{number}", VALUES, now)

    said = side_by_side(CLAIM, [[ledger_url]] * 2)

    assert sorted(str(mail.id) for mail in ledger.mails()) == sorted("".join(said).split())


def test_a_sent_mail_takes_its_password_along(delivered: Ledger, now: datetime) -> None:
    mail = delivered.claim_mail(now, LEASE)
    assert mail is not None
    assert delivered.codes_of(mail) is not None

    delivered.mail_sent(mail, now)

    assert [(SENT, now)] == [(each.state, each.sent_at) for each in delivered.mails()]
    with pytest.raises(RuleError, match="were sent before"):
        delivered.codes_of(mail)


def test_a_sender_whose_claim_ran_out_brings_no_sent_mail_back(
    delivered: Ledger, now: datetime
) -> None:
    slow = delivered.claim_mail(now, LEASE)
    quick = delivered.claim_mail(now + LEASE, LEASE)
    assert slow is not None
    assert quick is not None
    delivered.mail_sent(quick, now + LEASE)

    delivered.mail_refused(slow, "421 too slow", now + LEASE, again_at=now + LEASE)

    assert [(SENT, None)] == [(each.state, each.last_error) for each in delivered.mails()]
    assert delivered.claim_mail(now + 10 * LEASE, LEASE) is None


def test_a_retry_lets_no_earlier_sender_bring_a_sent_mail_back(
    delivered: Ledger, now: datetime
) -> None:
    slow = delivered.claim_mail(now, LEASE)
    assert slow is not None
    delivered.retry_mail(slow.id, now)  # counts the attempts from the start again
    quick = delivered.claim_mail(now + LEASE, LEASE)
    assert quick is not None
    delivered.mail_sent(quick, now + LEASE)

    delivered.mail_refused(slow, "421 too slow", now + LEASE, again_at=now + LEASE)

    assert SENT == delivered.mails()[0].state


def test_a_sender_whose_claim_ran_out_takes_no_mail_from_the_next(
    delivered: Ledger, now: datetime
) -> None:
    slow = delivered.claim_mail(now, LEASE)
    assert slow is not None
    assert delivered.claim_mail(now + LEASE, LEASE) is not None

    delivered.mail_refused(slow, "421 too slow", now + LEASE, again_at=now + LEASE)

    assert delivered.claim_mail(now + LEASE, LEASE) is None


def test_a_refused_mail_waits_until_it_is_due_again(delivered: Ledger, now: datetime) -> None:
    mail = delivered.claim_mail(now, LEASE)
    assert mail is not None
    due = now + timedelta(minutes=1)

    delivered.mail_refused(mail, "451 later", now, again_at=due)

    assert delivered.claim_mail(due - timedelta(seconds=1), LEASE) is None
    assert delivered.claim_mail(due, LEASE) is not None


def test_a_mail_that_failed_is_tried_again_when_a_person_says_so(
    delivered: Ledger, ledger_url: str, now: datetime
) -> None:
    mail = delivered.claim_mail(now, LEASE)
    assert mail is not None
    delivered.mail_refused(mail, "550 nobody", now, again_at=None)
    assert FAILED == delivered.mails()[0].state
    assert delivered.claim_mail(now + timedelta(days=30), LEASE) is None

    delivered.retry_mail(mail.id, now)

    assert delivered.claim_mail(now, LEASE) is not None
    assert ["mail-failed", "mail-retried"] == [kind for kind, _ in events(ledger_url)][-2:]


def test_a_sent_mail_is_not_sent_again(delivered: Ledger, now: datetime) -> None:
    mail = delivered.claim_mail(now, LEASE)
    assert mail is not None
    delivered.mail_sent(mail, now)

    with pytest.raises(RuleError, match="was sent on 2026-03-01 09:30 UTC"):
        delivered.retry_mail(mail.id, now)


def test_a_mail_that_there_is_not_cannot_be_tried_again(ledger: Ledger, now: datetime) -> None:
    with pytest.raises(ConfigurationError, match="the outbox has no mail 17"):
        ledger.retry_mail(17, now)


# --- secrets ---


def test_a_sent_password_is_in_no_byte_of_the_files(
    tmp_path: Path, ada: Client, now: datetime
) -> None:
    folder = tmp_path / "ledger"

    def held(secret: str) -> list[str]:
        return sorted(
            file.name for file in folder.iterdir() if secret.encode() in file.read_bytes()
        )

    with Ledger.open(f"sqlite:///{folder / 'ledger.sqlite3'}") as ledger:
        ledger.add_client(ada, now)
        secret = ledger.begin_order("acme/web", WEB, user="debian", now=now).password
        # Kept for its mail: without this, the search below would prove nothing.
        assert held(secret)
        ledger.deliver("acme/web", VALUES, now)
        mail = ledger.claim_mail(now, LEASE)
        assert mail is not None

        ledger.mail_sent(mail, now)

        assert [] == held(secret)
    assert [] == held(secret)


def test_a_sent_password_is_in_no_table(delivered: Ledger, ledger_url: str, now: datetime) -> None:
    mail = delivered.claim_mail(now, LEASE)
    assert mail is not None
    codes = delivered.codes_of(mail)
    assert codes is not None

    delivered.mail_sent(mail, now)

    engine = engine_of(ledger_url)
    with engine.connect() as connection:
        rows = [
            str(row)
            for table in Base.metadata.tables.values()
            for row in connection.execute(table.select())
        ]
    engine.dispose()
    assert [] == [row for row in rows if codes.password in row]
    assert 1 == len([row for row in rows if codes.password_hash in row])


COLLECTED = """
import json
import sys
from datetime import UTC, datetime
from hoster.ledger import Ledger
from hoster.node_events import parse

url, node, first, last = sys.argv[1:]
said = {
    "stream": "a" * 32,
    "at": "2026-03-15T10:00:00+00:00",
    "subject": "acme/web",
    "details": {
        "ipv4": "203.0.113.17",
        "timezone": "Europe/Paris",
        "bytes": 8 * 10**12,
        "quota_bytes": 10**13,
        "throttle_mbit_s": 1,
        "cycle_end": "2026-04-01T00:00:00+02:00",
    },
}
with Ledger.open(url) as ledger:
    for end in range(int(first), int(last) + 1):
        page = [
            json.dumps(said | {"number": number, "kind": f"quota-{80 + number % 2}"})
            for number in range(1, end + 1)
        ]
        kept = ledger.keep_node_events(node, parse("\\n".join(page)), datetime.now(UTC))
        print(kept.new, len(kept.mails))
"""


def test_what_two_collect_at_once_is_kept_once_and_mailed_once(
    ledger: Ledger, ledger_url: str
) -> None:
    """C4.9, C4.10: pages that grow while both read them."""
    said = side_by_side(COLLECTED, [[ledger_url, "paris-1", "1", "20"]] * 2)

    counts = [tuple(map(int, line.split())) for output in said for line in output.splitlines()]
    assert (20, 1) == (sum(new for new, _ in counts), sum(mails for _, mails in counts))
    assert list(range(1, 21)) == [one.event.number for one in ledger.node_events()]
    assert ["quota-80"] == [mail.template for mail in ledger.mails()]


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
    new_url: str,
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
        assert [] == ledger.node_events()
        assert ["delivery:acme/web"] == [mail.occasion for mail in ledger.mails()]

    after = content(engine)
    engine.dispose()
    assert set(before) < set(after)
    assert before == {
        table: [{name: row[name] for name in before[table][0]} for row in after[table]]
        for table in before
    }
