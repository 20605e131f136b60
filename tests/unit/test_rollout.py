"""Many stacks: a bounded number at once, until too many fail, and later on from there."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from hoster.engine.rollout import Journal, Result, StackOutcome, report, run
from hoster.errors import ToolError

CLIENTS = [f"client-{number}" for number in range(20)]


def changed(client: str) -> StackOutcome:
    return StackOutcome(client, Result.CHANGED)


def test_no_more_than_asked_are_worked_on_at_once_and_all_come_in_order() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work(client: str) -> StackOutcome:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return changed(client)

    outcomes = run(CLIENTS, work, at_once=3, max_failures=1, stop=threading.Event())

    assert CLIENTS == [one.client for one in outcomes]
    assert {Result.CHANGED} == {one.result for one in outcomes}
    assert 3 == most


@pytest.mark.parametrize("at_once", [1, 4])
def test_nothing_new_is_begun_after_too_many_failures(at_once: int) -> None:
    tried = []

    def work(client: str) -> StackOutcome:
        tried.append(client)
        if client in CLIENTS[2:]:
            raise ToolError("it is broken", remedy="Mend it.")
        return changed(client)

    outcomes = run(CLIENTS, work, at_once=at_once, max_failures=2, stop=threading.Event())

    counts = report(outcomes)["counts"]
    assert 2 <= counts["failed"] <= 1 + at_once
    assert len(tried) == len(CLIENTS) - counts["not tried"]
    assert ("it is broken", "Mend it.") == outcomes[2].details


def test_who_is_told_to_stop_ends_what_is_under_way() -> None:
    stop = threading.Event()

    def work(client: str) -> StackOutcome:
        stop.set()
        return changed(client)

    outcomes = run(CLIENTS, work, at_once=1, max_failures=1, stop=stop)

    assert {"changed": 1, "not tried": 19} == report(outcomes)["counts"]


def test_a_mistake_of_ours_is_not_taken_for_a_failed_stack() -> None:
    def work(client: str) -> StackOutcome:
        raise ZeroDivisionError(client)

    with pytest.raises(ZeroDivisionError):
        run(CLIENTS, work, at_once=2, max_failures=5, stop=threading.Event())


def test_a_journal_knows_what_was_done_of_just_this(tmp_path: Path) -> None:
    file = tmp_path / "state" / "apply.json"
    Journal(file).note("acme", "a1")

    again = Journal(file)
    assert [True, False, False] == [
        again.has("acme", "a1"),
        again.has("acme", "a2"),
        again.has("beta", "a1"),
    ]
    again.close()
    assert not Journal(file).has("acme", "a1")
