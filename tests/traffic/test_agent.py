"""The agent on a real kernel: each act, what it survives, and what it never lets through.

The agent runs in this process, in the node's network namespace; as a process of its own where its
command matters; and in a forked one where it is killed.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import random
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
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from hoster.node import elements, ruleset, shaping
from hoster.node.agent import GRACE, SAID_EVERY, Agent, Config
from hoster.node.elements import Element, Quota, Transaction
from hoster.node.errors import KernelError, NodeError, UnknownVpsError
from hoster.node.ruleset import FILTER, Enforced, Measures
from hoster.node.store import Store
from hoster.node.vps import Vps, vps_of_domain
from hoster_lab.traffic import DB, STRANGER, WEB, write_rules
from hoster_lab.wire import GATEWAY, INBOUND, UPLINK, Rented, Wire, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hoster.node.agent import Outcome
    from hoster.node.ruleset import Elements
    from hoster.node.store import Known

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
NEXT_CYCLE = datetime(2026, 4, 1, 12, tzinfo=UTC)
SHOP = replace(WEB, name="shop", client="next")
"""Another client's, at the address that WEB had."""
MAIL = "25/tcp"
BUCKET_BYTES = 122_500
"""What the kernel lets through at once at 1 Mbit/s."""
PATIENCE_SECONDS = 5
_NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET
_RECEIVE_BUFFER_FORCE = 33  # SO_RCVBUFFORCE
_TCP, _RESET = 6, 0x04  # a reset is answered by nobody
_HEADERS_BYTES = 40


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, and what it starts or opens, in a network namespace."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(here)
        os.close(here)
        os.close(there)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _NETWORK_NAMESPACE):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass
class Clock:
    """A clock that a test sets."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


class Station:
    """Sends and captures frames on one namespace's interface."""

    def __init__(self, namespace: str, interface: str = "eth0") -> None:
        with inside(namespace):
            self._link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._link.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, 2**23)
            self._link.bind((interface, 3))
        self._link.setblocking(False)
        self.mac = self._link.getsockname()[4].hex(":")

    def send(self, frame: bytes, count: int = 1) -> None:
        for _ in range(count):
            self._link.send(frame)

    def arrived(self) -> list[bytes]:
        """What came since this was asked last."""
        found = []
        with suppress(BlockingIOError):
            while True:
                frame, sender = self._link.recvfrom(65535)
                if sender[2] != socket.PACKET_OUTGOING:
                    found.append(frame)
        return found


def frame(
    source: tuple[str, IPv4Address],
    target: tuple[str, IPv4Address],
    octets: int = 100,
    mark: str = "",
    port: int = 443,
) -> bytes:
    """A frame with an IPv4 packet of so many *octets*; the checksum is for br_netfilter."""
    body = mark.encode().ljust(octets - _HEADERS_BYTES, b".")
    segment = struct.pack(">HHIIBBHHH", 50000, port, 1, 1, 0x50, _RESET, 1024, 0, 0)
    addresses = source[1].packed + target[1].packed
    start = struct.pack(">BBHHHBB", 0x45, 0, octets, 1, 0, 64, _TCP)
    total = sum(struct.unpack(">9H", start + addresses))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
    macs = bytes.fromhex((target[0] + source[0]).replace(":", ""))
    return macs + b"\x08\x00" + start + checksum + addresses + segment + body


@contextmanager
def one_processor() -> Iterator[None]:
    """This thread on one processor, whose packets are handled one after the other."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


class Probe:
    """A link of its own: what arrives over it shows that all that was sent before is handled."""

    def __init__(self, made: Wire) -> None:
        ends = ("probe0", "probe1")
        made.on(made.world, "ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for end in ends:
            made.on(made.world, "ip", "link", "set", end, "up")
        self.stations = [Station(made.world, end) for end in ends]

    def settle(self) -> None:
        """Wait until every packet sent so far is where it goes, over as many hops as there are."""
        one, other = self.stations
        for _ in range(5):
            one.send(bytes(12) + b"\x88\xb5" + b"settle")
            assert until(lambda: any(b"settle" in each for each in other.arrived()))


def until(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold; what was sent may be on its way."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while not (held := holds()) and time.monotonic() < patience:
        time.sleep(0)
    return held


def vps_of(rented: Rented) -> Vps:
    vps = vps_of_domain(rented.domain())
    assert vps is not None
    return vps


def running(*some: Rented) -> dict[str, Vps]:
    """What libvirt says when these run."""
    return {one.tap: vps_of(one) for one in some}


def uncounted(some: Elements) -> Elements:
    """The same without a count, which goes on by itself."""
    return {
        place: replace(element, statement=Quota(element.statement.limit_bytes))
        if isinstance(element.statement, Quota)
        else element
        for place, element in some.items()
    }


class Node:
    """A node with its agent, its clock, and stations behind it."""

    def __init__(self, standing: Standing, interfaces: Path) -> None:
        self.wire, self.probe, self.stations = standing.made, standing.probe, standing.stations
        self.interfaces, self.clock = interfaces, Clock()
        self._numbers = itertools.count()
        self.agent = self.new_agent()
        self.act(Agent.restore)

    # -- the agent

    def new_agent(self) -> Agent:
        """An agent as a new process has it."""
        self.store = Store(self.wire.state)
        config = Config(self.wire.config, self.interfaces)
        return Agent(self.store, config, self.clock)

    def act(self, what: Callable[..., Any], *arguments: Any) -> Any:
        """Have the agent do something, where it is."""
        with inside(self.wire.node):
            return what(self.agent, *arguments)

    def start(self, rented: Rented) -> Outcome:
        return self.act(Agent.start, rented.domain())

    def stop(self, rented: Rented) -> Outcome:
        return self.act(Agent.stop, rented.domain())

    def measure(self, rented: Rented, kind: str, detail: str = "") -> Outcome:
        return self.act(Agent.measure, str(rented.ipv4), kind, "test", detail)

    def lift(self, rented: Rented, kind: str, detail: str = "") -> Outcome:
        return self.act(Agent.lift, str(rented.ipv4), kind, detail)

    def restore(self) -> Outcome:
        return self.act(Agent.restore)

    def reconcile(self, *there: Rented) -> Outcome:
        """With libvirt's word that these run, or without libvirt where there is none."""
        return self.act(Agent.reconcile, running(*there) if there else None)

    def known(self, rented: Rented) -> Known:
        """What the agent says, its volume as it is now."""
        return next(one for one in self.act(Agent.known) if one.vps.tap == rented.tap)

    def used(self, rented: Rented) -> int:
        return self.known(rented).used_bytes

    def events(self, *kinds: str) -> list[tuple[str, str]]:
        """Kind and subject of those kinds of events, or of all."""
        return [
            (event.kind, event.subject)
            for event in self.store.events()
            if not kinds or event.kind in kinds
        ]

    # -- the kernel

    def program(self, *argv: str) -> str:
        return self.wire.on(self.wire.node, *argv)

    def kernel(self) -> Elements:
        with inside(self.wire.node):
            return {
                (table, name, element.key): element
                for table, names in ruleset.SETS.items()
                for name in names
                for element in elements.elements_in(*table, name)
            }

    def wanted(self) -> Elements:
        """What the state asks for."""
        return {
            place: element
            for known in self.store.all()
            if known.running
            for place, element in ruleset.elements_of(known.enforced).items()
        }

    def wrong_classes(self) -> list[str]:
        """The devices whose classes are not those of the running VPSs."""
        config = Config(self.wire.config).shaping()
        with inside(self.wire.node):
            found = shaping.classes(config)
        there = [known.enforced for known in self.store.all() if known.running]
        wanted = {one.class_minor: shaping.rates(config, one) for one in there}
        return [device for device, classes in found.items() if classes != wanted]

    def unguaranteed(self) -> set[str]:
        """The taps that may send to the uplink, and have no class there."""
        # Without rules there is no tap that has passed them.
        with inside(self.wire.node), suppress(KernelError):
            senders = elements.elements_in(*FILTER, "metered")
            found = shaping.classes(Config(self.wire.config).shaping())
            return {
                element.key[:16].rstrip(b"\0").decode()
                for element in senders
                for classes in found.values()
                if struct.unpack("=I", element.value)[0] & 0xFFFF not in classes
            }
        return set()

    def assert_as_the_state_says(self, *, exactly: bool = True) -> None:
        """Where not *exactly*, a port that nobody closes any more may still be looked for."""
        wanted, found = uncounted(self.wanted()), uncounted(self.kernel())
        assert wanted == {
            place: element
            for place, element in found.items()
            if exactly or place in wanted or place[1] != "block_ports"
        }
        assert [] == self.wrong_classes()

    # -- packets

    def place(self, name: str) -> tuple[str, IPv4Address]:
        addresses = {"web": WEB.ipv4, "db": DB.ipv4, "world": GATEWAY.ip}
        return self.stations[name].mac, addresses.get(name, GATEWAY.ip + 98)

    def send(self, source: str, to: str, octets: int = 100, count: int = 1, **fields: Any) -> None:
        made = frame(self.place(source), self.place(to), octets, **fields)
        self.stations[source].send(made, count)

    def passed(self, source: str, to: str = "world", count: int = 1, **fields: Any) -> int:
        """How many of the packets arrived."""
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
        """Nobody unknown, and nobody as somebody else, while the *sentinel* passes after them."""
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


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A node's network with web, db and a stranger plugged; no rules."""
    with wire(tmp_path_factory.mktemp("node"), f"ha{os.getpid()}") as made:
        write_rules(made)
        ports = {"web": (WEB.tap, WEB.mac), "db": (DB.tap, DB.mac), "stranger": (STRANGER, None)}
        for name, (port, mac) in ports.items():
            made.plug(name, port, mac)
        stations = {name: Station(made.station(name)) for name in (*ports, "world")}
        files = {file: file.read_text() for file in made.config.iterdir()}
        yield Standing(made, Probe(made), stations, files)


@pytest.fixture
def node(standing: Standing, tmp_path: Path) -> Node:
    """A node that has just been booted for the first time; the taps are there."""
    made = standing.made
    for file, text in standing.files.items():
        file.write_text(text)
    made.on(made.node, "nft", "flush", "ruleset")
    for device in (UPLINK, INBOUND):
        made.on(made.node, "tc", "qdisc", "delete", "dev", device, "root", check=False)
    made.state = tmp_path / "state" / "node.sqlite"
    interfaces = tmp_path / "interfaces"
    interfaces.mkdir()
    for port in (WEB.tap, DB.tap, STRANGER):
        (interfaces / port).touch()
    return Node(standing, interfaces)


@pytest.fixture
def two(node: Node) -> Node:
    """The same with WEB and DB running."""
    for rented in (WEB, DB):
        node.start(rented)
    return node


# -- each act


def test_each_act_says_whether_it_changed_anything(node: Node) -> None:
    """C4.11: twice is once; by the command, as hooks and ops call it."""
    acts: list[tuple[str, ...]] = [
        ("vps", "start"),
        ("quarantine", "acme/web", "--reason", "incident 17"),
        ("quarantine", "acme/web", "--lift"),
        ("throttle", str(WEB.ipv4)),
        ("throttle", WEB.tap, "--lift"),
        ("block-port", "acme/web", MAIL),
        ("block-port", "acme/web", "025/tcp", "--lift"),
        ("vps", "stop"),
    ]

    def said(act: tuple[str, ...]) -> tuple[bool, str]:
        stdin = WEB.domain() if act[0] == "vps" else None
        answer = json.loads(node.wire.agent(*act, "--json", stdin=stdin))
        return answer["changed"], answer["vps"]

    for act in acts:
        assert [(True, "acme/web"), (False, "acme/web")] == [said(act), said(act)], act
    # The look for closed ports, of which there is none any more.
    assert [(True, ""), (False, "")] == [said(("restore",)), said(("restore",))]
    assert 1 == len(node.events("vps-new"))
    assert 1 == len(node.events("block-port-lifted"))


def test_a_start_of_a_vps_that_sends_is_no_change(two: Node) -> None:
    """C4.9: to have counted is none."""
    assert 3 == two.passed("web", count=3)

    assert not two.start(WEB).changed


def test_a_start_lets_a_vps_in_and_a_stop_takes_all_of_it_out(two: Node) -> None:
    """C4.3, C4.9: set by set, as the state says and as `nft` shows; its volume is kept."""
    for kind, detail in (("block-port", MAIL), ("throttle", "")):
        two.measure(WEB, kind, detail)
    two.assert_as_the_state_says()
    assert (1, 1) == (two.passed("web"), two.passed("world", "web"))
    assert {WEB.tap, str(WEB.ipv4)} == names_shown(two) & {WEB.tap, str(WEB.ipv4)}

    two.stop(WEB)

    assert (0, 0) == (two.passed("web"), two.passed("world", "web"))
    assert 1 == two.passed("db")
    left = {place for place in two.kernel() if place[1] != "block_ports"}
    assert left == ruleset.places_of(vps_of(DB))
    # What was refused since is told by its tap.
    two.program("nft", "flush", "set", "bridge", "hoster", "refused")
    assert set() == names_shown(two) & {WEB.tap, str(WEB.ipv4)}
    assert [] == two.wrong_classes()
    assert 100 == two.used(WEB)
    two.reconcile()
    two.assert_as_the_state_says()


def names_shown(node: Node) -> set[str]:
    """Every tap and address that `nft` shows."""
    shown = node.program("nft", "-j", "list", "ruleset")
    return {name for name in (WEB.tap, str(WEB.ipv4), DB.tap, str(DB.ipv4)) if name in shown}


def test_a_vps_that_comes_back_goes_on_counting(two: Node) -> None:
    """C4.9: stopped, what it sends passes nowhere and is nobody's volume."""
    two.passed("web", octets=1000, count=10)
    two.stop(WEB)
    assert 0 == two.passed("web", octets=1000, count=5)
    two.start(WEB)
    assert 10_000 == two.used(WEB)
    two.passed("web", octets=500, count=4)

    assert 12_000 == two.used(WEB)


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "its stop was missed"])
def test_the_next_client_of_an_address_starts_with_nothing(two: Node, stopped: bool) -> None:
    """C4.9, C4.11: neither volume nor measure of the one before."""
    two.passed("web", octets=1000, count=9)
    for kind, detail in (("quarantine", ""), ("throttle", ""), ("block-port", MAIL)):
        two.measure(WEB, kind, detail)
    if stopped:
        two.stop(WEB)
    number = two.known(WEB).class_minor

    two.start(SHOP)

    known = two.known(SHOP)
    assert ("next/shop", 0, (), number) == (
        known.vps.full_name,
        known.used_bytes,
        known.measures,
        known.class_minor,
    )
    assert 1 == two.passed("web", port=25)
    assert 100 == two.used(SHOP)
    two.assert_as_the_state_says(exactly=False)
    assert ("vps-new", "next/shop") in two.events()
    with pytest.raises(UnknownVpsError):
        two.store.find("acme/web")
    two.reconcile(SHOP, DB)
    assert 100 == two.used(SHOP)


def test_a_late_stop_of_the_client_before_does_not_cut_the_next(two: Node) -> None:
    """C4.3."""
    two.start(SHOP)

    assert not two.stop(WEB).changed
    assert 1 == two.passed("web")
    two.assert_as_the_state_says()


def test_a_domain_that_is_no_vps_gets_nothing_and_is_no_error(node: Node) -> None:
    """C7.2: the hook is asked for every domain."""
    xml = "<domain><name>tool</name><devices/></domain>"
    before = node.kernel()

    assert [False, False] == [node.act(act, xml).changed for act in (Agent.start, Agent.stop)]
    assert before == node.kernel()
    assert [] == node.store.all()
    assert not node.stop(WEB).changed  # nor one that never started here


@contextmanager
def conversation(node: Node) -> Iterator[tuple[socket.socket, socket.socket]]:
    """An open TCP connection between web and the world."""
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


def hears(there: socket.socket, seconds: float) -> bytes:
    there.settimeout(seconds)
    try:
        return there.recv(2**20)
    except TimeoutError:
        return b""


def test_a_quarantine_cuts_an_open_connection_until_it_is_lifted(two: Node) -> None:
    """C4.11: at once, both ways, and whatever happens to VPS, rules and agent meanwhile."""
    with conversation(two) as (client, server):
        client.send(b"before")
        assert b"before" == hears(server, PATIENCE_SECONDS)

        two.measure(WEB, "quarantine")
        client.send(b"cut")
        server.send(b"cut")
        assert (b"", b"") == (hears(server, 0.1), hears(client, 0.1))

        def emptied() -> None:
            two.program("nft", "delete", "table", "bridge", "hoster")
            two.reconcile(WEB, DB)

        events: list[Callable[[], object]] = [
            lambda: two.stop(WEB),
            lambda: two.start(WEB),
            two.restore,
            emptied,
            lambda: setattr(two, "agent", two.new_agent()),
            lambda: two.start(replace(WEB, plan="kvm-8", guaranteed_mbit_s=200)),
            lambda: two.reconcile(WEB, DB),
        ]
        for event in events:
            event()
            assert (0, 0) == (two.passed("web"), two.passed("world", "web"))
        assert (b"", b"") == (hears(server, 0.01), hears(client, 0.01))
        assert 1 == two.passed("db")

        two.lift(WEB, "quarantine")
        # TCP tries again after as long as it was cut, at most.
        assert (b"cut", b"cut") == (hears(server, 60), hears(client, 60))


def test_a_vps_in_quarantine_can_be_stopped_and_is_not_forgotten(two: Node) -> None:
    """C4.11: a measure may come while it is off, too."""
    two.stop(WEB)
    two.measure(WEB, "quarantine")
    two.start(WEB)
    assert 0 == two.passed("web")
    two.stop(WEB)
    two.lift(WEB, "quarantine")
    assert 0 == two.passed("web")
    two.start(WEB)

    assert 1 == two.passed("web")


def test_a_throttle_holds_a_vps_to_its_rate_until_it_is_lifted(two: Node) -> None:
    """C4.11: what the kernel's bucket holds passes at once, and not much more."""
    two.measure(WEB, "throttle")
    for _ in range(2):
        began = time.monotonic()
        passed = two.passed("web", octets=1000, count=220)
        assert BUCKET_BYTES // 1000 - 1 <= passed <= throttled_packets(began)
        two.stop(WEB)
        two.start(WEB)
    assert 220 == two.passed("db", octets=1000, count=220)
    two.lift(WEB, "throttle")
    assert 220 == two.passed("web", octets=1000, count=220)


def test_a_closed_port_is_closed_for_one_vps_until_it_is_opened(two: Node) -> None:
    """C4.11: what the look for closed ports needs goes when nobody needs it."""
    for rented in (WEB, DB):
        two.measure(rented, "block-port", MAIL)
    two.measure(WEB, "block-port", "6667/tcp")

    def closed() -> list[int]:
        return [two.passed(name, port=port) for name in ("web", "db") for port in (25, 6667, 443)]

    assert [0, 0, 1, 0, 1, 1] == closed()
    two.lift(WEB, "block-port", MAIL)
    two.reconcile()
    assert [1, 0, 1, 0, 1, 1] == closed()
    two.lift(WEB, "block-port", "6667/tcp")
    two.lift(DB, "block-port", MAIL)
    assert [1] * 6 == closed()
    assert two.reconcile().changed
    assert [] == [place for place in two.kernel() if place[1] in {"blocks", "block_ports"}]
    assert not two.reconcile().changed


def test_a_measure_against_nobody_is_refused(two: Node) -> None:
    """C4.11."""
    before = two.kernel()
    for act in (Agent.measure, Agent.lift):
        with pytest.raises(UnknownVpsError, match="no VPS 'acme/nobody' was ever on this node"):
            two.act(act, "acme/nobody", "quarantine", "")

    assert before == two.kernel()


# -- input that is wrong, and a kernel that refuses

STRICT = {"PYTHONIOENCODING": "utf-8:strict"}
"""As in a locale that is neither C nor POSIX."""
NONSENSE = [
    b"",
    b"nonsense",
    WEB.domain()[:-30].encode(),
    WEB.domain().replace(WEB.mac, DB.mac, 1).encode(),
    WEB.domain().replace("'10000000000000'", "'10TB'").encode(),
    b"<!DOCTYPE domain>" + WEB.domain().encode(),
    WEB.domain().encode().replace(b"acme", b"acm\xe9"),
]


def test_wrong_input_is_refused_with_a_sentence_and_applies_nothing(two: Node) -> None:
    """C7.2: through the command and the hook; a hook that fails starts no domain."""
    kernel, state, events = two.kernel(), two.store.all(), two.events()
    for wrong in NONSENSE:
        for command in (
            *(two.wire.agent_command("vps", act) for act in ("start", "stop")),
            *(two.wire.unattended(act) for act in ("start", "stop")),
        ):
            done = subprocess.run(
                ["ip", "netns", "exec", two.wire.node, *command],
                input=wrong,
                capture_output=True,
                env=os.environ | STRICT,
                check=False,
            )
            assert (1, b"") == (done.returncode, done.stdout)
            assert done.stderr.startswith(b"hoster-node: ")
            assert 1 == done.stderr.count(b"\n")

    assert (kernel, state, events) == (two.kernel(), two.store.all(), two.events())
    assert 1 == two.passed("web")


@pytest.mark.parametrize(
    "break_rules",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("@senders", "@nobody", 1),
        lambda text: text.replace("policy drop", "policy open", 1),
        lambda _: "",
    ],
    ids=["half", "another set", "no policy", "empty"],
)
def test_rules_that_nft_refuses_leave_those_that_are_loaded(
    two: Node, break_rules: Callable[[str], str]
) -> None:
    """C7.2: the sentence names the file; no element and no count is lost."""
    file = two.wire.config / "packet-filter.nft"
    whole = file.read_text()
    two.passed("web", octets=1000)
    kernel = two.kernel()
    file.write_text(break_rules(whole))

    if file.read_text():
        with pytest.raises(KernelError, match=r"packet-filter\.nft"):
            two.restore()
    else:
        two.restore()  # nothing to load is no error, and changes nothing
    assert kernel == two.kernel()
    two.assert_closed()
    file.write_text(whole)
    two.restore()
    assert kernel.keys() == two.kernel().keys()


def test_without_rules_nobody_is_let_in(two: Node) -> None:
    """C7.2: every act refuses, and the state stays as it was."""
    state = two.store.all()
    two.program("nft", "delete", "table", "bridge", "hoster")
    acts: list[Callable[[], object]] = [
        lambda: two.start(SHOP),
        lambda: two.stop(WEB),
        lambda: two.measure(WEB, "throttle"),
        lambda: two.used(WEB),
    ]
    for act in acts:
        with pytest.raises(KernelError, match="nftables: hoster"):
            act()

    assert state == two.store.all()
    assert [] == two.events("throttle")
    assert two.reconcile(WEB, DB).changed
    two.assert_as_the_state_says()
    two.assert_closed()
    assert [("rules-restored", "")] == two.events("rules-restored")


@pytest.mark.parametrize("content", [None, "{", "{}", '{"uplink": "eth1"}', "[]"])
def test_an_uplink_that_is_described_wrongly_lets_nobody_in(two: Node, content: str | None) -> None:
    """C4.8: no VPS without its guarantee; the sentence names the file."""
    file = two.wire.config / "bandwidth.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    kernel = two.kernel()

    with pytest.raises(NodeError, match=r"bandwidth\.json"):
        two.start(SHOP)
    assert kernel == two.kernel()


def test_a_kernel_that_refuses_a_class_lets_nobody_in(node: Node) -> None:
    """C4.8: the class is made before the way is open; what is missing is made anew."""
    node.start(DB)
    node.program("ip", "link", "delete", INBOUND)

    with pytest.raises(KernelError, match="tc -batch"):
        node.start(WEB)
    assert 0 == node.passed("web")
    assert [DB.tap] == [known.vps.tap for known in node.store.all()]
    assert node.reconcile(DB, WEB).changed
    node.assert_as_the_state_says()
    assert (1, 1) == (node.passed("web"), node.passed("db"))


# -- what is counted


def test_a_byte_that_is_sent_is_counted_once_whatever_happens(two: Node) -> None:
    """C4.9: reload, restart, stop, plan, cycle of the agent; each time some more is sent."""
    events: list[Callable[[], object]] = [
        lambda: None,
        two.restore,
        lambda: two.reconcile(WEB, DB),
        lambda: (two.stop(WEB), two.start(WEB)),
        lambda: setattr(two, "agent", two.new_agent()),
        lambda: two.start(WEB),
        lambda: two.measure(WEB, "throttle"),
        lambda: two.lift(WEB, "throttle"),
        lambda: two.start(replace(WEB, quota_bytes=None)),
        lambda: two.reconcile(replace(WEB, quota_bytes=10**6), DB),
        lambda: (two.reconcile(), two.program("nft", "flush", "ruleset"), two.reconcile()),
        lambda: (two.reconcile(), two.program("nft", "delete", "table", "netdev", "hoster")),
        two.reconcile,
        lambda: (two.measure(WEB, "quarantine"), two.lift(WEB, "quarantine")),
    ]
    sent = 0
    for number, event in enumerate(events):
        event()
        assert 3 == two.passed("web", octets=1000 + number, count=3), number
        sent += 3 * (1000 + number)
        assert sent == two.used(WEB), number
    assert 0 == two.used(DB)
    [said] = json.loads(two.wire.agent("status", "acme/web", "--json"))
    assert sent == said["used_bytes"]


def test_what_a_vps_receives_is_not_its_volume(two: Node) -> None:
    """C4.9: from the world and from a neighbour."""
    assert 5 == two.passed("world", "web", octets=1400, count=5)
    assert 5 == two.passed("db", "web", octets=1400, count=5)

    assert (0, 7000) == (two.used(WEB), two.used(DB))


def test_a_packet_to_a_neighbour_is_counted_once_though_the_bridge_floods_it(two: Node) -> None:
    """C4.9: as long as the bridge does not know where the neighbour is, and then."""
    two.program("ip", "link", "set", DB.tap, "type", "bridge_slave", "fdb_flush")
    two.stations["world"].arrived()
    assert 5 == two.passed("web", "db", octets=1000, count=5)
    flooded = [one for one in two.stations["world"].arrived() if b"mark" in one]
    assert 5 == len(flooded)
    assert 5000 == two.used(WEB)

    two.passed("db")  # the bridge learns it
    two.stations["world"].arrived()
    assert 5 == two.passed("web", "db", octets=1000, count=5)
    assert [] == two.stations["world"].arrived()
    assert 10_000 == two.used(WEB)


def test_what_is_refused_before_it_is_a_vpss_is_not_its_volume(two: Node) -> None:
    """C4.9, C7.2: nobody can spend another's volume."""
    two.assert_closed()  # one packet of web's passes

    assert (100, 0) == (two.used(WEB), two.used(DB))


def test_a_stream_with_offloads_is_counted_as_the_tap_carries_it(two: Node) -> None:
    """C4.9: every byte between the frames' headers, in packets far larger than the wire's."""
    folder = f"/sys/class/net/{WEB.tap}/statistics"

    def received() -> int:
        octets, packets = two.program("cat", f"{folder}/rx_bytes", f"{folder}/rx_packets").split()
        return int(octets) - 14 * int(packets)

    before = received()
    with conversation(two) as (client, server):
        got, data = 0, bytes(2**20)
        client.setblocking(False)
        pending = memoryview(data)
        while got < len(data):
            if pending:
                with suppress(BlockingIOError):
                    pending = pending[client.send(pending) :]
            got += len(hears(server, 0.5))
        time.sleep(0.05)
        count = received() - before

    assert count > 2**20
    assert until(lambda: received() - before == two.used(WEB))


def set_anew(node: Node, rented: Rented) -> None:
    """Do what the agent never does: take the count away, as a reset by hand."""
    element = node.kernel()[ruleset.metered(vps_of(rented))]
    assert isinstance(element.statement, Quota)
    changes = Transaction()
    changes.delete(*FILTER, [element])
    changes.add(*FILTER, [replace(element, statement=Quota(element.statement.limit_bytes))])
    with inside(node.wire.node):
        changes.commit()


def test_a_count_that_somebody_reset_goes_on_and_is_not_doubled(two: Node) -> None:
    """C4.9: whichever act finds it first, and whichever comes then."""
    acts: list[Callable[[], object]] = [
        lambda: two.reconcile(WEB, DB),
        lambda: two.measure(WEB, "throttle"),
        lambda: two.lift(WEB, "throttle"),
        lambda: two.start(WEB),
        two.restore,
        lambda: (two.stop(WEB), two.start(WEB)),
        lambda: two.start(replace(WEB, quota_bytes=10**9)),
        lambda: two.measure(WEB, "block-port", MAIL),
    ]
    sent = 0
    for first, then in itertools.product(acts, acts[:4]):
        assert 3 == two.passed("web", octets=1000, count=3)
        sent += 3000
        two.reconcile()
        set_anew(two, WEB)
        assert 1 == two.passed("web", octets=700)
        sent += 700
        first()
        then()
        assert sent == two.used(WEB)
    two.reconcile()
    assert sent == two.used(WEB)


# -- quota and cycle


def throttled_packets(began: float) -> float:
    """How many packets of 1000 bytes may pass since then, at 1 Mbit/s."""
    return BUCKET_BYTES / 1000 * (1 + time.monotonic() - began) + 1


def test_each_level_is_told_once_at_its_very_byte(node: Node) -> None:
    """C4.10: however often the agent looks; and both, where it looked too late for the first."""
    small = replace(WEB, quota_bytes=10_000)
    for rented in (small, replace(DB, quota_bytes=10_000)):
        node.start(rented)
    levels = "quota-80", "quota-100"
    told = []
    for octets in (7_960, 40, 1_960, 40, 40):
        for size in (*[1_000] * (octets // 1_000), octets % 1_000):
            if size:
                node.send("web", "world", size)
        node.probe.settle()
        for _ in range(2):
            node.reconcile()
        told.append([kind for kind, _ in node.events(*levels)])
    assert told == [[], ["quota-80"], ["quota-80"], [*levels], [*levels]]
    details = [event.details for event in node.store.events() if event.kind in levels]
    assert [(8_000, 10_000), (10_000, 10_000)] == [
        (each["bytes"], each["quota_bytes"]) for each in details
    ]

    node.passed("db", octets=1_400, count=8)
    node.reconcile()
    assert [(level, "other/db") for level in levels] == node.events(*levels)[2:]


def test_over_its_quota_a_vps_is_throttled_by_the_kernel_alone_until_the_cycle_ends(
    node: Node,
) -> None:
    """C4.9, C4.10: at the byte, without the agent; lifted at the cycle's end, counting anew."""
    small = replace(WEB, quota_bytes=50_000)
    node.start(small)
    node.start(DB)

    began = time.monotonic()
    passed = node.passed("web", octets=1000, count=300)
    assert 50 + BUCKET_BYTES // 1000 - 1 <= passed <= 50 + throttled_packets(began)
    # What it sends is its volume, though it does not pass.
    assert 300_000 == node.used(WEB)
    node.reconcile(small, DB)
    passed += node.passed("web", octets=1000, count=220)
    assert passed <= 50 + throttled_packets(began)

    node.clock.now = NEXT_CYCLE
    for _ in range(2):
        node.reconcile(small, DB)
    assert [
        ("quota-80", "acme/web"),
        ("quota-100", "acme/web"),
        ("cycle-ended", "acme/web"),
        ("quota-throttle-lifted", "acme/web"),
        ("cycle-ended", "other/db"),
    ] == node.events()[2:]
    assert 0 == node.used(WEB)
    assert 40 == node.passed("web", octets=1000, count=40)
    assert 40_000 == node.used(WEB)
    [ended, _] = [event for event in node.store.events() if event.kind == "cycle-ended"]
    assert (520_000, "2026-03-31T00:00:00+02:00") == (ended.details["bytes"], ended.details["to"])


def test_a_clock_that_is_set_back_begins_no_cycle_again(two: Node) -> None:
    """C4.9: what was counted stays; nothing ends twice."""
    two.passed("web", octets=1000)
    two.clock.now = NEXT_CYCLE
    two.reconcile()
    two.passed("web", octets=1000, count=2)
    for now in (NOW, NOW - timedelta(days=400), NEXT_CYCLE, NEXT_CYCLE + timedelta(days=1)):
        two.clock.now = now
        two.reconcile()
        two.stop(WEB)
        two.start(WEB)
        assert 2000 == two.used(WEB)

    assert [("cycle-ended", "acme/web")] == two.events("cycle-ended")[:1]
    assert 2 == len(two.events("cycle-ended"))  # one of each VPS


def test_the_cycle_of_a_vps_that_is_off_turns_too(node: Node) -> None:
    """C4.9: it comes back to a volume of nothing, and to its own rate."""
    small = replace(WEB, quota_bytes=1_000)
    node.start(small)
    node.passed("web", octets=1_000, count=2)
    node.reconcile()
    node.stop(small)
    node.clock.now = NEXT_CYCLE
    node.reconcile()
    node.start(small)

    assert 0 == node.used(WEB)
    assert ["cycle-ended", "quota-throttle-lifted"] == [kind for kind, _ in node.events()[-2:]]


def test_each_vps_has_its_own_cycle(two: Node) -> None:
    """C4.9: at its own day, and at midnight where it is."""
    two.start(replace(WEB, anchor="2026-01-15", timezone="Asia/Tokyo"))
    two.start(replace(DB, anchor="2026-01-15", timezone="America/New_York"))
    for name in ("web", "db"):
        two.passed(name)
    two.clock.now = datetime(2026, 3, 14, 15, tzinfo=UTC)  # the 15th, in Tokyo
    two.reconcile()
    assert [("cycle-ended", "acme/web")] == two.events("cycle-ended")
    assert (0, 100) == (two.used(WEB), two.used(DB))
    two.clock.now = datetime(2026, 3, 15, 4, tzinfo=UTC)
    two.reconcile()

    assert (0, 0) == (two.used(WEB), two.used(DB))


def test_unlimited_is_never_throttled(node: Node) -> None:
    """C4.9: whatever was used, and whatever the agent was told before."""
    endless = replace(WEB, quota_bytes=None)
    node.start(endless)
    with node.store.hold():
        node.store.put(replace(node.known(WEB), used_bytes=10**17))
    node.stop(endless)
    with node.store.hold():
        node.store.put(replace(node.known(WEB), used_bytes=10**17))
    node.start(endless)
    node.reconcile(endless)

    assert 220 == node.passed("web", octets=1000, count=220)
    assert 10**17 + 220_000 == node.used(WEB)
    assert [] == node.events("quota-80", "quota-100")
    [said] = json.loads(node.wire.agent("status", "--json"))
    assert (None, False) == (said["quota_bytes"], said["over_quota"])


def test_a_larger_plan_lifts_the_throttle_and_keeps_the_count(node: Node) -> None:
    """C4.10: live, by reconcile as by the hook; a smaller one throttles."""
    small, large = replace(WEB, quota_bytes=10_000), replace(WEB, plan="kvm-8", quota_bytes=10**6)
    node.start(small)
    node.passed("web", octets=1000, count=20)
    node.reconcile(small)
    node.reconcile(large)
    assert 20_000 == node.used(WEB)
    assert [("plan-changed", "acme/web"), ("quota-throttle-lifted", "acme/web")] == [
        event for event in node.events() if event[0] in {"plan-changed", "quota-throttle-lifted"}
    ]
    assert 220 == node.passed("web", octets=1000, count=220)
    node.reconcile(small)

    assert 240_000 == node.used(WEB)
    began = time.monotonic()
    assert node.passed("web", octets=1000, count=220) <= throttled_packets(began)
    assert 2 == len(node.events("quota-100"))


# -- what reconcile repairs


def test_a_vps_that_runs_and_is_not_known_is_let_in(node: Node) -> None:
    """C4.3: the hook did not run."""
    assert node.reconcile(WEB).changed
    node.assert_as_the_state_says()
    assert 1 == node.passed("web")
    assert [("vps-new", "acme/web"), ("vps-repaired", "acme/web")] == node.events()
    node.stop(WEB)
    node.reconcile(WEB)
    assert 1 == node.passed("web")
    assert 100 + 100 == node.used(WEB)
    assert not node.reconcile(WEB).changed


def test_a_node_that_lost_its_state_learns_its_vpss_from_libvirt(two: Node) -> None:
    """C4.3, C4.8: all of them at once, each with a class of its own; measures are lost with it."""
    two.measure(WEB, "quarantine")
    two.store.close()
    two.wire.state.unlink()
    two.agent = two.new_agent()
    some = [newcomer(number) for number in range(3)]
    for one in some:
        (two.interfaces / one.tap).touch()

    assert two.reconcile(WEB, DB, *some).changed
    two.assert_as_the_state_says()
    assert 5 == len({known.class_minor for known in two.store.all()})
    assert (1, 1) == (two.passed("web"), two.passed("db"))
    assert not two.reconcile(WEB, DB, *some).changed


def test_a_vps_that_is_gone_is_taken_out_when_its_time_of_grace_is_over(two: Node) -> None:
    """C4.3: its hook may have run before its tap is there; what has a tap is not gone."""
    for seconds, tap_there, passes in (
        (0, False, 1),
        (59, False, 1),
        (61, True, 1),
        (61, False, 0),
    ):
        two.clock.now = NOW + timedelta(seconds=seconds)
        (two.interfaces / WEB.tap).unlink(missing_ok=True)
        if tap_there:
            (two.interfaces / WEB.tap).touch()
        two.reconcile(DB)
        assert passes == two.passed("web"), (seconds, tap_there)
    assert timedelta(seconds=60) == GRACE
    assert not two.known(WEB).running
    assert 300 == two.used(WEB)
    two.assert_as_the_state_says()


def test_a_start_gives_a_new_time_of_grace(two: Node) -> None:
    """C4.3: after a reboot it is known as one that runs, and its tap is not there yet."""
    (two.interfaces / WEB.tap).unlink()
    two.clock.advance(timedelta(hours=2))
    assert not two.start(WEB).changed
    two.clock.advance(GRACE / 2)
    two.reconcile(DB)
    assert 1 == two.passed("web")
    two.clock.advance(GRACE)
    two.reconcile(DB)

    assert 0 == two.passed("web")


def test_a_vps_that_stopped_since_libvirt_was_asked_stays_out(two: Node) -> None:
    """C7.2: libvirt is asked before the lock is taken; no false alarm, no element left behind."""
    two.stop(WEB)
    (two.interfaces / WEB.tap).unlink()
    two.reconcile(WEB, DB)
    assert not two.known(WEB).running
    two.assert_as_the_state_says()
    two.reconcile(newcomer(1), DB)
    assert 2 == len(two.store.all())
    assert [] == two.events("vps-repaired")


def test_without_libvirt_nobody_is_taken_out(two: Node) -> None:
    """A libvirtd that restarts is no VPS that stopped."""
    (two.interfaces / WEB.tap).unlink()
    two.clock.advance(timedelta(hours=1))
    two.reconcile()

    assert 1 == two.passed("web")


def test_a_changed_plan_is_in_force_without_a_restart(two: Node) -> None:
    """C4.8: rates and quota, its count going on; and told once."""
    two.passed("web", octets=1000)
    changed = replace(
        WEB, plan="kvm-4", guaranteed_mbit_s=200, throttle_mbit_s=2, quota_bytes=10**12
    )
    for changes in (True, False):
        assert changes == two.reconcile(changed, DB).changed
        two.assert_as_the_state_says()
    assert vps_of(changed) == two.known(WEB).vps
    assert 1000 == two.used(WEB)
    assert [("plan-changed", "acme/web")] == two.events("plan-changed")


def test_what_somebody_changed_in_the_kernel_is_put_right(two: Node) -> None:
    """C7.2: what is missing comes, what is too much goes, what is different is as it was."""
    two.measure(DB, "quarantine")
    stranger, world = self_made(two)
    changes = Transaction()
    tap = elements.interface(STRANGER)
    changes.add(*FILTER, [Element("senders", tap + elements.mac(stranger) + world)])
    sender = tap + elements.mac(stranger) + elements.ethertype(0x0800) + world
    changes.add(*FILTER, [Element("metered", sender, elements.class_id(1, 16), Quota(10**9))])
    db = elements.interface(DB.tap) + elements.mac(DB.mac) + elements.ipv4(DB.ipv4)
    changes.add(*FILTER, [Element("senders", db)])
    changes.delete(*FILTER, [Element("throttles", elements.interface(WEB.tap))])
    with inside(two.wire.node):
        changes.commit()
    two.program(
        "tc",
        "class",
        "change",
        "dev",
        UPLINK,
        "parent",
        "1:1",
        "classid",
        "1:10",
        "htb",
        "rate",
        "1mbit",
    )
    two.program(
        "tc",
        "class",
        "add",
        "dev",
        UPLINK,
        "parent",
        "1:1",
        "classid",
        "1:99",
        "htb",
        "rate",
        "1mbit",
    )
    assert two.passed("stranger")  # it could have

    assert two.reconcile(WEB, DB).changed
    two.assert_as_the_state_says()
    two.assert_closed()
    assert (0, 0) == (two.passed("stranger"), two.passed("db"))
    assert not two.reconcile(WEB, DB).changed


def self_made(node: Node) -> tuple[str, bytes]:
    mac, ipv4 = node.place("stranger")
    return mac, elements.ipv4(ipv4)


def test_refused_packets_are_told_once_in_ten_minutes(two: Node) -> None:
    """C7.2: whose tap, and how many since; a tap that nothing declares is another matter."""
    spoofed = frame((WEB.mac, DB.ipv4), two.place("world"))
    kinds = "spoof-refused", "unknown-tap"

    def refuse(count: int) -> None:
        two.stations["web"].send(spoofed, count)
        two.send("stranger", "world", count=2 * count)
        assert 1 == two.passed("db")  # behind them

    def told() -> list[tuple[str, str, int]]:
        found = [event for event in two.store.events() if event.kind in kinds]
        return [(event.kind, event.subject, event.details["packets"]) for event in found]

    first = {("spoof-refused", "acme/web", 5), ("unknown-tap", STRANGER, 10)}
    refuse(5)
    for _ in range(2):
        two.reconcile()
    assert (2, first) == (len(told()), set(told()))
    refuse(3)
    two.clock.advance(SAID_EVERY - timedelta(seconds=1))
    two.reconcile()
    assert 2 == len(told())
    two.clock.advance(timedelta(seconds=1))
    two.reconcile()
    then = {("spoof-refused", "acme/web", 3), ("unknown-tap", STRANGER, 6)}
    assert (4, first | then) == (len(told()), set(told()))
    two.clock.advance(2 * SAID_EVERY)
    two.reconcile()
    assert 4 == len(told())

    two.program("nft", "flush", "ruleset")  # the kernel counts from nothing again
    two.reconcile()
    refuse(1)
    two.clock.advance(SAID_EVERY)
    two.reconcile()
    assert {("spoof-refused", "acme/web", 1), ("unknown-tap", STRANGER, 2)} == set(told()[4:])


def test_what_is_sent_in_quarantine_is_no_spoof(two: Node) -> None:
    """C4.11, C7.2: neither then, nor when it is lifted."""
    two.measure(WEB, "quarantine")
    two.send("web", "world", count=50)
    two.passed("db")
    two.reconcile()
    two.lift(WEB, "quarantine")
    two.clock.advance(2 * SAID_EVERY)
    two.reconcile()
    assert [] == two.events("spoof-refused", "unknown-tap")

    two.stations["web"].send(frame((WEB.mac, DB.ipv4), two.place("world")), 3)
    two.passed("db")
    two.reconcile()
    assert [3] == [
        event.details["packets"] for event in two.store.events() if event.kind == "spoof-refused"
    ]


def test_after_a_reboot_only_those_that_ran_are_let_in(two: Node) -> None:
    """C7.2, C4.9, C4.11: with their volumes and measures, before the first guest starts."""
    two.passed("web", octets=1000, count=3)
    two.measure(WEB, "throttle")
    two.stop(DB)
    for argv in (
        ("nft", "flush", "ruleset"),
        ("tc", "qdisc", "delete", "dev", UPLINK, "root"),
        ("ip", "link", "delete", INBOUND),
    ):
        two.program(*argv)
    two.agent = two.new_agent()

    assert two.restore().changed
    two.assert_as_the_state_says()
    assert 3000 == two.used(WEB)
    assert (1, 0) == (two.passed("web"), two.passed("db"))
    two.assert_closed()


def test_many_commands_at_once_do_one_after_the_other(node: Node) -> None:
    """C4.8: hooks, timer and ops do not wait for each other to begin."""
    some = [Rented(f"v{number}", WEB.ipv4 + number) for number in range(6)]

    def command(*arguments: str) -> list[str]:
        return ["ip", "netns", "exec", node.wire.node, *node.wire.agent_command(*arguments)]

    quiet, pipe = subprocess.DEVNULL, subprocess.PIPE
    started = [
        (subprocess.Popen(command("vps", "start"), stdin=pipe, stdout=quiet, stderr=pipe), one)
        for one in some
    ]
    others = [subprocess.Popen(command(act), stdout=quiet) for act in ("reconcile", "restore")]
    said = [process.communicate(one.domain().encode())[1] for process, one in started]
    assert [b""] * 6 == said
    assert [0, 0] == [process.wait() for process in others]

    assert {one.tap for one in some} == {known.vps.tap for known in node.store.all()}
    assert 6 == len({known.class_minor for known in node.store.all()})
    node.assert_as_the_state_says()


# -- killed in the middle


class Mortality:
    """What changes something outside of this process; before the *fatal*-th it is killed.

    Statements inside a transaction of SQLite are none: they are gone with the process.
    """

    def __init__(self, fatal: int) -> None:
        self._left = fatal

    def step(self) -> None:
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def install(self) -> None:
        """For good: this process ends soon."""
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

        sqlite3.connect = partial(sqlite3.connect, factory=Connection)
        subprocess.run = mortal_run
        Transaction.commit = mortal_commit


def killed_before(node: Node, effect: int, act: Callable[[Agent], object]) -> bool:
    """Whether an agent of its own, doing *act*, was killed before that effect, or had fewer."""
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


def newcomer(number: int) -> Rented:
    """A VPS that nothing is plugged for."""
    return Rented(f"n{number}", DB.ipv4 + 1 + number, client="new")


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


CHANGED = {"plan": "kvm-4", "guaranteed_mbit_s": 200, "quota_bytes": 10**12}
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


# -- any sequence


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
                wanted |= ruleset.elements_of(one.enforced(known.class_minor))
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
        tap = elements.interface(STRANGER)
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


@pytest.mark.parametrize("seed", range(8))
def test_after_any_sequence_the_kernel_has_what_the_state_says(node: Node, seed: int) -> None:
    """C4.9, C4.11, C7.2: and every byte counted; a failure tells the whole story."""
    play = Play(node, seed)
    for _ in range(30):
        play.step()
    play.reconcile()
