"""Work on many clients' stacks: a bounded number at once, until too many fail, resumed later.

What was done is written down as it is done. A run that was cut short is run again: it passes over
what is done already, as long as nothing that it came from has changed since.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hoster.errors import HosterError
from hoster.project.files import write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from threading import Event


class Result(StrEnum):
    """What became of a client's stack."""

    CHANGED = "changed"
    SAME = "same"
    FAILED = "failed"
    REFUSED = "refused"
    NOT_TRIED = "not tried"
    DONE_BEFORE = "done before"


GOOD = {Result.CHANGED, Result.SAME, Result.DONE_BEFORE}


@dataclass(frozen=True)
class StackOutcome:
    """What became of a client's stack, in how many seconds; ``details`` for people, a line each."""

    client: str
    result: Result
    seconds: float = 0.0
    details: tuple[str, ...] = ()


def most_at_once() -> int:
    """Return how many stacks are worked on at once where nobody says: a run waits for its node."""
    return max(2, min(8, os.cpu_count() or 2))


def run(
    clients: Sequence[str],
    work: Callable[[str], StackOutcome],
    *,
    at_once: int,
    max_failures: int,
    stop: Event,
    told: Callable[[StackOutcome], None] = lambda _: None,
) -> list[StackOutcome]:
    """Do *work* for each of *clients*, *at_once* at most; in their order.

    Nothing new is begun after *max_failures*, or once *stop* is set; what is under way ends.
    """
    found: dict[str, StackOutcome] = {}
    failures = 0
    left = iter(clients)
    with ThreadPoolExecutor(at_once, "stack") as pool:
        running: set[Future[StackOutcome]] = set()
        while True:
            while len(running) < at_once and failures < max_failures and not stop.is_set():
                client = next(left, None)
                if client is None:
                    break
                running.add(pool.submit(_timed, work, client))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                outcome = one.result()
                found[outcome.client] = outcome
                failures += outcome.result not in GOOD
                told(outcome)
    return [found.get(client, StackOutcome(client, Result.NOT_TRIED)) for client in clients]


def _timed(work: Callable[[str], StackOutcome], client: str) -> StackOutcome:
    began = time.monotonic()
    try:
        outcome = work(client)
    except HosterError as error:
        outcome = StackOutcome(client, Result.FAILED, details=tuple(str(error).splitlines()))
    seconds = round(time.monotonic() - began, 2)
    return StackOutcome(outcome.client, outcome.result, seconds, outcome.details)


class Journal:
    """What an unfinished run has done: each client with the digest of what its stack came from."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._done: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    def has(self, client: str, digest: str) -> bool:
        """Whether the client's stack was made of just this."""
        return self._done.get(client) == digest

    def note(self, client: str, digest: str) -> None:
        """Write down that it is."""
        self._done[client] = digest
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(self._file, json.dumps(self._done))

    def close(self) -> None:
        """Forget it: the run came to its end."""
        self._file.unlink(missing_ok=True)


def report(outcomes: Iterable[StackOutcome], **facts: Any) -> dict[str, Any]:
    """Return a run for programs: how many of each result, and every client's."""
    clients = [asdict(one) for one in outcomes]
    counts: Mapping[str, int] = {
        result.value: sum(one["result"] == result for one in clients) for result in Result
    }
    return {**facts, "counts": {name: count for name, count in counts.items() if count}} | {
        "clients": clients
    }
