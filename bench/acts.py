"""From the start of `quarantine-vps.yml` to the last packet that passes; and 200 VPSs in one run.

Runs on the lab (`scripts/lab up` first), on one node, with VPSs that have a tap and no guest. One
of them sends a packet every 5 ms, and the outside host notes when each arrives. Exit code 1 where
a target is missed.

Example:
  .venv/bin/python bench/acts.py --rounds 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.table import Table

from hoster_lab import journey
from hoster_lab.lab import Lab
from hoster_lab.wire import Rented

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE, CLIENT = "paris-1", "acts"
SILENT = IPv4Address("198.18.0.16")
"""The first address of those that send nothing (RFC 2544)."""
SENDS = """
import socket, time
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try:
        link.sendto(b"hoster-bench", ("192.0.2.10", 9))
    except OSError:
        pass
    time.sleep(0.005)
"""
NOTES = """
import socket, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind((sys.argv[1], 3))
print("ready", flush=True)
while True:
    if b"hoster-bench" in link.recv(65535):
        print(time.time(), flush=True)
"""
NODES_PART = """
import json, sys, time
from pathlib import Path
from hoster.node import CONFIG, STATE
from hoster.node.agent import Agent, Config
from hoster.node.store import Store
agent, taken = Agent(Store(Path(STATE)), Config(Path(CONFIG))), []
for _ in range(20):
    began = time.perf_counter()
    agent.measure(sys.argv[1], "quarantine", "", "bench")
    taken.append(time.perf_counter() - began)
    agent.lift(sys.argv[1], "quarantine", "bench")
print(json.dumps(taken))
"""
TARGETS = {"one VPS: to its last packet": 5.0, "the node's own part": 0.05, "all in one run": 15.0}


class Acts:
    """The lab, with VPSs of one client on one node."""

    def __init__(self, count: int) -> None:
        self._lab = Lab(Path(__file__).resolve().parents[1])
        self._company = journey.Company(self._lab.env(), self._lab.company.project / "pulumi")
        self._node = self._lab.node(NODE)
        self._gateway = self._node.location.gateway
        sender = Rented("v0", self._gateway.ip + 100, client=CLIENT)
        # Beyond the pool: nothing is routed to them, and nobody checks a benchmark's declarations.
        others = [Rented(f"v{n}", SILENT + n, client=CLIENT) for n in range(1, count)]
        self.vpss = [sender, *others]

    @contextmanager
    def declared(self) -> Iterator[None]:
        """Declare them, let them onto the network, have the first one send; then none of it."""
        file = self._lab.company.project / "pulumi" / f"Pulumi.{CLIENT}.yaml"
        fields = {
            "plan": "kvm-1",
            "image": "debian-12@1",
            "location": "paris",
            "node": NODE,
            "term_months": 1,
        }
        some = {vps.name: fields | {"ipv4": str(vps.ipv4)} for vps in self.vpss}
        file.write_text(yaml.safe_dump({"config": {"hoster:vps": some}}))
        self._company.hoster("client", "add", CLIENT, *journey.contact("bench@example.org", "en"))
        try:
            # Taps first: a VPS that has none for a minute is taken for gone.
            taps = "".join(f"tuntap add dev {vps.tap} mode tap\n" for vps in self.vpss[1:])
            self._on(f"ip -batch - <<'END'\n{taps}END\n{self._sender()}")
            self._hooks("prepare begin")
            yield
        finally:
            file.unlink()
            self._on(f"systemctl stop bench-sender; ip netns delete {self.vpss[0].name}", "-c")
            taps = "".join(f"link delete {vps.tap}\n" for vps in self.vpss[1:])
            self._on(f"ip -force -batch - <<'END'\n{taps}END", "-c")
            self._hooks("release end")

    def _on(self, script: str, options: str = "-ec") -> str:
        check = options != "-c"
        return self._lab.on(self._node, ["sh", options, script], check=check).stdout

    def _hooks(self, what: str) -> None:
        hook = "/etc/libvirt/hooks/qemu.d/hoster"
        calls = [
            f"{hook} {CLIENT}.{vps.name} {what} - <<'XML'\n{vps.domain()}\nXML\n"
            for vps in self.vpss
        ]
        for start in range(0, len(calls), 50):  # an argument is at most 128 KiB
            self._on("".join(calls[start : start + 50]))

    def _sender(self) -> str:
        vps, prefix = self.vpss[0], self._gateway.network.prefixlen
        return f"""
ip netns add {vps.name}
ip link add {vps.tap} type veth peer name eth0 address {vps.mac} netns {vps.name}
ip link set {vps.tap} master br-public up
ip -n {vps.name} link set eth0 up
ip -n {vps.name} address add {vps.ipv4}/{prefix} dev eth0
ip -n {vps.name} route add default via {self._gateway.ip}
systemd-run --quiet --unit bench-sender ip netns exec {vps.name} python3 -c '{SENDS}'
"""

    def run(self, act: str, names: str, *more: str) -> None:
        """Run a playbook."""
        self._lab.playbook(f"{act}-vps.yml", "-e", f"vps={names}", *more)

    def to_the_last_packet(self, name: str) -> float:
        """Return the seconds from the start of the quarantine until nothing passes any more."""
        argv = [*self._lab.outside_prefix, sys.executable, "-c", NOTES, f"up-{NODE}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as noting:
            if noting.stdout is None or noting.stdout.readline() != "ready\n":
                raise RuntimeError("nobody notes packets")
            time.sleep(0.5)
            began = time.time()
            self.run("quarantine", name, "-e", "kind=scan", "-e", "severity=minor")
            time.sleep(0.5)
            noting.kill()
            arrived = [float(line) for line in noting.stdout if line.strip()]
        self.run("reconnect", name, "-e", "override=bench")
        if not arrived or arrived[-1] < began:
            raise RuntimeError("nothing passed before")
        return arrived[-1] - began

    def nodes_part(self) -> list[float]:
        """Return the seconds of the act alone, in a process that runs."""
        home = '"$(dirname "$(readlink -f "$(command -v hoster-node)")")"'
        python = f"{home}/python -I -c '{NODES_PART}' {self.vpss[1].tap}"
        taken: list[float] = json.loads(self._on(python))
        return taken


def main() -> int:
    """Measure, print, and fail where a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns (default: 5)")
    parser.add_argument("--vps", type=int, default=200, help="in one run (default: 200)")
    options = parser.parse_args()
    acts = Acts(options.vps)
    samples: dict[str, list[float]] = {name: [] for name in TARGETS}
    first, node, together = TARGETS
    with acts.declared():
        one = f"{CLIENT}/{acts.vpss[0].name}"
        names = ",".join(f"{CLIENT}/{vps.name}" for vps in acts.vpss)
        for _ in range(options.rounds):
            samples[first].append(acts.to_the_last_packet(one))
        samples[node] = acts.nodes_part()
        for _ in range(max(options.rounds // 2, 1)):
            began = time.monotonic()
            acts.run("quarantine", names, "-e", "kind=scan", "-e", "severity=minor")
            samples[together].append(time.monotonic() - began)
            acts.run("reconnect", names, "-e", "override=bench")
    table = Table("s", "median", "most", "held to", "met", title=f"{options.vps} VPSs on a node")
    missed = False
    for name, some in samples.items():
        met = statistics.median(some) <= TARGETS[name]
        missed |= not met
        cells = (f"{statistics.median(some):.3f}", f"{max(some):.3f}", f"{TARGETS[name]:g}")
        table.add_row(name, *cells, "yes" if met else "NO")
    Console().print(table)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
