"""After any sequence of acts and accidents the kernel has what the state says."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from hoster.node.errors import KernelError
from hoster.node.kernel import netlink, vps_elements
from hoster.node.kernel.netlink import Element, Transaction
from hoster.node.kernel.vps_elements import FILTER, Enforced, Measures
from hoster_lab.agent_node import CHANGED, SHOP, Node, killed_before, uncounted, vps_of
from hoster_lab.in_process import inside
from hoster_lab.traffic import DB, STRANGER, WEB

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.node.agent import Agent
    from hoster.node.kernel.vps_elements import Elements
    from hoster.node.store import Known
    from hoster_lab.wire import Rented


@dataclass(frozen=True)
class Expected:
    """What is to be known of an address; ``stored`` of ``used`` bytes outlive the kernel."""

    rented: Rented
    running: bool = True
    measures: frozenset[tuple[str, str]] = frozenset()
    used: int = 0
    stored: int = 0

    @property
    def passes(self) -> bool:
        return self.running and ("quarantine", "") not in self.measures

    def changed(self, **fields: Any) -> Expected:
        """What an act of the agent makes of it; it stores what it counts."""
        return replace(self, **fields, stored=self.used)

    def enforced(self, minor: int) -> Enforced:
        kinds = {kind for kind, _ in self.measures}
        blocked = frozenset(("tcp", int(detail[:-4])) for _, detail in self.measures if detail)
        measures = Measures("quarantine" in kinds, "throttle" in kinds, blocked)
        return Enforced(vps_of(self.rented), minor, self.used, measures)


class Play:
    """Random acts on a node, and beside them what they should come to."""

    RENTED = (WEB, SHOP, DB, replace(WEB, **CHANGED), replace(DB, quota_bytes=None, plan="kvm-2"))
    MEASURES = (
        ("quarantine", ""),
        ("throttle", ""),
        ("block-port", "25/tcp"),
        ("block-port", "443/tcp"),
    )

    def __init__(self, node: Node, seed: int) -> None:
        self.node, self.any = node, random.Random(seed)  # noqa: S311 - to be repeated
        self.expected: dict[str, Expected] = {}
        self.has_rules = self.is_tidy = True
        self.story: list[str] = []

    def step(self) -> None:
        """Do something, and look at what came of it."""
        acts = [self.start] * 4 + [self.stop] * 2 + [self.measure] * 3 + [self.lift] * 2
        acts += [self.restore, self.reconcile, self.reconcile, self.send, self.send, self.send]
        acts += [self.flush, self.meddle, self.crash, self.crash]
        self.any.choice(acts)()
        if self.has_rules and self.is_tidy:
            self.check()

    def check(self, *, exactly: bool = False) -> None:
        node = self.node
        assert {tap: one.rented.name for tap, one in self.expected.items()} == {
            known.vps.tap: known.vps.name for known in node.store.all()
        }, self.story
        wanted: Elements = {}
        for one in self.expected.values():
            known = node.known(one.rented)
            assert (one.running, one.used) == (known.running, known.used_bytes), self.story
            if one.running:
                wanted |= vps_elements.elements_of(one.enforced(known.class_minor))
        assert uncounted(node.wanted()) == uncounted(wanted), self.story
        node.assert_as_the_state_says(exactly=exactly)

    # -- what the agent is asked; without rules it refuses, and nothing changes

    def do(self, what: str, act: Callable[[Agent], object], then: dict[str, Expected]) -> None:
        self.story.append(what)
        if self.has_rules:
            self.node.act(act)
            self.expected = then
            return
        with suppress(KernelError) if then == self.expected else pytest.raises(KernelError):
            self.node.act(act)

    def start(self) -> None:
        self.do(*self.started())

    def stop(self) -> None:
        self.do(*self.stopped())

    def measure(self) -> None:
        self.do(*self.measured(True))

    def lift(self) -> None:
        self.do(*self.measured(False))

    def restore(self) -> None:
        self.story.append("restore")
        self.node.restore()
        self.tidy()

    def reconcile(self) -> None:
        there = (
            [self.any.choice(self.RENTED[:2] + self.RENTED[3:4])] if self.any.random() < 0.5 else []
        )
        there += [DB] if self.any.random() < 0.5 else []
        self.story.append(f"reconcile {[one.name for one in there]}")
        self.node.reconcile(*there)
        self.tidy()
        for one in there:
            self.expected = self.with_started(one)
        self.expected = {tap: one.changed() for tap, one in self.expected.items()}
        self.check(exactly=True)

    def tidy(self) -> None:
        """The rules are there, and what the state says; what was not stored is lost with them."""
        if not self.has_rules:
            self.expected = {
                tap: replace(one, used=one.stored) for tap, one in self.expected.items()
            }
        self.has_rules = self.is_tidy = True

    def with_started(self, rented: Rented) -> dict[str, Expected]:
        before = self.expected.get(rented.tap)
        if before is None or before.rented.name != rented.name:
            return self.expected | {rented.tap: Expected(rented)}
        return self.expected | {rented.tap: before.changed(rented=rented, running=True)}

    def started(self) -> tuple[str, Callable[[Agent], object], dict[str, Expected]]:
        rented = self.any.choice(self.RENTED)
        return (
            f"start {rented.name} {rented.plan}",
            lambda agent: agent.start(rented.domain()),
            self.with_started(rented),
        )

    def stopped(self) -> tuple[str, Callable[[Agent], object], dict[str, Expected]]:
        there = [one.rented for one in self.expected.values()]
        rented = self.any.choice([*there * 3, *self.RENTED])
        then, before = dict(self.expected), self.expected.get(rented.tap)
        if before and before.rented.name == rented.name:
            then[rented.tap] = before.changed(running=False)
        return f"stop {rented.name}", lambda agent: agent.stop(rented.domain()), then

    def measured(
        self, into_force: bool
    ) -> tuple[str, Callable[[Agent], object], dict[str, Expected]]:
        if not self.expected:
            return self.started()
        tap = self.any.choice(sorted(self.expected))
        kind, detail = self.any.choice(self.MEASURES)
        before, then = self.expected[tap], dict(self.expected)
        one = frozenset({(kind, detail)})
        measures = before.measures | one if into_force else before.measures - one
        if measures != before.measures:
            then[tap] = before.changed(measures=measures)
        if into_force:
            return (
                f"{kind} {detail} {tap}",
                lambda agent: agent.measure(tap, kind, "", detail),
                then,
            )
        return f"lift {kind} {detail} {tap}", lambda agent: agent.lift(tap, kind, detail), then

    # -- what others do

    def send(self) -> None:
        name = self.any.choice(["web", "db"])
        one = self.expected.get({"web": WEB, "db": DB}[name].tap)
        if not (self.has_rules and self.is_tidy):
            return
        octets, port = self.any.randrange(40 + 20, 1400), self.any.choice([25, 80, 443])
        passed = self.node.passed(name, octets=octets, port=port)
        self.story.append(f"send {name} {octets} to {port}: {passed}")
        passes = bool(one and one.passes)
        closed = bool(one) and ("block-port", f"{port}/tcp") in one.measures
        assert int(passes and not closed) == passed, self.story
        if one and passes:
            self.expected[one.rented.tap] = replace(one, used=one.used + octets)

    def flush(self) -> None:
        self.story.append("flush")
        self.node.program("nft", "flush", "ruleset")
        self.has_rules = False

    def meddle(self) -> None:
        """Elements and classes are taken and added by hand, but for the counts."""
        if not self.has_rules:
            return
        found = [place for place in self.node.kernel() if place[1] != "metered"]
        lost = self.any.sample(found, min(len(found), 3))
        tap = netlink.interface(STRANGER)
        changes = Transaction()
        for table, name, key in lost:
            changes.delete(*table, [Element(name, key)])
        foreign = Element("receivers", tap + self.any.randbytes(4))
        changes.add(*FILTER, [foreign])
        with inside(self.node.wire.node):
            changes.commit()
        self.story.append(f"meddle {[name for _, name, _ in lost]}")
        self.is_tidy = False

    def crash(self) -> None:
        """An act is killed somewhere; it was, or was not."""
        if not (self.has_rules and self.is_tidy):
            return
        what, act, then = self.any.choice(
            [self.started, self.stopped, lambda: self.measured(True)]
        )()
        effect = self.any.randrange(8)
        died = killed_before(self.node, effect, act)
        self.story.append(f"{what}, killed before {effect}: {died}")
        self.node.reconcile()
        kept = {known.vps.tap: known for known in self.node.store.all()}
        for tap in self.expected.keys() | then.keys():
            possible = [one for one in (self.expected.get(tap), then.get(tap)) if one]
            known = kept.get(tap)
            if known is None:
                assert died, self.story
                assert tap not in self.expected, self.story
                continue
            fitting = [one for one in possible if self.fits(one, known)]
            assert fitting, self.story
            assert fitting[0].stored <= known.used_bytes <= fitting[0].used, self.story
            used = known.used_bytes
            then[tap] = replace(fitting[0], used=used, stored=used)
        self.expected = {tap: one for tap, one in then.items() if tap in kept}
        self.check(exactly=True)

    @staticmethod
    def fits(one: Expected, known: Known) -> bool:
        measures = {(measure.kind, measure.detail) for measure in known.measures}
        return (vps_of(one.rented), one.running, one.measures) == (
            known.vps,
            known.running,
            measures,
        )


SEEDS = {"usual": 8, "long": 1000}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(SEEDS[settings.get_current_profile_name()]))
def test_after_any_sequence_the_kernel_has_what_the_state_says(node: Node, seed: int) -> None:
    """C4.9, C4.11, C7.2: and every byte counted; a failure tells the whole story."""
    play = Play(node, seed)
    for _ in range(30):
        play.step()
    play.reconcile()
