"""The guarantee of each VPS: one HTB class a VPS on the uplink, and one for what comes in (C4.8).

What goes out is queued on the uplink itself; what comes in passes an intermediate device first,
to which the ruleset of the family netdev sends it. Traffic between two VPSs of a node takes no
uplink and no class.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoster.node.errors import KernelError
from hoster.node.kernel.vps_elements import CLASS_MAJOR
from hoster.wire.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hoster.node.kernel.vps_elements import Enforced

ROOT_CLASS, NODE_CLASS = 1, 2
_QUANTUM_BYTES = 15_140  # ten full frames a turn, for each class alike
_LEAST_BURST_BYTES = 15_140
_BYTES_A_MBIT = 125_000
TIMEOUT_SECONDS = 20
_CLASS = re.compile(
    r"^class htb 1:([0-9a-f]+) .*? rate (\d+)([MGT]?)bit ceil (\d+)([MGT]?)bit", re.MULTILINE
)
_OWN = {ROOT_CLASS, NODE_CLASS}
_UNITS = {"M": 1, "G": 1000, "T": 1_000_000, "": 0}

Classes = dict[str, dict[int, tuple[int, int]]]
"""By device and number: what is guaranteed and what may be reached, in Mbit/s."""


@dataclass(frozen=True)
class Shaping:
    """What the role `bandwidth` says of this node's uplink. Rates in Mbit/s.

    ``node_mbit_s`` is kept for what no VPS sends; ``queue`` is the queue of each class, as `tc`
    takes it.
    """

    uplink: str
    inbound: str
    uplink_mbit_s: int
    node_mbit_s: int
    queue: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Shaping:
        """Read what the role wrote.

        Raises:
            NodeError: it is not there, or not as the role writes it.
        """
        try:
            fields = json.loads(path.read_text())
            return cls(**{**fields, "queue": tuple(fields["queue"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NodeError(f"{path}: {error!r}: run configure-nodes.yml for this node") from error

    @property
    def devices(self) -> tuple[str, str]:
        """Where classes are."""
        return self.uplink, self.inbound


def _has_root(device: str) -> bool:
    kinds = [
        (qdisc["kind"], qdisc["handle"])
        for qdisc in _json(["tc", "-json", "qdisc", "show", "dev", device, "root"])
        if qdisc.get("root")
    ]
    return kinds == [("htb", f"{CLASS_MAJOR}:")]


def prepare(shaping: Shaping) -> None:
    """Make the intermediate device and the classes that are not a VPS's, where they are missing."""
    links = {link["ifname"] for link in _json(["ip", "-json", "link", "show"])}
    if shaping.inbound not in links:
        _run(["ip", "link", "add", shaping.inbound, "type", "ifb"])
    _run(["ip", "link", "set", shaping.inbound, "up"])
    for device in shaping.devices:
        if not _has_root(device):
            root = ("root", "handle", f"{CLASS_MAJOR}:", "htb", "default", f"{NODE_CLASS:x}")
            _run(["tc", "qdisc", "replace", "dev", device, *root])
    rate = shaping.uplink_mbit_s
    _batch(
        line
        for device in shaping.devices
        for line in (
            _class(device, f"{CLASS_MAJOR}:", ROOT_CLASS, rate, rate),
            *_leaf(shaping, device, NODE_CLASS, shaping.node_mbit_s, rate),
        )
    )


def rates(shaping: Shaping, one: Enforced) -> tuple[int, int]:
    """Return what is guaranteed to a VPS and what it may reach, in Mbit/s."""
    most = shaping.uplink_mbit_s
    return min(one.vps.guaranteed_mbit_s, most), min(one.vps.ceiling_mbit_s or most, most)


def enforce(shaping: Shaping, some: Iterable[Enforced]) -> None:
    """Give each VPS its classes; those that are there change in place, without a gap."""
    _batch(
        line
        for one in some
        for device in shaping.devices
        for line in _leaf(shaping, device, one.class_minor, *rates(shaping, one))
    )


def release(shaping: Shaping, minors: Iterable[int]) -> None:
    """Take away the classes with these numbers; those that are gone are no error."""
    minors = list(minors)
    there = classes(shaping) if minors else {}
    _batch(
        f"class delete dev {device} classid {CLASS_MAJOR}:{minor:x}"
        for minor in minors
        for device in shaping.devices
        if minor in there[device]
    )


def classes(shaping: Shaping) -> Classes:
    """Return the VPSs' classes on each device."""
    return of_vpss(every_class(shaping))


def every_class(shaping: Shaping) -> Classes:
    """Return the classes on each device: the VPSs' and the node's own."""
    # iproute2 6.1 (Debian 12) knows no JSON for classes.
    return {
        device: {
            int(minor, 16): (int(rate) * _UNITS[unit], int(ceil) * _UNITS[ceil_unit])
            for minor, rate, unit, ceil, ceil_unit in _CLASS.findall(
                _run(["tc", "class", "show", "dev", device])
            )
        }
        for device in shaping.devices
    }


def are_prepared(there: Classes) -> bool:
    """Whether each device has the node's own classes: a card that was reset has not."""
    return all(minors.keys() >= _OWN for minors in there.values())


def of_vpss(there: Classes) -> Classes:
    """Return *there* without the node's own classes."""
    return {
        device: {minor: rates for minor, rates in minors.items() if minor not in _OWN}
        for device, minors in there.items()
    }


def _leaf(shaping: Shaping, device: str, minor: int, rate: int, ceiling: int) -> tuple[str, str]:
    parent = f"{CLASS_MAJOR}:{ROOT_CLASS:x}"
    queue = " ".join(shaping.queue)
    return (
        _class(device, parent, minor, rate, ceiling),
        f"qdisc replace dev {device} parent {CLASS_MAJOR}:{minor:x} {queue}",
    )


def _class(device: str, parent: str, minor: int, rate: int, ceiling: int) -> str:
    return (
        f"class replace dev {device} parent {parent} classid {CLASS_MAJOR}:{minor:x} htb "
        f"rate {rate}mbit burst {_burst(rate)} ceil {ceiling}mbit cburst {_burst(ceiling)} "
        f"quantum {_QUANTUM_BYTES}"
    )


def _burst(mbit_s: int) -> int:
    """Return what may go at once, in bytes: a millisecond of the rate, at which timers are true."""
    return max(_LEAST_BURST_BYTES, mbit_s * _BYTES_A_MBIT // 1000)


def _batch(lines: Iterable[str]) -> None:
    if text := "\n".join(lines):
        _run(["tc", "-batch", "-"], text + "\n")


def _json(argv: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_run(argv) or "[]")
    return [one for one in found if one]


def _run(argv: list[str], text: str | None = None) -> str:
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise KernelError(f"`{' '.join(argv)}`: {done.stderr.strip()}")
    return done.stdout
