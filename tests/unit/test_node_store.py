"""The state of a node outlives its agent: whole, or as it was before (C4.9, C4.11)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoster.node import store as module
from hoster.node.kernel.vps_elements import Measures
from hoster.node.store import FIRST_CLASS, VERSION, Known, Measure, Store
from hoster.wire.errors import NodeError
from hoster_lab.node_state import NOW, known, vps

if TYPE_CHECKING:
    from pathlib import Path

REMEDY = "restore it from a copy, or move it away"


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


@settings(max_examples=settings.default.max_examples // 2)
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
