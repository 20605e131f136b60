"""How many packets a second pass the bridge of a node, from the VPS that is matched last."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import own_libvirtd as own
from applying import IPTABLES, learned
from figures import Figure
from layouts import Incus, SenderAlone
from rented_node import Burst, built_sender, run, tell

from hoster_lab.in_process import inside

if TYPE_CHECKING:
    from layouts import Whole
    from rented_node import Bench, Node

ALL, FILTER = "ours, every feature", "ours without classes and ifb"
INBOUND = "ours, every feature, inbound"
BARE = "bare bridge"
CLASS = "bare bridge with one class on its uplink"
LEAST = "one set of senders, one class"
"""What identity and guarantee cost on this kernel at the very least, with nothing else."""
BY_TAP = ", by a tap"
_ANSWERED, _UNANSWERED = 40001, 40000
_MOMENT_SECONDS = 0.01
_MOST_LOST = 0.001
Shares = dict[str, dict[int, list[float]]]
"""Packets a second as a share of the bare bridge's right before, by arm, VPSs and turn."""


@dataclass(frozen=True)
class Arm:
    """A node whose packets are counted, and how they are sent."""

    name: str
    node: Node
    inbound: bool = False
    tap: bool = False
    port: int = _UNANSWERED

    @property
    def count(self) -> int:
        """How many VPSs it has."""
        return len(self.node.vpss)


def packets(bench: Bench) -> Figure:
    """Send from each node in turn, each time right after a bare bridge with as many ports."""
    figure = Figure("packets", "Thousands of packets a second, 60-byte UDP, one core", digits=0)
    sender = built_sender(bench.folder)
    shares: Shares = defaultdict(lambda: defaultdict(list))
    bare = {
        (count, tap): bench.node(f"bare{tap:d}", count, tap=tap)
        for count in bench.counts
        for tap in (False, True)
    }
    arms = [arm for count in bench.counts for arm in _arms(bench, count, figure)]

    def sent(arm: Arm, node: Node, seconds: float) -> Burst:
        return node.send(sender, seconds, bench.core, inbound=arm.inbound, port=arm.port)

    for arm in arms:
        if arm.port == _ANSWERED:
            sent(arm, arm.node, _MOMENT_SECONDS)
            arm.node.send(sender, _MOMENT_SECONDS, bench.core, inbound=True, port=arm.port)
    for _ in bench.turns("packets"):
        for arm in arms:
            before = sent(arm, bare[arm.count, arm.tap], bench.seconds).packets_s
            burst = sent(arm, arm.node, bench.seconds)
            figure.add(BARE + BY_TAP * arm.tap, arm.count, before / 1000)
            figure.add(arm.name, arm.count, burst.packets_s / 1000)
            shares[arm.name][arm.count].append(burst.packets_s / before)
            if burst.lost > _MOST_LOST:
                figure.notes.append(f"{arm.name}, {arm.count}: {burst.lost:.1%} were dropped")
    _claims(bench, figure, shares)
    _beside_a_class(figure, shares)
    return figure


def _beside_a_class(figure: Figure, shares: Shares) -> None:
    """Say what is left beside a bridge that guarantees, too: any queue with classes costs that."""
    for tap in (False, True):
        classed, ours = shares[CLASS + BY_TAP * tap], shares[ALL + BY_TAP * tap]
        middle = {
            vps: statistics.median(
                one / other for one, other in zip(some, classed[vps], strict=True)
            )
            for vps, some in ours.items()
        }
        figure.claim(f"{ALL}{BY_TAP * tap} / {CLASS}", middle, 0.65, at_most=False)


def _claims(bench: Bench, figure: Figure, shares: Shares) -> None:
    least = min(bench.counts)
    for name, by_vps in shares.items():
        ours = name.partition(BY_TAP)[0] in {ALL, FILTER}
        middle = {vps: statistics.median(some) for vps, some in by_vps.items()}
        figure.claim(f"{name} / bare", middle, 0.65 if ours else None, at_most=False)
        if not ours:
            continue
        flat = {
            vps: statistics.median(
                one / other for one, other in zip(some, by_vps[least], strict=True)
            )
            for vps, some in by_vps.items()
        }
        figure.claim(f"{name} / at {least}", flat, 0.95, at_most=False)
    figure.notes.append(
        f"Sender and kernel on core {bench.core}; aim for 0.75 of the bare bridge. Over a veth in "
        "batches, which is the quickest way in, or by a tap one by one, as QEMU sends. iptables "
        "lets flows that were answered pass by their state; ours keeps none."
    )


def _arms(bench: Bench, count: int, figure: Figure) -> list[Arm]:
    tell(f"packets: nodes for {count}")
    arms = []
    for tap in (False, True):
        everything = bench.our_node(f"all{tap:d}", count, tap=tap)
        alone = bench.our_node(f"filter{tap:d}", count, tap=tap)
        alone.without_classes()
        classed = bench.node(f"class{tap:d}", count, tap=tap)
        classed.one_class()
        arms.append(Arm(CLASS + BY_TAP * tap, classed, tap=tap))
        arms.append(Arm(ALL + BY_TAP * tap, everything, tap=tap))
        arms.append(Arm(FILTER + BY_TAP * tap, alone, tap=tap))
        if not tap:
            arms.append(Arm(INBOUND, everything, inbound=True))
    arms += [
        Arm(SenderAlone.name, _loaded(bench, "senders", SenderAlone(), count)),
        Arm(LEAST, _loaded(bench, "least", SenderAlone(), count)),
    ]
    arms[-1].node.one_class()
    for number, layout in enumerate(IPTABLES):
        node = _loaded(bench, f"packets{number}", layout, count)
        arms.append(Arm(f"{layout.name}, no answer yet", node))
        arms.append(Arm(f"{layout.name}, answered", node, port=_ANSWERED))
    for number, layout in enumerate((Incus(jumps=False), Incus(jumps=True))):
        if count <= layout.most:
            node = _loaded(bench, f"chains{number}", layout, count)
            arms.append(Arm(layout.name, node))
    if reason := own.why_not():
        figure.notes = [f"nwfilter left out: {reason}."]
    else:
        arms.append(_nwfilter(bench, count))
    return arms


def _loaded(bench: Bench, name: str, layout: Whole, count: int) -> Node:
    node = bench.node(name, count, calls_iptables=layout.calls_iptables)
    with inside(node.namespace):
        run(layout.whole(node.vpss))
    return node


def _nwfilter(bench: Bench, count: int) -> Arm:
    node = bench.node("nwfilter", count)
    with own.libvirtd(bench.folder / f"libvirtd-{count}", node.namespace) as daemon:
        layout = learned(node, daemon.connected())
    with inside(node.namespace):
        run(layout.whole(node.vpss))
    return Arm(layout.name, node)
