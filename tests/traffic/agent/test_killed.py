"""An agent that is killed in the middle of an act opens nothing, and is made up for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hoster_lab.agent_node import CHANGED, MAIL, Node, killed_before, newcomer, running
from hoster_lab.traffic import DB, WEB
from hoster_lab.wire import INBOUND, UPLINK, Rented

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.node.agent import Agent


@dataclass(frozen=True)
class Killed:
    """An act that is killed: what comes before it, and what it is to have done once in the end."""

    name: str
    act: Callable[[Agent, int], object]
    prepare: Callable[[Node, int], object] = lambda _, __: None
    event: Callable[[int], tuple[str, str]] | None = None
    empty: Callable[[Node], object] | None = None
    """Takes the rules away, as a reboot does: nothing filters when the act begins."""
    may_lose: bool = False
    """What was sent since the agent counted last."""


def client(number: int, **terms: Any) -> Rented:
    return replace(DB, client=f"client{number}", **terms)


def flush(node: Node) -> None:
    node.reconcile()
    node.program("nft", "flush", "ruleset")


def reboot(node: Node) -> None:
    flush(node)
    for device in (UPLINK, INBOUND):
        node.program("tc", "qdisc", "delete", "dev", device, "root")


def next_month(node: Node, number: int) -> None:
    node.clock.now += timedelta(days=31)


def gone(node: Node, number: int) -> None:
    node.start(newcomer(number))
    node.clock.now += timedelta(minutes=2)


def use_up(node: Node, number: int) -> None:
    node.start(client(number, quota_bytes=1000))
    node.passed("db", octets=1000, count=2)


KILLED = [
    Killed(
        "start of a new VPS",
        lambda agent, number: agent.start(newcomer(number).domain()),
        event=lambda number: ("vps-new", f"new/n{number}"),
    ),
    Killed(
        "start of a stopped VPS",
        lambda agent, _: agent.start(DB.domain()),
        lambda node, _: node.stop(DB),
    ),
    Killed(
        "start with another plan",
        lambda agent, number: agent.start(client(number, **CHANGED).domain()),
        lambda node, number: node.start(client(number)),
        lambda number: ("plan-changed", f"client{number}/db"),
    ),
    Killed(
        "start of an address's next client",
        lambda agent, number: agent.start(client(number).domain()),
        lambda node, _: node.measure(DB, "block-port", MAIL),
        lambda number: ("vps-new", f"client{number}/db"),
        may_lose=True,
    ),
    Killed(
        "stop",
        lambda agent, _: agent.stop(DB.domain()),
        lambda node, _: node.start(DB),
        may_lose=True,
    ),
    *(
        Killed(
            f"{kind} {detail}",
            lambda agent, _, kind=kind, detail=detail: agent.measure(DB.tap, kind, "", detail),
            lambda node, number: node.start(client(number)),
            lambda number, kind=kind: (kind, f"client{number}/db"),
            may_lose=kind == "quarantine",
        )
        for kind, detail in (("quarantine", ""), ("throttle", ""), ("block-port", MAIL))
    ),
    *(
        Killed(
            f"lift of {kind} {detail}",
            lambda agent, _, kind=kind, detail=detail: agent.lift(DB.tap, kind, detail),
            lambda node, number, kind=kind, detail=detail: (
                node.start(client(number)),
                node.measure(DB, kind, detail),
            ),
            lambda number, kind=kind: (f"{kind}-lifted", f"client{number}/db"),
        )
        for kind, detail in (("quarantine", ""), ("throttle", ""), ("block-port", MAIL))
    ),
    Killed("reload", lambda agent, _: agent.restore()),
    Killed("restore after a reboot", lambda agent, _: agent.restore(), empty=reboot),
    Killed(
        "reconcile without rules",
        lambda agent, _: agent.reconcile(None),
        empty=flush,
    ),
    Killed(
        "reconcile with a VPS to let in",
        lambda agent, number: agent.reconcile(
            running(WEB, DB, newcomer(number), newcomer(100 + number))
        ),
        lambda node, number: [
            (node.interfaces / one.tap).touch()
            for one in (newcomer(number), newcomer(100 + number))
        ],
        event=lambda number: ("vps-repaired", f"new/n{number}"),
    ),
    Killed(
        "reconcile with a VPS to take out", lambda agent, _: agent.reconcile(running(WEB, DB)), gone
    ),
    Killed(
        "reconcile with another plan",
        lambda agent, number: agent.reconcile(running(WEB, client(number, **CHANGED))),
        lambda node, number: node.start(client(number)),
        lambda number: ("plan-changed", f"client{number}/db"),
    ),
    Killed(
        "reconcile at the cycle's end",
        lambda agent, _: agent.reconcile(None),
        next_month,
        may_lose=True,
    ),
    Killed(
        "reconcile when a quota is used up",
        lambda agent, _: agent.reconcile(None),
        use_up,
        lambda number: ("quota-100", f"client{number}/db"),
    ),
]


@pytest.mark.parametrize("case", KILLED, ids=lambda case: case.name)
def test_an_agent_that_is_killed_anywhere_opens_nothing_and_is_made_up_for(
    two: Node, case: Killed
) -> None:
    """C4.9, C4.11, C7.2: before each effect of the act, with kill -9; then reconcile, then again.

    The neighbour passes all the while; nothing is counted twice, told twice or opened.
    """
    for number in itertools.count():
        case.prepare(two, number)
        kept = two.store.get(DB.tap)
        two.passed("db", octets=700)
        sent = two.used(DB)
        if case.empty:
            case.empty(two)

        died = killed_before(two, number, lambda agent, n=number: case.act(agent, n))

        if not case.empty:
            two.assert_closed()
        assert set() == two.unguaranteed()
        two.reconcile()
        two.assert_as_the_state_says()
        two.assert_closed()
        found = two.store.get(DB.tap)
        assert found is not None
        assert kept is not None
        if found.vps.full_name == kept.vps.full_name:
            least = sent if not case.may_lose else 0
            assert least <= two.used(DB) <= sent
        two.act(case.act, number)
        two.assert_as_the_state_says(exactly=False)
        if case.event:
            assert 1 == two.events().count(case.event(number))
        if not died:
            assert number
            return
