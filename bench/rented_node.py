"""A node with many VPSs for the benchmarks: one of them can send, of the others are the ports."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from hoster.billing.cycles import cycle_start
from hoster.node.kernel.netlink import Family
from hoster.node.store import FIRST_CLASS, Known, Store
from hoster_lab.agent_node import vps_of
from hoster_lab.traffic import write_rules
from hoster_lab.wire import BRIDGE, INBOUND, UPLINK, WORLD, Rented, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from layouts import Step

FIRST = IPv4Address("198.18.0.16")
"""Of the network for benchmarks (RFC 2544)."""
WIDE = {"packets_s": 10**7, "burst_packets": 10**6, "bytes_s": 2 * 10**9}
UPLINK_MBIT_S = 100_000
"""Limits and an uplink in which nothing is dropped; every rule and class is there all the same."""
USED_BYTES = 10**9
OTHERS = "others"
_PROTOCOL_UDP = 17
_DROP_ARRIVED = ("nft", "--file", "-")
"""What has arrived is counted, and at its end."""
_DROP_ALL = """table netdev end {
    chain arrived {
        type filter hook ingress device "eth0" priority 0; policy drop;
    }
}
"""


def rented(number: int) -> Rented:
    """Return VPS *number*, from 0."""
    return Rented(f"v{number}", FIRST + number)


def known(number: int) -> Known:
    """Return VPS *number* as it is in the state of a node where it runs for an hour."""
    vps, now = vps_of(rented(number)), datetime.now(UTC)
    cycle = cycle_start(vps.anchor, vps.timezone, now)
    return Known(vps, FIRST_CLASS + number, True, now - timedelta(hours=1), cycle, USED_BYTES, 0)


def run(steps: Sequence[Step]) -> float:
    """Run *steps* where we are, and return the seconds they took.

    Raises:
        RuntimeError: one failed; with what it said.
    """
    began = time.perf_counter()
    for step in steps:
        done = subprocess.run(
            step.argv, input=step.stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(step.argv)}: {done.stderr[:2000]}")
    return time.perf_counter() - began


@dataclass
class Bench:
    """What a run of the benchmark is asked for, and the nodes that it has made."""

    folder: Path
    counts: list[int]
    rounds: int
    seconds: float
    core: int
    guests: int
    _nodes: list[Node] = field(default_factory=list)

    @property
    def most(self) -> int:
        """The largest number of VPSs: where targets are judged."""
        return max(self.counts)

    def node(
        self, name: str, count: int, *, calls_iptables: bool = False, tap: bool = False
    ) -> Node:
        """Make a node with *count* VPSs."""
        made = Node(self.folder, f"{name}-{count}", count, tap=tap)
        self._nodes.append(made)
        made.build(calls_iptables=calls_iptables)
        return made

    def our_node(self, name: str, count: int, *, tap: bool = False) -> Node:
        """Make a node with everything of ours in force."""
        made = self.node(name, count, tap=tap)
        made.write_rules()
        made.write_state().close()
        made.restore()
        return made

    def clear(self) -> None:
        """Take all of them away."""
        for node in self._nodes:
            node.clear()
        self._nodes.clear()

    def turns(self, key: str) -> Iterator[int]:
        """Yield each round's number, and tell it."""
        for number in range(1, self.rounds + 1):
            tell(f"{key}: round {number} of {self.rounds}")
            yield number


def tell(text: str) -> None:
    """Say how far we are."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Burst:
    """What one run of the sender was: frames that arrived of those sent, in seconds of a core."""

    sent: int
    arrived: int
    core_seconds: float

    @property
    def packets_s(self) -> float:
        """Packets that arrive for each second of the core."""
        return self.arrived / self.core_seconds

    @property
    def lost(self) -> float:
        """The share of the frames that did not arrive."""
        return 1 - self.arrived / self.sent


class Node:
    """A node's network with the ports of *count* VPSs; the last of them can send.

    That one is a namespace behind a veth, or a *tap* that its sender writes to. Each node is a
    namespace of its own with tables of its own, so that several are there at once.
    """

    def __init__(self, folder: Path, name: str, count: int, *, tap: bool = False) -> None:
        self.vpss = [rented(number) for number in range(count)]
        self.last = self.vpss[-1]
        self.wire = Wire(f"hb{os.getpid()}-{name}", folder / name)
        self._tap = tap

    @property
    def namespace(self) -> str:
        """The node's namespace."""
        return self.wire.node

    def build(self, *, calls_iptables: bool = False) -> None:
        """Make it. Its bridge knows who is where, so that no frame is flooded."""
        wire, last = self.wire, self.last
        wire.build()
        calls = f"net.bridge.bridge-nf-call-iptables={int(calls_iptables)}"
        wire.on(wire.node, "sysctl", "-qw", calls)
        if self._tap:
            wire.on(wire.node, "ip", "tuntap", "add", last.tap, "mode", "tap")
            wire.on(wire.node, "ip", "link", "set", last.tap, "master", BRIDGE, "up")
        else:
            wire.on(wire.plug(last.name, last.tap, last.mac), *_DROP_ARRIVED, stdin=_DROP_ALL)
        wire.plug(OTHERS, "others")
        others = wire.station(OTHERS)
        links = "".join(
            f"link add {one.tap} type veth peer name {one.name} netns {others}\n"
            f"link set {one.tap} master {BRIDGE} up\n"
            for one in self.vpss[:-1]
        )
        wire.on(wire.node, "ip", "-batch", "-", stdin=links)
        for mac, port in ((self._mac(wire.world), UPLINK), (last.mac, last.tap)):
            wire.on(wire.node, "bridge", "fdb", "replace", mac, "dev", port, "master", "static")
        wire.on(wire.world, *_DROP_ARRIVED, stdin=_DROP_ALL)

    def clear(self) -> None:
        """Leave nothing behind."""
        self.wire.clear()

    def clear_rules(self) -> None:
        """Take every rule away: the next load is from nothing."""
        empty = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"
        self.wire.on(self.namespace, "nft", "flush", "ruleset")
        if shutil.which("iptables-legacy-restore"):
            self.wire.on(self.namespace, "iptables-legacy-restore", stdin=empty)

    # -- our own

    def write_rules(self) -> None:
        """Write the roles' files: the policy as shipped, its limits wide."""
        limits = {"packet_filter_limits": {"udp": WIDE, "icmp": WIDE, "arp": WIDE}}
        write_rules(self.wire, **limits, bandwidth_uplink_mbit_s=UPLINK_MBIT_S)

    def write_state(self) -> Store:
        """Write the agent's state with every VPS running, and return it."""
        store = Store(self.wire.state)
        with store.hold():
            for number in range(len(self.vpss)):
                store.put(known(number))
        return store

    def agent(self, *arguments: str) -> list[str]:
        """Return the command line of the agent on this node's state and rules."""
        _, _, _, *rest = self.wire.agent_command(*arguments)
        return [str(agent_program()), *rest]

    def unattended(self, act: str) -> list[str]:
        """Return the command line that hook and units run, on this node's state and rules."""
        return self.wire.unattended(act)

    def restore(self) -> None:
        """Have the agent load rules, classes and elements, as at a node's start."""
        self.wire.on(self.namespace, *self.agent("restore"))

    def without_classes(self) -> None:
        """Take the classes and the device for what comes in away."""
        self.wire.on(self.namespace, "nft", "delete", "table", Family.NETDEV.name.lower(), "hoster")
        self.wire.on(self.namespace, "tc", "qdisc", "delete", "dev", UPLINK, "root")
        self.wire.on(self.namespace, "ip", "link", "delete", INBOUND)

    def one_class(self) -> None:
        """Give the uplink a class for everything, and nothing else."""
        rate = f"rate {UPLINK_MBIT_S}mbit burst 1mb cburst 1mb quantum 15140"
        for line in (
            f"qdisc add dev {UPLINK} root handle 1: htb default 2",
            f"class add dev {UPLINK} parent 1: classid 1:1 htb {rate}",
            f"class add dev {UPLINK} parent 1:1 classid 1:2 htb {rate}",
            f"qdisc add dev {UPLINK} parent 1:2 bfifo limit 262144",
        ):
            self.wire.on(self.namespace, "tc", *line.split())

    # -- packets

    def send(
        self, sender: Path, seconds: float, core: int, *, inbound: bool = False, port: int = 40000
    ) -> Burst:
        """Send frames of 60 bytes from the last VPS to the world, or *inbound*, for *seconds*."""
        wire, last = self.wire, self.last
        station = wire.node if self._tap else wire.station(last.name)
        ends = [(station, last.mac, last.ipv4), (wire.world, self._mac(wire.world), WORLD.ip)]
        (origin, from_, source), (target, to, destination) = reversed(ends) if inbound else ends
        ports = (443, port) if inbound else (port, 443)
        frame = bytes.fromhex((to + from_).replace(":", ""))
        frame += _datagram(source, destination, ports)
        before = self._arrived(target)
        link = ("tap", last.tap) if self._tap else ("packet", "eth0")
        argv = [str(sender), *link, frame.hex(), str(seconds), str(core)]
        sent, _, worked = wire.on(origin, *argv).split()
        return Burst(int(sent), self._arrived(target) - before, float(worked))

    def _mac(self, namespace: str) -> str:
        said = json.loads(self.wire.on(namespace, "ip", "-json", "link", "show", "eth0"))
        return str(said[0]["address"])

    def _arrived(self, namespace: str) -> int:
        said = self.wire.on(namespace, "ip", "-stats", "-json", "link", "show", "eth0")
        return int(json.loads(said)[0]["stats64"]["rx"]["packets"])


def _datagram(source: IPv4Address, destination: IPv4Address, ports: tuple[int, int]) -> bytes:
    """Return what is in a frame of 60 bytes: ethertype, IPv4, UDP, and 18 bytes."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, 46, 0, 0, 64, _PROTOCOL_UDP, 0)
    header += source.packed + destination.packed
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    return b"\x08\x00" + header + struct.pack(">HHHH", *ports, 26, 0) + b"x" * 18


def built_sender(folder: Path) -> Path:
    """Compile the sender of frames, and return the program."""
    program = folder / "frames"
    source = Path(__file__).with_name("frames.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
    return program


def agent_program() -> Path:
    """Return the agent's command as the wheel installs it."""
    import sys

    return Path(sys.executable).with_name("hoster-node")
