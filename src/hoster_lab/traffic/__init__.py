"""Real packets on a `hoster_lab.wire`: rules as the roles write them, stations, verdicts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import yaml

from hoster.catalogue import refused_ports
from hoster_lab.errors import LabError
from hoster_lab.wire import BRIDGE, GATEWAY, INBOUND, UPLINK, Rented

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hoster_lab.wire import Wire

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WEB = Rented("web", IPv4Address("203.0.113.17"))
DB = Rented("db", IPv4Address("203.0.113.18"), client="other")
STRANGER = "tap-stranger"
ARRIVES_SECONDS = 0.4
QUEUE = "bfifo limit 262144"
"""The queue of a class that every kernel has."""
Case = dict[str, Any]
_MARK = re.compile(rb"case-(\d{4})-")


def rendered(role: str, template: str, **variables: Any) -> str:
    """Return what a role writes, from its defaults and *variables*, as Ansible would."""
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())
    source = ROOT / "roles" / role / "templates" / f"{template}.j2"
    environment = jinja2.Environment(  # noqa: S701 - a ruleset is no HTML
        trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["to_nice_json"] = lambda value: json.dumps(value, indent=4)
    environment.filters["hoster_refused_rules"] = refused_ports.rules
    return environment.from_string(source.read_text()).render(defaults | variables)


def network_policy(location: str = "paris") -> dict[str, Any]:
    """Return the shipped policy, as the playbook hands it to the roles."""
    file = ROOT / "inventory" / "group_vars" / "all" / "network.yml"
    policy = yaml.safe_load(file.read_text())["network"]
    return {
        "packet_filter_refused_ports": refused_ports.refused_at(location, policy["refused_ports"]),
        "packet_filter_limits": policy["limits"],
        "packet_filter_gateways": [str(GATEWAY.ip)],
    }


def write_rules(node: Wire, **variables: Any) -> None:
    """Write the roles' files of this node."""
    places = {"packet_filter_uplink": UPLINK, "bandwidth_uplink": UPLINK}
    places |= {"bandwidth_inbound": INBOUND, "__bandwidth_queue": QUEUE}
    given = network_policy() | places | variables
    for role, name in (
        ("packet_filter", "packet-filter.nft"),
        ("bandwidth", "bandwidth.nft"),
        ("bandwidth", "bandwidth.json"),
    ):
        (node.config / name).write_text(rendered(role, f"etc/hoster/{name}", **given))


@dataclass
class Stations:
    """Every station's capture, and a way to send from each."""

    node: Wire
    interfaces: dict[str, tuple[str, str]]
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __enter__(self) -> Stations:
        for name, (namespace, interface) in self.interfaces.items():
            argv = (sys.executable, str(HERE / "station.py"), interface)
            process = self.node.start(namespace, *argv, stdin=subprocess.PIPE)
            self.processes[name] = process
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise LabError(f"the station {name} does not start")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.communicate()

    def send(self, station: str, *frames: str) -> None:
        """Send frames, in hexadecimal, from a station."""
        stdin = self.processes[station].stdin
        if stdin is None:
            raise LabError(f"the station {station} takes no frames")
        stdin.write("".join(f"{frame}\n" for frame in frames))
        stdin.flush()

    def received(self) -> dict[str, list[bytes]]:
        """Return what each station got, and end them."""
        time.sleep(ARRIVES_SECONDS)
        found = {}
        for name, process in self.processes.items():
            output, _ = process.communicate(timeout=10)
            found[name] = [bytes.fromhex(line) for line in output.split()]
        return found


def stations(node: Wire) -> Stations:
    """Return the stations of a node with `WEB`, `DB` and the stranger plugged."""
    names = {name: (node.station(name), "eth0") for name in ("web", "db", "stranger", "world")}
    return Stations(node, names | {"node": (node.node, BRIDGE)})


def places(node: Wire) -> dict[str, dict[str, str]]:
    """Return MAC and address of each station."""

    def mac(namespace: str, interface: str) -> str:
        path = f"/sys/class/net/{interface}/address"
        return node.on(namespace, "cat", path).strip()

    gateway = mac(node.world, "eth0")
    return {
        "web": {"mac": WEB.mac, "ipv4": str(WEB.ipv4)},
        "db": {"mac": DB.mac, "ipv4": str(DB.ipv4)},
        "world": {"mac": gateway, "ipv4": str(GATEWAY.ip)},
        "stranger": {"mac": mac(node.station("stranger"), "eth0"), "ipv4": "203.0.113.99"},
        "node": {"mac": mac(node.node, BRIDGE), "ipv4": "203.0.113.250"},
    }


def built(cases: list[dict[str, Any]], where: dict[str, dict[str, str]]) -> list[str]:
    """Return the frames of the cases, in hexadecimal, as scapy builds them."""
    asked = json.dumps({"cases": cases, "places": where}, default=str)
    done = subprocess.run(
        [sys.executable, str(HERE / "frames.py")],
        input=asked,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(done.stderr)
    frames: list[str] = json.loads(done.stdout)
    return frames


def read_cases(table: Path) -> list[Case]:
    """Return a verdict table, its cases numbered."""
    return [
        {**case, "number": number} for number, case in enumerate(yaml.safe_load(table.read_text()))
    ]


def wrong_verdicts(node: Wire, cases: list[Case]) -> list[str]:
    """Send every case as a real packet; return a line for each that did not go as it says."""
    frames = built(cases, places(node))
    with stations(node) as all_of_them:
        for case, frame in zip(cases, frames, strict=True):
            all_of_them.send(case["from"], frame)
        arrived = all_of_them.received()
    seen = dict(_seen(arrived))
    return [
        f"{case['say']}: seen by {', '.join(sorted(at)) or 'nobody'}"
        for case in cases
        for at in [seen.get(case["number"], set()) - {case["from"], *case.get("heard_by", [])}]
        if at != ({case["to"]} if case["passes"] else set())
    ]


def _seen(arrived: dict[str, list[bytes]]) -> Iterator[tuple[int, set[str]]]:
    by_number: dict[int, set[str]] = {}
    for station, frames in arrived.items():
        for number in _numbers(frames):
            by_number.setdefault(number, set()).add(station)
    yield from by_number.items()


def _numbers(frames: Iterable[bytes]) -> Iterator[int]:
    return (int(number) for frame in frames for number in _MARK.findall(frame))
