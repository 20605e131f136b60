"""What stands for a host node in the tests of its agent: a `Wire` with the agent on it.

The agent runs in the caller's process, in the node's network namespace; as a process of its own
where its command matters; and in a forked one where it is killed. Needs root.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hoster.node.agent import Agent, Config
from hoster.node.errors import KernelError
from hoster.node.kernel import guarantee, netlink, vps_elements
from hoster.node.kernel.netlink import Quota, Transaction
from hoster.node.kernel.vps_elements import FILTER
from hoster.node.store import Store
from hoster.wire.metadata import vps_of_domain
from hoster.wire.vps import Vps
from hoster_lab.in_process import (
    PATIENCE_SECONDS,
    Probe,
    Station,
    frame,
    inside,
    one_processor,
)
from hoster_lab.traffic import DB, WEB
from hoster_lab.wire import GATEWAY, Rented, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address
    from pathlib import Path

    from hoster.node.agent import Outcome
    from hoster.node.kernel.vps_elements import Elements
    from hoster.node.store import Known

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
"""What a new node's clock says; it stands still."""
SHOP = replace(WEB, name="shop", client="next")
"""Another client's, at the address that WEB had."""
MAIL = "25/tcp"
"""A port to close, as `block-port` takes it."""
CHANGED: dict[str, Any] = {"plan": "kvm-4", "guaranteed_mbit_s": 200, "quota_bytes": 10**12}
"""The terms of another plan."""
BUCKET_BYTES = 122_500
"""What the kernel lets through at once at 1 Mbit/s."""
Answer = TypeVar("Answer")


@dataclass
class Clock:
    """A clock that a test sets."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """Return what it says."""
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let so much time go by."""
        self.now += by


def vps_of(rented: Rented) -> Vps:
    """Return it as the agent reads it from its domain.

    Raises:
        ValueError: the agent takes its domain for no VPS's.
    """
    vps = vps_of_domain(rented.domain())
    if vps is None:
        raise ValueError(f"{rented.name} is no VPS")
    return vps


def running(*some: Rented) -> dict[str, Vps]:
    """Return what libvirt says when these run."""
    return {one.tap: vps_of(one) for one in some}


def uncounted(some: Elements) -> Elements:
    """Return the same without a count, which goes on by itself."""
    return {
        place: replace(element, statement=Quota(element.statement.limit_bytes))
        if isinstance(element.statement, Quota)
        else element
        for place, element in some.items()
    }


class Node:
    """A node with its agent, its clock, and stations behind it.

    *interfaces* stands for the kernel's folder of network interfaces: a tap is there while a file
    has its name.
    """

    def __init__(self, standing: Standing, interfaces: Path) -> None:
        self.wire, self.probe, self.stations = standing.made, standing.probe, standing.stations
        self.interfaces, self.clock = interfaces, Clock()
        self._numbers = itertools.count()
        self.agent = self.new_agent()
        self.act(Agent.restore)

    # -- the agent

    def new_agent(self) -> Agent:
        """Return an agent as a new process has it."""
        self.store = Store(self.wire.state)
        config = Config(self.wire.config, self.interfaces)
        return Agent(self.store, config, self.clock)

    def act(self, what: Callable[..., Answer], *arguments: Any) -> Answer:
        """Have the agent do something, where it is; return its answer."""
        with inside(self.wire.node):
            return what(self.agent, *arguments)

    def start(self, rented: Rented) -> Outcome:
        """Do what the hook does before a VPS starts."""
        return self.act(Agent.start, rented.domain())

    def stop(self, rented: Rented) -> Outcome:
        """Do what the hook does when a VPS has stopped."""
        return self.act(Agent.stop, rented.domain())

    def measure(self, rented: Rented, kind: str, detail: str = "") -> Outcome:
        """Put a measure in force against whoever has the address."""
        return self.act(Agent.measure, str(rented.ipv4), kind, "test", detail)

    def lift(self, rented: Rented, kind: str, detail: str = "") -> Outcome:
        """End a measure against whoever has the address."""
        return self.act(Agent.lift, str(rented.ipv4), kind, detail)

    def restore(self) -> Outcome:
        """Do what the unit does at a node's start, and a reload of the rules."""
        return self.act(Agent.restore)

    def reconcile(self, *there: Rented) -> Outcome:
        """Do what the timer does; libvirt says that these run, and is away where none is given."""
        return self.act(Agent.reconcile, running(*there) if there else None)

    def known(self, rented: Rented) -> Known:
        """Return what the agent says of a VPS, its volume as it is now."""
        return next(one for one in self.act(Agent.known) if one.vps.tap == rented.tap)

    def used(self, rented: Rented) -> int:
        """Return its outbound bytes of this cycle."""
        return self.known(rented).used_bytes

    def events(self, *kinds: str) -> list[tuple[str, str]]:
        """Return kind and subject of those kinds of events, or of all, oldest first."""
        return [
            (event.kind, event.subject)
            for event in self.store.events()
            if not kinds or event.kind in kinds
        ]

    # -- the kernel

    def program(self, *argv: str) -> str:
        """Run a program on the node, and return what it printed."""
        return self.wire.on(self.wire.node, *argv)

    def kernel(self) -> Elements:
        """Return every element that the kernel has in the agent's sets."""
        with inside(self.wire.node):
            return {
                (table, name, element.key): element
                for table, names in vps_elements.SETS.items()
                for name in names
                for element in netlink.elements_in(*table, name)
            }

    def wanted(self) -> Elements:
        """Return the elements that the state asks for."""
        return {
            place: element
            for known in self.store.all()
            if known.running
            for place, element in vps_elements.elements_of(known.enforced).items()
        }

    def wrong_classes(self) -> list[str]:
        """Return the devices whose classes are not those of the running VPSs."""
        config = Config(self.wire.config).shaping()
        with inside(self.wire.node):
            found = guarantee.classes(config)
        there = [known.enforced for known in self.store.all() if known.running]
        wanted = {one.class_minor: guarantee.rates(config, one) for one in there}
        return [device for device, classes in found.items() if classes != wanted]

    def unguaranteed(self) -> set[str]:
        """Return the taps that may send to the uplink, and have no class there."""
        # Without rules there is no tap that has passed them.
        with inside(self.wire.node), suppress(KernelError):
            senders = netlink.elements_in(*FILTER, "metered")
            found = guarantee.classes(Config(self.wire.config).shaping())
            return {
                element.key[:16].rstrip(b"\0").decode()
                for element in senders
                for classes in found.values()
                if struct.unpack("=I", element.value)[0] & 0xFFFF not in classes
            }
        return set()

    def assert_as_the_state_says(self, *, exactly: bool = True) -> None:
        """Assert that the kernel has the elements and classes that the state asks for.

        Where not *exactly*, a port that nobody closes any more may still be looked for.
        """
        wanted, found = uncounted(self.wanted()), uncounted(self.kernel())
        assert wanted == {
            place: element
            for place, element in found.items()
            if exactly or place in wanted or place[1] != "block_ports"
        }
        assert [] == self.wrong_classes()

    # -- packets

    def place(self, name: str) -> tuple[str, IPv4Address]:
        """Return MAC and address of a station."""
        addresses = {"web": WEB.ipv4, "db": DB.ipv4, "world": GATEWAY.ip}
        return self.stations[name].mac, addresses.get(name, GATEWAY.ip + 98)

    def send(self, source: str, to: str, octets: int = 100, count: int = 1, **fields: Any) -> None:
        """Send packets of so many *octets* from one station to another; *fields* as in `frame`."""
        made = frame(self.place(source), self.place(to), octets, **fields)
        self.stations[source].send(made, count)

    def passed(self, source: str, to: str = "world", count: int = 1, **fields: Any) -> int:
        """Send packets as `send` does, and return how many of them arrived."""
        mark = f"mark-{next(self._numbers):06}"
        seen = 0

        def some_more() -> bool:
            nonlocal seen
            before, arrived = seen, self.stations[to].arrived()
            seen += sum(mark.encode() in one for one in arrived)
            return seen > before

        with one_processor():
            self.send(source, to, count=count, mark=mark, **fields)
            self.probe.settle()
        while some_more() and seen < count:  # the uplink's queue may hold the rest
            time.sleep(0.03)
        return seen

    def assert_closed(self, sentinel: str = "web") -> None:
        """Assert that nobody unknown passes, and nobody as somebody else.

        The *sentinel*'s own packet passes after them, and shows that they are handled.
        """
        world, stranger = self.stations["world"], self.stations["stranger"]
        target = self.place("world")
        world.arrived()
        for name in ("stranger", "web", "db"):
            stranger.send(frame(self.place(name), target, mark="wrong"))
        other = {"web": "db", "db": "web"}[sentinel]
        spoofed = (self.stations[sentinel].mac, self.place(other)[1])
        with one_processor():
            self.stations[sentinel].send(frame(spoofed, target, mark="wrong"))
            self.send(sentinel, "world", mark="honest")
            self.probe.settle()
        seen = [what for one in world.arrived() for what in (b"wrong", b"honest") if what in one]
        assert [b"honest"] == seen


@dataclass
class Standing:
    """What tests share: the namespaces, and the rules' files as the roles write them."""

    made: Wire
    probe: Probe
    stations: dict[str, Station]
    files: dict[Path, str]


@contextmanager
def conversation(node: Node) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open a TCP connection between web and the world; yield the ends, web's first."""
    world, web = (node.wire.station(name) for name in ("world", "web"))
    node.wire.on(web, "ip", "address", "replace", f"{WEB.ipv4}/24", "dev", "eth0")
    for namespace, (mac, ipv4) in ((web, node.place("world")), (world, node.place("web"))):
        node.wire.on(namespace, "ip", "neigh", "replace", str(ipv4), "lladdr", mac, "dev", "eth0")
    with inside(world):
        listening = socket.create_server((str(GATEWAY.ip), 0))
    with inside(web):
        client = socket.create_connection(listening.getsockname(), timeout=PATIENCE_SECONDS)
    server, _ = listening.accept()
    listening.close()
    with client, server:
        yield client, server


def throttled_packets(began: float) -> float:
    """Return how many packets of 1000 bytes may pass since then, at 1 Mbit/s.

    *began* is of `time.monotonic`.
    """
    return BUCKET_BYTES / 1000 * (1 + time.monotonic() - began) + 1


def newcomer(number: int) -> Rented:
    """Return a VPS that nothing is plugged for; each number is another one, from 0."""
    return Rented(f"n{number}", DB.ipv4 + 1 + number, client="new")


class Mortality:
    """Kills this process before the *fatal*-th effect, from 0: what changes something outside it.

    Statements inside a transaction of SQLite are none: they are gone with the process.
    """

    def __init__(self, fatal: int) -> None:
        self._left = fatal

    def step(self) -> None:
        """Have one effect, or be killed."""
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def install(self) -> None:
        """Count the effects of SQLite, programs and netlink. For good: this process ends soon."""
        mortality, run, commit = self, subprocess.run, Transaction.commit

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if sql == "COMMIT" and self.total_changes:
                    mortality.step()
                return super().execute(sql, *arguments)

        def mortal_run(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            if "show" in argv:
                return run(argv, **options)
            done = None
            for line in (options.pop("input", None) or "").splitlines(keepends=True) or [None]:
                mortality.step()
                done = run(argv, input=line, **options)
                if done.returncode:
                    break
            assert done is not None
            return done

        def mortal_commit(transaction: Transaction) -> None:
            if transaction:
                mortality.step()
            commit(transaction)

        sqlite3.connect = partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]
        subprocess.run = mortal_run  # type: ignore[assignment]
        Transaction.commit = mortal_commit  # type: ignore[assignment, method-assign]


def killed_before(node: Node, effect: int, act: Callable[[Agent], object]) -> bool:
    """Return whether an agent of its own, doing *act*, was killed before that effect.

    Where not, the act is done, and had no more effects than that. The node's agent is a new one.
    """
    node.store.close()
    with inside(node.wire.node):
        child = os.fork()
        if not child:
            code = 1
            try:
                Mortality(effect).install()
                act(node.new_agent())
                code = 0
            except BaseException:  # nothing may go on as a second pytest
                traceback.print_exc()
            finally:
                os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    node.agent = node.new_agent()
    assert code in {0, -signal.SIGKILL}
    return code != 0
