"""What the agent takes each time it runs: to read and store all counts, and memory."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import own_libvirtd as own
import psutil
from figures import Figure
from layouts import Step
from rented_node import OTHERS, rented, run, tell

from hoster.node.agent import Agent, Config
from hoster.node.domains import running_vpss
from hoster.node.kernel import netlink, vps_elements
from hoster.node.store import Store
from hoster_lab.commands import run as called
from hoster_lab.in_process import inside

if TYPE_CHECKING:
    from rented_node import Bench, Node

READ = "kernel read alone, in a process that runs"
CORE = "read, compared, stored, in a process that runs"
PROCESS = "the reconcile unit's process, libvirt away"
ASKED = "libvirt asked for all its VPSs, in a process that runs"
ALL = "the reconcile unit's process, libvirt asked"
RECONCILE = "the reconcile unit's process"
START = "the hook's process"
STAY = "processes that stay on the node"
_LIMIT_MS, _LIMIT_MB = 200, 40
_ANOTHER_LIBVIRT = """import sys
from hoster.node import domains
domains.running_vpss.__defaults__ = (sys.argv.pop(1),)
from hoster.node.unattended import main
sys.exit(main(*sys.argv[1:]))
"""
"""What the units run, on another libvirt than the node's own."""
_SAYS_PEAK = """import atexit, re, sys
out = sys.argv.pop(1)
def peak():
    with open("/proc/self/status") as said, open(out, "w") as file:
        file.write(re.search("VmHWM:\\\\s*(\\\\d+)", said.read())[1])
atexit.register(peak)
from hoster.node import domains
domains.running_vpss.__defaults__ = (sys.argv.pop(1),)
from hoster.node.unattended import main
sys.exit(main(*sys.argv[1:]))
"""
"""The same, and its peak is written to a file: what the kernel says of a child that ended may be
its parent's, from before the child was another program."""


def counters(bench: Bench) -> Figure:
    """Read and store every count; each of them has changed since."""
    figure = Figure("counters", "All counters read and stored, ms")
    with ExitStack() as daemons:
        nodes = {count: bench.our_node("counters", count) for count in bench.counts}
        uris = {count: _libvirt(bench, node, daemons) for count, node in nodes.items()}
        for _ in bench.turns("counters"):
            for count, node in nodes.items():
                _counted(figure, count, node, uris[count])
    figure.claim(CORE, figure.medians(CORE), _LIMIT_MS, digits=0)
    figure.notes.append(
        "libvirt: a libvirtd with its driver for tests, which runs as many domains without a QEMU."
        if not own.why_not()
        else f"libvirt left out: {own.why_not()}."
    )
    return figure


def _libvirt(bench: Bench, node: Node, daemons: ExitStack) -> str:
    """Have a libvirtd know every VPS of the node, and return its URI."""
    if own.why_not():
        return ""
    tell(f"a libvirtd that knows {len(node.vpss)}")
    folder = bench.folder / f"libvirtd-{len(node.vpss)}"
    daemon = daemons.enter_context(own.libvirtd(folder, node.wire.station(OTHERS)))
    return daemons.enter_context(own.known_to(daemon, node.vpss))


def _counted(figure: Figure, count: int, node: Node, uri: str) -> None:
    store = Store(node.wire.state)
    agent = Agent(store, Config(node.wire.config))
    with inside(node.namespace):
        began = time.perf_counter()
        for table, names in vps_elements.SETS.items():
            for name in names:
                netlink.elements_in(*table, name)
        figure.add(READ, count, 1000 * (time.perf_counter() - began))
        _outdate(node)
        began = time.perf_counter()
        agent.reconcile(None)
        figure.add(CORE, count, 1000 * (time.perf_counter() - began))
        store.close()
        figure.add(PROCESS, count, 1000 * _reconciled(node, "qemu:///nobody"))
        if uri:
            began = time.perf_counter()
            if len(running_vpss(uri) or ()) != count:
                raise RuntimeError("libvirtd does not run the domains")
            figure.add(ASKED, count, 1000 * (time.perf_counter() - began))
            figure.add(ALL, count, 1000 * _reconciled(node, uri))


def _reconciled(node: Node, uri: str) -> float:
    _outdate(node)
    arguments = node.unattended("reconcile")[4:]
    return run([Step((sys.executable, "-c", _ANOTHER_LIBVIRT, uri, *arguments))])


def _outdate(node: Node) -> None:
    """Make the kernel say more than what is stored, for each VPS."""
    with sqlite3.connect(node.wire.state) as state:
        state.execute("UPDATE vps SET used_bytes = used_bytes - 1000")
    state.close()


def memory(bench: Bench) -> Figure:
    """Measure the agent's peak at each number of VPSs; between its runs nothing stays."""
    figure = Figure("memory", "Peak resident memory of the agent, MB (10^6)")
    with ExitStack() as daemons:
        for count in bench.counts:
            node = bench.our_node("memory", count)
            uri = _libvirt(bench, node, daemons) or "qemu:///nobody"
            for turn in range(bench.rounds):
                _outdate(node)
                _peaks(bench, figure, RECONCILE, node, uri, act="reconcile")
                new = rented(count + turn)
                _peaks(bench, figure, START, node, uri, act="start", stdin=new.domain())
                with inside(node.namespace):
                    run([Step(tuple(node.agent("vps", "stop")), new.domain())])
            stay = called(["ip", "netns", "pids", node.namespace]).stdout.split()
            figure.add(STAY, count, len(stay))
    for what in figure.names:
        limit = 0 if what == STAY else _LIMIT_MB
        figure.claim(what, figure.medians(what), limit, digits=1)
    return figure


def _peaks(
    bench: Bench,
    figure: Figure,
    name: str,
    node: Node,
    uri: str,
    *,
    act: str,
    stdin: str = "",
) -> None:
    """Run the agent; take its own peak, and the most that it and its children had together."""
    said = bench.folder / "peak"
    rest = node.unattended(act)[4:]
    argv = [sys.executable, "-c", _SAYS_PEAK, str(said), uri, *rest]
    with inside(node.namespace):
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
    if process.stdin is None:
        raise RuntimeError("it has no input")
    process.stdin.write(stdin)
    process.stdin.close()
    together = 0
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            together = max(together, _resident_bytes(psutil.Process(process.pid)))
        time.sleep(0.002)
    if process.returncode:
        raise RuntimeError(f"{name} failed")
    count = len(node.vpss)
    figure.add(name, count, int(said.read_text()) * 1024 / 1e6)
    figure.add(f"{name}, with the programs it calls", count, together / 1e6)


def _resident_bytes(process: psutil.Process) -> int:
    """Return what a process and its children hold, each page once.

    A page that several of them have of a file is that of the one that has most of it; of memory
    that a child still shares with its parent, each has half.
    """
    own, files = 0, Counter[str]()
    for one in (process, *process.children(recursive=True)):
        mapped = Counter[str]()
        with suppress(psutil.NoSuchProcess):
            for mapping in one.memory_maps(grouped=False):
                if mapping.path.startswith("/"):
                    mapped[mapping.path] += mapping.rss
                else:
                    own += mapping.pss
        files |= mapped  # the larger of each
    return own + files.total()
