"""The state of a node outlives its agent: whole, or as it was before (C4.9, C4.11)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoster.node import store as module
from hoster.node.cli import main
from hoster.node.errors import UnknownVpsError
from hoster.node.kernel.vps_elements import Measures
from hoster.node.store import FIRST_CLASS, VERSION, EventId, Known, Measure, Store
from hoster.wire.errors import NodeError
from hoster.wire.vps import Vps

if TYPE_CHECKING:
    from pathlib import Path

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REMEDY = "restore it from a copy, or move it away"


def vps(last: int = 17, name: str = "web", **fields: Any) -> Vps:
    usual: dict[str, Any] = {
        "client": "acme",
        "name": name,
        "plan": "kvm-1",
        "ipv4": IPv4Address("203.0.113.0") + last,
        "guaranteed_mbit_s": 100,
        "ceiling_mbit_s": None,
        "throttle_mbit_s": 1,
        "traffic_bytes": 10**13,
        "anchor": date(2026, 1, 31),
        "timezone": "Europe/Paris",
    }
    return Vps(**(usual | fields))


def known(one: Vps, minor: int = FIRST_CLASS, **fields: Any) -> Known:
    cycle = datetime(2026, 2, 27, 23, tzinfo=UTC)
    return replace(Known(one, minor, True, NOW, cycle, 0, 0), **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "node.sqlite"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(path)


def kept(path: Path) -> list[Known]:
    """What another process finds."""
    with closing(Store(path)) as other:
        return other.all()


measures = st.lists(
    st.builds(
        Measure,
        kind=st.sampled_from(["quarantine", "throttle", "block-port"]),
        detail=st.sampled_from(["", "25/tcp", "53/udp"]),
        reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        since=st.datetimes(timezones=st.just(UTC)),
    ),
    max_size=4,
    unique_by=lambda measure: (measure.kind, measure.detail),
)
states = st.builds(
    known,
    st.builds(
        vps,
        name=st.sampled_from(["web", "db"]),
        ceiling_mbit_s=st.none() | st.integers(100, 10**6),
        traffic_bytes=st.none() | st.integers(1, 2**62),
        anchor=st.dates(date(1970, 1, 1), date(2999, 12, 31)),
    ),
    minor=st.integers(FIRST_CLASS, 0xFFFE),
    running=st.booleans(),
    started_at=st.datetimes(timezones=st.just(UTC)),
    cycle_start=st.datetimes(timezones=st.just(UTC)),
    used_bytes=st.integers(0, 2**63 - 1),
    told_percent=st.sampled_from([0, 80, 100]),
    measures=measures.map(tuple),
)


@settings(UNHURRIED, max_examples=40)
@given(st.lists(states, min_size=1, max_size=3))
def test_a_vps_is_read_as_it_was_last_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[Known]
) -> None:
    """C4.9, C4.11: every fact of it, and the measures in the order in which they came."""
    path = tmp_path_factory.mktemp("node") / "node.sqlite"
    with closing(Store(path)) as store, store.hold():
        for each in written:
            store.put(each)

    assert written[-1:] == kept(path)


def test_state_survives_the_process(path: Path) -> None:
    """C4.9, C4.11: what was kept is there for the next one, and so are the events."""
    quarantine = Measure("quarantine", "", "incident 17", NOW)
    web, db = known(vps(), measures=(quarantine,)), known(vps(18, "db"), 17, used_bytes=2**62)
    with closing(Store(path)) as store:
        with store.hold():
            store.put(web)
            store.put(db)
            store.append(NOW, "vps-new", "acme/web", plan="kvm-1")
            store.keep_refusal("vps-cb007111", 7, NOW)
        before = store.events()

    with closing(Store(path)) as store:
        assert [web, db] == store.all()
        assert Measures(quarantined=True) == store.find("acme/web").enforced.measures
        assert before == store.events()
        assert {"vps-cb007111": (7, NOW)} == store.refusals()


def test_a_process_that_dies_inside_an_act_leaves_what_was_before(path: Path, store: Store) -> None:
    """C4.11: nothing of a half act is kept, and its lock dies with it."""
    with store.hold():
        store.put(known(vps()))
    dying = """
import os, sys
from dataclasses import replace
from pathlib import Path
from hoster.node.store import Store
store = Store(Path(sys.argv[1]))
with store.hold():
    store.put(replace(store.all()[0], used_bytes=99, running=False))
    store.append(store.all()[0].started_at, "vps-new", "acme/web")
    os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", dying, str(path)], check=False)

    assert 9 == done.returncode
    assert [known(vps())] == store.all()
    assert [] == store.events()
    with store.hold():
        store.put(known(vps(), used_bytes=1))


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_what_was_before(
    store: Store, interruption: type[BaseException]
) -> None:
    """C4.11: an act is kept whole, or not at all; and the next one is not in its way."""
    with store.hold():
        store.put(known(vps()))

    def break_off() -> None:
        with store.hold():
            store.put(known(vps(), used_bytes=1, running=False))
            store.put(known(vps(18, "db"), 17))
            store.append(NOW, "vps-new", "acme/db")
            raise interruption

    with pytest.raises(interruption):
        break_off()

    assert [known(vps())] == store.all()
    assert [] == store.events()
    with store.hold():
        store.append(NOW, "throttle", "acme/web")
    assert ["throttle"] == [event.kind for event in store.events()]


def test_a_first_opening_that_breaks_off_is_made_up_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half schema."""
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "urandom", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Store(path)

    assert [] == kept(path)


WRITER = """
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from hoster.node.store import Known, Store
store, first = Store(Path(sys.argv[1])), int(sys.argv[2])
shared = store.find("acme/shared")
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + 20):
    with store.hold():
        shared = store.find("acme/shared")
        store.put(replace(shared, used_bytes=shared.used_bytes + 1))
        own = replace(shared.vps, name=f"v{number}", ipv4=IPv4Address("198.51.100.0") + number)
        store.put(replace(shared, vps=own, class_minor=store.free_class()))
        store.append(shared.started_at, "vps-new", own.full_name)
"""


def test_two_processes_do_one_act_after_the_other(path: Path, store: Store) -> None:
    """C4.9: no class is given twice, no addition is lost, no event's number is used again."""
    with store.hold():
        store.put(known(vps(name="shared")))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(100 * number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert "ready\n" == writer.stdout.readline()
    for writer in writers:
        writer.communicate("go\n")
    found = store.all()

    assert [0, 0] == [writer.returncode for writer in writers]
    assert 40 == store.find("acme/shared").used_bytes
    assert set(range(FIRST_CLASS, FIRST_CLASS + 41)) == {one.class_minor for one in found}
    assert list(range(1, 41)) == [event.number for event in store.events()]


def test_many_that_make_the_file_at_once_make_one(tmp_path: Path) -> None:
    """At the first boot, the hook and the timer may be the first alike."""
    failed: list[NodeError] = []
    for number in range(8):
        start, path = Barrier(6), tmp_path / str(number) / "node.sqlite"

        def make(start: Barrier = start, path: Path = path) -> None:
            start.wait()
            try:
                Store(path).close()
            except NodeError as error:
                failed.append(error)

        threads = [Thread(target=make) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [] == failed


def test_a_state_that_is_held_too_long_is_not_called_broken(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever moved it away would lift every measure."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    with closing(Store(path)) as other, store.hold():
        with pytest.raises(NodeError, match="another act has held it") as caught:
            Store(path)
        assert REMEDY not in str(caught.value)
        with pytest.raises(NodeError, match="try again"), other.hold():
            pytest.fail("two hold it")


def test_reading_waits_for_nobody(path: Path, store: Store) -> None:
    """`hoster-node status` answers while an act is at work, with what was before it."""
    with closing(Store(path)) as other, store.hold():
        store.put(known(vps()))
        assert [] == other.all()
        assert [] == other.events()


def broken_header(path: Path) -> None:
    path.write_bytes(b"what is no database" * 1000)


def broken_in_the_middle(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = database.execute("PRAGMA page_size").fetchone()[0]
        [pages] = database.execute("PRAGMA page_count").fetchone()
    data = bytearray(path.read_bytes())
    for page in range(1, pages):  # all but the first, which has the schema
        data[page * size : page * size + 100] = b"\xff" * 100
    path.write_bytes(data)


def somebody_elses(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE recipe (name TEXT)")
        database.execute(f"PRAGMA user_version = {VERSION}")


@pytest.mark.parametrize("breaks", [broken_header, broken_in_the_middle, somebody_elses])
def test_a_broken_state_says_what_to_do_and_is_not_touched(path: Path, breaks: Any) -> None:
    """C4.11: it is never made anew in silence, for that would lift every measure."""
    with closing(Store(path)) as store, store.hold():
        store.put(known(vps()))
    breaks(path)
    before = path.read_bytes()

    with pytest.raises(NodeError) as caught:
        kept(path)
    assert str(caught.value).startswith(str(path))
    assert REMEDY in str(caught.value)
    assert before == path.read_bytes()


def test_a_state_that_cannot_be_opened_is_not_called_broken(tmp_path: Path) -> None:
    """Neither moved away nor restored: there is nothing wrong with it."""
    with pytest.raises(NodeError, match="only root may open it") as caught:
        Store(tmp_path)

    assert REMEDY not in str(caught.value)


def test_the_state_of_a_newer_agent_is_refused_and_not_touched(path: Path) -> None:
    """An older agent would drop what it does not know."""
    Store(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")

    with pytest.raises(NodeError, match=f"version {VERSION + 1}: install the newer agent"):
        Store(path)
    with closing(sqlite3.connect(path)) as database:
        assert VERSION + 1 == database.execute("PRAGMA user_version").fetchone()[0]


def test_events_are_numbered_without_end_and_named_for_all_nodes(
    tmp_path: Path, path: Path, store: Store
) -> None:
    """C4.9: an event's id is its stream and its number; a state that is made anew is another."""
    with store.hold():
        for percent in (80, 100):
            store.append(NOW, f"quota-{percent}", "acme/web", bytes=percent)
    with closing(Store(path)) as other, other.hold():
        other.append(NOW.astimezone(UTC), "throttle", "acme/web")
    events = store.events()

    assert [1, 2, 3] == [event.number for event in events]
    assert [f"{events[0].stream}:{n}" for n in (1, 2, 3)] == [e.as_json()["id"] for e in events]
    assert {"bytes": 80} == events[0].details
    with closing(Store(tmp_path / "another.sqlite")) as anew, anew.hold():
        anew.append(NOW, "throttle", "acme/web")
        assert events[0].stream != anew.events()[0].stream


def test_events_are_handed_out_from_where_one_stopped(store: Store) -> None:
    """C4.9: the control machine asks for what it has not."""
    with store.hold():
        for number in range(1, 11):
            store.append(NOW + timedelta(seconds=number), "throttle", f"acme/v{number}")

    def numbers(*asked: int) -> list[int]:
        return [event.number for event in store.events(*asked)]

    assert list(range(1, 11)) == numbers()
    assert [8, 9, 10] == numbers(7)
    assert [4, 5] == numbers(3, 2)
    assert [] == numbers(10)
    assert [] == numbers(10_000)


def test_what_is_asked_for_by_id_is_of_that_stream(store: Store) -> None:
    """C4.9: of a state that was made anew since, everything is new."""
    with store.hold():
        for _ in range(4):
            store.append(NOW, "throttle", "acme/web")
    stream = store.events()[0].stream

    def numbers(of: str, number: int) -> list[int]:
        return [event.number for event in store.events(EventId(of, number))]

    assert [3, 4] == numbers(stream, 2)
    assert [] == numbers(stream, 4)
    assert [1, 2, 3, 4] == numbers("f" * 32, 2)
    assert [1, 2, 3, 4] == numbers("f" * 32, 10_000)


def test_a_state_of_an_older_copy_goes_on_above_what_was_collected_and_says_so_once(
    store: Store, path: Path
) -> None:
    """C4.9: no id is given to two events."""
    with store.hold():
        for _ in range(4):
            store.append(NOW, "throttle", "acme/web")
    stream = store.events()[0].stream

    [said] = store.events(EventId(stream, 9))
    assert ("state-set-back", 10, {"known": 4, "collected": 9}) == (
        *(said.kind, said.number),
        said.details,
    )
    assert [said] == store.events(EventId(stream, 9))
    assert [] == store.events(EventId(stream, 10))
    with closing(Store(path)) as other, other.hold():
        other.append(NOW, "throttle", "acme/web")
    assert [11] == [event.number for event in store.events(EventId(stream, 10))]
    assert [1, 2, 3, 4, 10, 11] == [event.number for event in store.events()]


def test_a_state_without_any_event_goes_on_above_what_was_collected(store: Store) -> None:
    with store.hold():
        store.append(NOW, "throttle", "acme/web")
    stream = store.events()[0].stream
    with store.hold():
        store._db.execute("DELETE FROM event")
        store._db.execute("DELETE FROM sqlite_sequence")

    assert [("state-set-back", 6)] == [
        (event.kind, event.number) for event in store.events(EventId(stream, 5))
    ]


def test_of_two_that_ask_at_once_one_is_told_that_the_state_was_set_back(path: Path) -> None:
    with closing(Store(path)) as store, store.hold():
        store.append(NOW, "throttle", "acme/web")
        stream = store.events()[0].stream
    at_once, told = Barrier(4), []

    def ask() -> None:
        with closing(Store(path)) as mine:
            at_once.wait(20)
            told.append([event.number for event in mine.events(EventId(stream, 7))])

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert [[8]] * 4 == told


@pytest.mark.parametrize("said", ["abc", "-1", "1.5", "", "abc:", "f:x", "\u0661", "9" * 19])
def test_what_is_no_events_id_is_refused(path: Path, said: str) -> None:
    asked = CliRunner().invoke(main, ["--state", str(path), "events", "--after", said])

    assert 2 == asked.exit_code
    assert f"«{said}» is neither an event's number nor its id" in asked.output


def test_an_event_is_told_in_utc(store: Store) -> None:
    """Nodes stand in several zones."""
    with store.hold():
        store.append(datetime.fromisoformat("2026-03-01T01:00:00+09:00"), "throttle", "acme/web")

    assert "2026-02-28T16:00:00+00:00" == store.events()[0].as_json()["at"]


def test_of_the_oldest_events_only_so_many_are_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills would stop the node; a number is never given again."""
    monkeypatch.setattr(module, "KEPT_EVENTS", 5)
    with store.hold():
        for _ in range(8):
            store.append(NOW, "throttle", "acme/web")
        store.prune()
    with store.hold():
        store.append(NOW, "throttle", "acme/web")

    assert [4, 5, 6, 7, 8, 9] == [event.number for event in store.events()]


def test_numbers_are_not_used_again_after_all_were_forgotten(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same id for two events would make the second one unheard of."""
    monkeypatch.setattr(module, "KEPT_EVENTS", 0)
    with store.hold():
        store.append(NOW, "throttle", "acme/web")
        store.prune()
    with closing(Store(path)) as other, other.hold():
        other.append(NOW, "throttle", "acme/web")

    assert [2] == [event.number for event in store.events()]


def test_a_class_is_given_to_one_vps_alone_and_the_lowest_first(store: Store) -> None:
    """C4.8."""
    with store.hold():
        for last in range(17, 27):
            store.put(known(vps(last, f"v{last}"), store.free_class()))
        assert list(range(FIRST_CLASS, FIRST_CLASS + 10)) == [
            one.class_minor for one in store.all()
        ]
        with pytest.raises(sqlite3.IntegrityError):
            store.put(known(vps(27, "v27"), FIRST_CLASS))


def test_an_addresss_class_goes_over_to_its_next_vps(store: Store) -> None:
    """C4.8: addresses come back after 30 days, and classes with them: they never run out."""
    with store.hold():
        store.put(known(vps(), store.free_class(), running=False))
        store.put(known(vps(name="shop", client="other"), FIRST_CLASS))

        assert [FIRST_CLASS] == [one.class_minor for one in store.all()]
        assert FIRST_CLASS + 1 == store.free_class()


def test_without_a_class_left_it_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """C4.8."""
    monkeypatch.setattr(module, "LAST_CLASS", FIRST_CLASS)
    with store.hold():
        store.put(known(vps(), store.free_class()))
        with pytest.raises(NodeError, match="no traffic class is left"):
            store.free_class()


@pytest.mark.parametrize("named", ["acme/web", "203.0.113.17", "vps-cb007111"])
def test_a_vps_is_found_by_name_address_or_tap(store: Store, named: str) -> None:
    """C4.11."""
    with store.hold():
        store.put(known(vps(18, "db"), 17))
        store.put(known(vps()))

    assert known(vps()) == store.find(named)


@pytest.mark.parametrize("named", ["", "web", "ACME/WEB", "%", "vps-%", "203.0.113", "' OR 1=1 --"])
def test_a_name_that_is_nobodys_finds_nobody(store: Store, named: str) -> None:
    """C4.11: a measure is never put against another one."""
    with store.hold():
        store.put(known(vps()))

    with pytest.raises(UnknownVpsError, match="`hoster-node status` lists them"):
        store.find(named)


@pytest.mark.parametrize("first", [17, 18])
def test_of_two_addresses_that_had_a_name_the_running_one_is_meant(
    store: Store, first: int
) -> None:
    """C4.11: who was deleted and ordered anew is cut where it is now, not where it was."""
    with store.hold():
        for number, last in enumerate((first, 35 - first)):
            store.put(known(vps(last), FIRST_CLASS + number, running=last == 18))

    assert vps(18) == store.find("acme/web").vps


@pytest.mark.parametrize("first", [17, 18])
def test_of_two_addresses_that_had_a_name_the_last_one_is_meant(store: Store, first: int) -> None:
    """C4.11: though neither runs."""
    with store.hold():
        for number, last in enumerate((first, 35 - first)):
            started_at = NOW + timedelta(days=last)
            store.put(known(vps(last), FIRST_CLASS + number, running=False, started_at=started_at))

    assert vps(18) == store.find("acme/web").vps


def test_what_is_in_force_is_read_off_the_measures() -> None:
    """C4.11."""
    made = [
        ("quarantine", ""),
        ("throttle", ""),
        ("block-port", "25/tcp"),
        ("block-port", "25/udp"),
    ]
    state = known(vps(), measures=tuple(Measure(*one, "", NOW) for one in made))

    everything = Measures(True, True, frozenset({("tcp", 25), ("udp", 25)}))
    assert everything == state.enforced.measures
    assert Measures() == known(vps()).enforced.measures


def test_the_gateway_is_kept_and_is_unknown_in_an_earlier_agents_state(
    path: Path, store: Store
) -> None:
    """C7.4: an earlier agent did not write it; the next count reads it from the domain."""
    gateway = IPv4Address("203.0.113.1")
    with store.hold():
        store.put(known(vps(17, gateway=gateway)))
        store.put(known(vps(18, name="db"), FIRST_CLASS + 1))
    with closing(sqlite3.connect(path)) as written:
        forget = "UPDATE vps SET facts = json_remove(facts, '$.gateway') WHERE name LIKE '%db'"
        written.execute(forget)
        written.commit()

    assert [gateway, None] == [one.vps.gateway for one in store.all()]


def test_nothing_is_left_of_a_vps_that_was_forgotten(store: Store) -> None:
    """C12.5, C15.2: what the next client of its address must not inherit."""
    measure = Measure("quarantine", "measure-17", "test", NOW)
    with store.hold():
        store.put(known(vps(17), used_bytes=5, measures=(measure,)))
        store.put(known(vps(18, name="db"), FIRST_CLASS + 1, measures=(measure,)))
        store.keep_refusal(vps(17).tap, 7, NOW)
        store.keep_refusal(vps(18).tap, 8, NOW)
    with store.hold():
        store.forget(vps(17).tap)

    assert [(vps(18, name="db"), (measure,))] == [(one.vps, one.measures) for one in store.all()]
    assert {vps(18).tap: (8, NOW)} == store.refusals()
    assert FIRST_CLASS == store.free_class()
    with store.hold():
        store.put(known(vps(17)))
    assert (0, ()) == (store.find("acme/web").used_bytes, store.find("acme/web").measures)
