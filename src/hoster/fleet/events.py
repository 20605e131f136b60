"""The events of the host nodes' agents, asked for many nodes at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.errors import HosterError
from hoster.wire import answers
from hoster.wire.events import EventId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hoster.fleet.ssh import NodeSsh
    from hoster.wire.events import NodeEvent


PAGE = 5_000
"""Events in one answer."""


MOST_PAGES = 100


@dataclass(frozen=True)
class Answer:
    """What one node answered: its events, or why there are none."""

    node: str
    events: list[NodeEvent]
    trouble: str = ""


def collect(
    asked: Mapping[str, NodeSsh],
    last: Mapping[str, tuple[str, int]],
    *,
    known: Callable[[str], int],
    seconds: float,
    at_once: int,
) -> Iterator[Answer]:
    """Yield each node's answer as it comes: its events after the *last* (stream, number) of it.

    Where its stream is another one than that, only those after the number that is *known* of this
    stream: the node has another name, or an earlier state again. At most *at_once* nodes are asked
    at a time, and each has *seconds* for an answer.
    """
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        waiting = [
            pool.submit(_ask, node, last.get(name), known, seconds) for name, node in asked.items()
        ]
        for done in as_completed(waiting):
            yield done.result()


def _ask(
    node: NodeSsh, last: tuple[str, int] | None, known: Callable[[str], int], seconds: float
) -> Answer:
    events: list[NodeEvent] = []
    after = str(EventId(*last)) if last else "0"
    stream = last[0] if last else ""
    try:
        for _ in range(MOST_PAGES):
            page = answers.events(
                node.run(
                    *("hoster-node", "events", "--json"),
                    *("--limit", str(PAGE), "--after", after),
                    seconds=seconds,
                )
            )
            if page and page[0].stream != stream:
                if events:
                    break  # made anew between two pages: the next run asks for it
                stream = page[0].stream
                # Named, its number lets an agent with an older copy notice, and go on above it.
                if number := known(stream):
                    after = str(EventId(stream, number))
                    continue
            events += page
            if len(page) < PAGE:
                break
            after = page[-1].id
    except HosterError as error:
        return Answer(node.name, [], error.message)
    return Answer(node.name, events)
