"""How long it takes to apply the whole policy, and to add or change one VPS."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import own_libvirtd as own
from figures import Figure
from layouts import CleanTraffic, Incus, PveFirewall, Step
from rented_node import known, rented, run, tell

from hoster.node.kernel import netlink, vps_elements
from hoster_lab.agent_node import inside, vps_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from layouts import Layout
    from rented_node import Bench, Node

    from hoster.node.kernel.vps_elements import Elements, Enforced

VARIANTS = [one for one in ("nft", "legacy") if shutil.which(f"iptables-{one}-restore")]
IPTABLES = [PveFirewall(one) for one in VARIANTS]
INSTANCES = [Incus(jumps=False), Incus(jumps=True)]
LEAST = [PveFirewall(one, least=True) for one in VARIANTS]
OURS = "ours: rules, and all elements in one transaction"
OURS_SHAPED = "ours: the same with the map of the classes"
RESTORE = "ours: `hoster-node restore` as a process, classes included"
ADDED, CHANGED = "ours: kernel call, one VPS added", "ours: kernel call, one VPS changed"
REMOVED = "ours: kernel call, one VPS removed"
HOOK, HOOK_CHANGED = "ours: hook end to end, a new VPS", "ours: hook end to end, another plan"
BOUND = "nwfilter clean-traffic: libvirtd lays its filter"
_REPEATS = 9
_SETTLES_SECONDS = 0.1


def whole_policy(bench: Bench) -> Figure:
    """Apply everything from nothing, each layout in turn, at each number of VPSs."""
    figure = Figure("apply", "Whole policy applied, ms")
    nodes = {count: bench.our_node("apply", count) for count in bench.counts}
    for _ in bench.turns("apply"):
        for count, node in nodes.items():
            for layout in (*IPTABLES, *INSTANCES):
                if count <= layout.most:
                    _cleared(node)
                    with inside(node.namespace):
                        figure.add(layout.name, count, 1000 * run(layout.whole(node.vpss)))
            _cleared(node)
            figure.add(OURS, count, 1000 * _ours_applied(node, "packet-filter.nft"))
            _cleared(node)
            both = ("packet-filter.nft", "bandwidth.nft")
            figure.add(OURS_SHAPED, count, 1000 * _ours_applied(node, *both))
            _cleared(node)
            figure.add(RESTORE, count, 1000 * _timed(node, node.agent("restore")))
    _quicker(figure, "quickest of the iptables layouts", IPTABLES)
    _quicker(figure, "quickest of the chains an instance", INSTANCES)
    figure.claim(
        "ours / iptables layout", figure.ratios(OURS, "quickest of the iptables layouts"), 1 / 4
    )
    figure.claim(
        "ours / chains an instance",
        figure.ratios(OURS, "quickest of the chains an instance"),
        1 / 15,
        digits=3,
    )
    return figure


def _cleared(node: Node) -> None:
    node.clear_rules()
    time.sleep(_SETTLES_SECONDS)  # the kernel frees what was there in the background


def _ours_applied(node: Node, *files: str) -> float:
    """Load the roles' files, and hand the kernel the elements: text and elements are there."""
    tables = (vps_elements.FILTER, vps_elements.SHAPER)[: len(files)]
    desired: Elements = {}
    for number in range(len(node.vpss)):
        desired |= vps_elements.elements_of(known(number).enforced)
    desired = {place: one for place, one in desired.items() if place[0] in tables}
    with inside(node.namespace):
        began = time.perf_counter()
        run([Step(("nft", "--file", str(node.wire.config / name))) for name in files])
        vps_elements.transaction({}, [desired]).commit()
        return time.perf_counter() - began


def _timed(node: Node, argv: list[str], stdin: str = "") -> float:
    with inside(node.namespace):
        return run([Step(tuple(argv), stdin)])


def _quicker(figure: Figure, name: str, some: list[Any]) -> None:
    """Give the layout that was quickest a row of its own, turn by turn."""
    by_vps = [figure.samples(one.name) for one in some]
    for vps in sorted({vps for one in by_vps for vps in one}):
        for values in zip(*(one[vps] for one in by_vps if vps in one), strict=True):
            figure.add(name, vps, min(values))


def one_vps(bench: Bench) -> Figure:
    """Add one VPS to those that are there, change it, and take it away, each layout in turn."""
    figure = Figure("add", "One VPS added or changed, ms")
    with ExitStack() as daemons:
        acts = [act for count in bench.counts for act in _acts(bench, count, figure, daemons)]
        for _ in bench.turns("add"):
            for act in acts:
                act()
        if not own.why_not():
            figure.notes.append(_real_guests(bench, daemons))
    _quicker(figure, "quickest of the iptables layouts, as pve-firewall does it", IPTABLES)
    _claims(bench, figure)
    return figure


def _claims(bench: Bench, figure: Figure) -> None:
    iptables = "quickest of the iptables layouts, as pve-firewall does it"
    least = min(bench.counts)
    for what in (ADDED, CHANGED):
        figure.claim(what, figure.medians(what), 15, digits=1)
        figure.claim(f"{what} / at {least}", figure.ratios(what, what, to_vps=least), 2)
    figure.claim("ours added / iptables layout", figure.ratios(ADDED, iptables), 1 / 20)
    figure.claim("ours added / nwfilter", figure.ratios(ADDED, BOUND), 1 / 100, digits=4)
    for what in (HOOK, HOOK_CHANGED):
        figure.claim(what, figure.medians(what), 150, digits=0)


def _acts(bench: Bench, count: int, figure: Figure, daemons: ExitStack) -> list[Callable[[], None]]:
    """Return what to do in each turn at *count* VPSs, on nodes that have them."""
    tell(f"add: nodes for {count}")
    node = bench.our_node("add", count)
    acts: list[Callable[[], None]] = [lambda: _ours(node, figure), lambda: _hook(node, figure)]
    for number, layout in enumerate((*IPTABLES, *LEAST, *INSTANCES)):
        if count < layout.most or count == layout.most == 1000:
            acts.append(_laid(bench.node(f"add{number}", count), layout, figure))
    if reason := own.why_not():
        figure.notes = [f"nwfilter left out: {reason}."]
    else:
        acts.append(_nwfilter(bench, count, figure, daemons))
    return acts


def _laid(node: Node, layout: Layout, figure: Figure) -> Callable[[], None]:
    with inside(node.namespace):
        run(layout.whole(node.vpss))
    count = len(node.vpss)

    def act() -> None:
        with inside(node.namespace):
            figure.add(layout.name, count, 1000 * run(layout.added(node.vpss, rented(count))))
            run(layout.removed(rented(count)))
        time.sleep(_SETTLES_SECONDS)

    return act


def _ours(node: Node, figure: Figure) -> None:
    count = len(node.vpss)
    new = known(count).enforced
    other = replace(new, vps=replace(new.vps, traffic_bytes=2 * 10**13, throttle_mbit_s=2))
    seconds: dict[str, list[float]] = {}
    with inside(node.namespace):
        for _ in range(_REPEATS):
            for what, before, after in (
                (ADDED, None, new),
                (CHANGED, new, other),
                (REMOVED, other, None),
            ):
                seconds.setdefault(what, []).append(_committed(before, after))
                time.sleep(_SETTLES_SECONDS / 5)
    for what, some in seconds.items():
        figure.add(what, count, 1000 * statistics.median(some))


def _committed(before: Enforced | None, after: Enforced | None) -> float:
    """Return the seconds of the kernel call alone."""
    current, desired = (
        {} if one is None else vps_elements.elements_of(one) for one in (before, after)
    )
    changes = vps_elements.transaction(current, [desired])
    began = time.perf_counter()
    changes.commit()
    return time.perf_counter() - began


def _hook(node: Node, figure: Figure) -> None:
    """Run the hook as libvirt does: once for a VPS that never was here, once with another plan."""
    count = len(node.vpss)
    new = rented(count + 1 + len(figure.samples(HOOK).get(count, ())))
    start, stop = node.unattended("start"), node.unattended("stop")
    figure.add(HOOK, count, 1000 * _timed(node, start, new.domain()))
    other = replace(new, plan="kvm-2", guaranteed_mbit_s=200, throttle_mbit_s=2, quota_bytes=10**14)
    figure.add(HOOK_CHANGED, count, 1000 * _timed(node, start, other.domain()))
    _timed(node, stop, other.domain())
    with inside(node.namespace):
        there = netlink.elements_in(*vps_elements.FILTER, "metered")
    if len(there) != count or vps_of(new).tap in str(there):
        raise RuntimeError("the hook left something behind")


def _nwfilter(bench: Bench, count: int, figure: Figure, daemons: ExitStack) -> Callable[[], None]:
    """Lay the filter of all but the last VPS as libvirtd lays it; it lays the last one's."""
    node = bench.node("nwfilter", count)
    folder = bench.folder / f"libvirtd-{count}"
    connection = daemons.enter_context(own.libvirtd(folder, node.namespace)).connected()
    layout = learned(node, connection)
    if count > 1:
        with inside(node.namespace):
            run(layout.whole(node.vpss[:-1]))

    def act() -> None:
        figure.add(BOUND, count, 1000 * own.bound(connection, node.last))
        own.unbound(connection, node.last)

    return act


def learned(node: Node, connection: Any) -> CleanTraffic:
    """Have libvirtd lay its filter once, and return the layout made from what it laid."""
    own.bound(connection, node.last)
    with inside(node.namespace):
        saved = subprocess.run(["ebtables-nft-save"], capture_output=True, text=True, check=True)
    own.unbound(connection, node.last)
    return CleanTraffic(saved.stdout, node.last)


def _real_guests(bench: Bench, daemons: ExitStack) -> str:
    """Start tiny guests one after the other, with the filter, and say what each took."""
    node = bench.node("guests", 1)
    folder = bench.folder / "libvirtd-guests"
    connection = daemons.enter_context(own.libvirtd(folder, node.namespace)).connected()
    own.started(connection, rented(1), filtered=False)  # libvirtd learns what this QEMU can
    own.ended(connection, rented(1))
    plain = own.started(connection, rented(1), filtered=False)
    taken = []
    for number in range(bench.guests):
        tell(f"add: tiny guest {number + 1} of {bench.guests}")
        taken.append(own.started(connection, rented(2 + number), filtered=True))
    return (
        f"{bench.guests} real tiny guests with clean-traffic, one after the other: the first "
        f"starts in {1000 * taken[0]:,.0f} ms, the last in {1000 * taken[-1]:,.0f} ms, all in "
        f"{sum(taken):.0f} s; without a filter one starts in {1000 * plain:,.0f} ms. More do not "
        "fit in a few minutes here: at more VPSs the rules of the others are copies of what "
        "libvirtd laid for one, and it lays the last one's itself."
    )
