"""The lab's network: namespaces, bridges and veth pairs, nothing of the machine's own.

One namespace, `OUTSIDE`, plays the Internet: it routes between the management network, the
switch of each location and the outside host. Documentation ranges only (RFC 5737).
Every function makes what is missing and leaves alone what is there, so that it also repairs.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoster_lab.commands import run
from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OUTSIDE = "hoster-outside"
OUTSIDE_HOST = IPv4Interface("192.0.2.10/32")
MANAGEMENT = IPv4Interface("198.51.100.1/24")
MANAGEMENT_BRIDGE = "mgmt"
CONTROL = IPv4Interface("198.51.100.254/32")
CONTROL_LINK = "hoster-mgmt"
_OWN_LINKS = "hoster-"
PUBLIC = IPv4Network("203.0.113.0/24")

_FORWARDING = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
    # A question for a VPS's MAC comes from the gateway's address, whoever sends the packet.
    "net.ipv4.conf.all.arp_announce=2",
)


def inside(netns: Path) -> tuple[str, ...]:
    """Return the start of a command line that runs the rest in a network namespace."""
    return ("nsenter", f"--net={netns}", "--")


def of_process(pid: int) -> Path:
    """Return the network namespace of a process, as a path."""
    return Path(f"/proc/{pid}/ns/net")


def outside() -> Path:
    """Return the namespace that plays the Internet, as a path."""
    return Path("/run/netns") / OUTSIDE


def links(netns: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return the network interfaces of a namespace (default: the machine's own) by name."""
    argv = [*(inside(netns) if netns else ()), "ip", "-json", "address", "show"]
    found: list[dict[str, Any]] = json.loads(run(argv).stdout or "[]")
    return {link["ifname"]: link for link in found if link}


def foreign_routes() -> list[str]:
    """Return a sentence for each range of the lab that this machine already uses itself."""
    found = json.loads(run(["ip", "-json", "route", "show", "table", "main"]).stdout or "[]")
    taken = [
        route
        for route in found
        if route["dst"] != "default"
        and not route.get("dev", "").startswith(_OWN_LINKS)
        and IPv4Network(route["dst"]).overlaps(MANAGEMENT.network)
    ]
    return [
        f"this machine routes {route['dst']} to {route.get('dev')}, "
        f"and the lab's nodes are in {MANAGEMENT.network}: take that route away first"
        for route in taken
    ]


def ensure_outside(
    switches: Iterable[tuple[str, IPv4Interface]], managed: Iterable[IPv4Address]
) -> None:
    """Make the namespace that plays the Internet, with one bridge a location and one to manage.

    *managed* are the addresses of the nodes, which this machine then reaches.
    """
    if not outside().exists():
        run(["ip", "netns", "add", OUTSIDE])
    run([*inside(outside()), "sysctl", "-qw", *_FORWARDING])
    _ensure_address("lo", OUTSIDE_HOST)
    _ensure_bridge(MANAGEMENT_BRIDGE, MANAGEMENT)
    for name, gateway in switches:
        _ensure_bridge(name, gateway)
    _ensure_control_link(managed)


def attach(
    netns: Path, name: str, port: str, bridge: str, address: IPv4Interface | None = None
) -> None:
    """Connect interface *name* of a namespace to *bridge* outside, through a port of ours."""
    here = links(netns)
    if name not in here:
        if port in links(outside()):
            run([*_outside_ip(), "link", "delete", port])
        run(
            [
                *_outside_ip(),
                "link",
                "add",
                port,
                "type",
                "veth",
                "peer",
                "name",
                name,
                "netns",
                _namespace_id(netns),
            ]
        )
    run([*_outside_ip(), "link", "set", port, "master", bridge, "up"])
    if address and not _has(links(netns)[name], address):
        run([*inside(netns), "ip", "address", "replace", str(address), "dev", name])
    run([*inside(netns), "ip", "link", "set", name, "up"])
    if address:
        run([*inside(netns), "ip", "route", "replace", "default", "via", str(MANAGEMENT.ip)])


def connect(
    netns: Path,
    name: str,
    link: str,
    ours: IPv4Interface | None = None,
    theirs: IPv4Address | None = None,
) -> None:
    """Connect interface *name* of a namespace straight to this machine's *link*."""
    if name not in links(netns):
        if link in links():
            run(["ip", "link", "delete", link])
        peer = ["peer", "name", name, "netns", _namespace_id(netns)]
        run(["ip", "link", "add", link, "type", "veth", *peer])
    run(["ip", "link", "set", link, "up"])
    run([*inside(netns), "ip", "link", "set", name, "up"])
    if ours and theirs:
        run(["ip", "address", "replace", str(ours), "dev", link])
        run(["ip", "route", "replace", str(theirs), "dev", link, "src", str(ours.ip)])
        there = [*inside(netns), "ip"]
        run([*there, "address", "replace", f"{theirs}/32", "dev", name])
        run([*there, "route", "replace", str(ours.ip), "dev", name, "src", str(theirs)])


def remove() -> None:
    """Take the whole network away; what is not there is no error."""
    if CONTROL_LINK in links():
        run(["ip", "link", "delete", CONTROL_LINK])
    if outside().exists():
        run(["ip", "netns", "delete", OUTSIDE])


def _outside_ip() -> tuple[str, ...]:
    return ("ip", "-netns", OUTSIDE)


def _ensure_bridge(name: str, address: IPv4Interface) -> None:
    if name not in links(outside()):
        run([*_outside_ip(), "link", "add", name, "type", "bridge"])
    run([*_outside_ip(), "link", "set", name, "up"])
    _ensure_address(name, address)


def _ensure_address(name: str, address: IPv4Interface) -> None:
    if not _has(links(outside())[name], address):
        run([*_outside_ip(), "address", "replace", str(address), "dev", name])
    run([*_outside_ip(), "link", "set", name, "up"])
    if address.network.overlaps(PUBLIC):
        # Traffic to a VPS comes from the outside host, not from its gateway.
        source = str(OUTSIDE_HOST.ip)
        route = [str(address.network), "dev", name, "proto", "kernel", "scope", "link"]
        run([*_outside_ip(), "route", "replace", *route, "src", source])


def _ensure_control_link(managed: Iterable[IPv4Address]) -> None:
    """Connect this machine to the nodes, one route a node.

    No wider route, and none to the VPSs: a machine may itself use addresses of the
    documentation ranges, for a mirror say. VPSs are reached from `OUTSIDE`.
    """
    if CONTROL_LINK not in links():
        if "control" in links(outside()):
            run([*_outside_ip(), "link", "delete", "control"])
        peer = ["peer", "name", "control", "netns", OUTSIDE]
        run(["ip", "link", "add", CONTROL_LINK, "type", "veth", *peer])
    run([*_outside_ip(), "link", "set", "control", "master", MANAGEMENT_BRIDGE, "up"])
    run(["ip", "address", "replace", str(CONTROL), "dev", CONTROL_LINK])
    run(["ip", "link", "set", CONTROL_LINK, "up"])
    for address in managed:
        run(["ip", "route", "replace", str(address), "dev", CONTROL_LINK, "src", str(CONTROL.ip)])


def _has(link: dict[str, Any], address: IPv4Interface) -> bool:
    return any(
        IPv4Address(found["local"]) == address.ip
        and found["prefixlen"] == address.network.prefixlen
        for found in link["addr_info"]
        if found["family"] == "inet"
    )


def _namespace_id(netns: Path) -> str:
    parts: Sequence[str] = netns.parts
    if parts[:2] == ("/", "proc"):
        return parts[2]
    if netns.parent == Path("/run/netns"):
        return netns.name
    raise LabError(f"{netns} is no network namespace that `ip` can name")
