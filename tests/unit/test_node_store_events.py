"""Events of a node's state: numbered without end, and handed out once (C4.9)."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from hoster.node import store as module
from hoster.node.cli import main
from hoster.node.store import Store
from hoster.wire.events import EventId
from hoster_lab.node_state import NOW

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "node.sqlite"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(path)


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
