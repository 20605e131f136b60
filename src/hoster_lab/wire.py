"""A host node's network without a node: namespaces, a bridge, veth pairs with the names of taps.

For what needs packets and no guest. The node's namespace has the bridge and the uplink; behind the
uplink is the world, which is also the gateway; each VPS is a namespace of its own. Documentation
addresses, and nothing outside the namespaces.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from hoster.wire.names import mac_address, tap_name
from hoster_lab.commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BRIDGE, UPLINK, INBOUND = "br-public", "eth1", "ifb-hoster"
GATEWAY = IPv4Interface("203.0.113.1/24")
WORLD = IPv4Interface("198.51.100.77/32")
_DOMAIN = """<domain type='qemu'><name>{client}.{name}</name><metadata>
<hoster:vps xmlns:hoster='urn:hoster:vps:1' client={client_} name={name_} plan={plan} location='x'>
<hoster:address ipv4='{ipv4}' prefix='24' gateway='203.0.113.1' mac='{mac}' tap='{tap}'/>
<hoster:rates guaranteed-mbit-s='{guaranteed}' ceiling-mbit-s='{ceiling}'
 throttle-mbit-s='{throttle}'/>
<hoster:traffic bytes-cycle='{quota}' cycle-anchor='{anchor}' timezone='{timezone}'/>
</hoster:vps></metadata><devices><interface type='bridge'><mac address='{mac}'/>
<source bridge='br-public'/><target dev='{tap}'/></interface></devices></domain>"""


@dataclass(frozen=True)
class Rented:
    """A VPS as its domain declares it, for the agent's hook. ``None``: no ceiling, unlimited."""

    name: str
    ipv4: IPv4Address
    client: str = "acme"
    plan: str = "kvm-1"
    guaranteed_mbit_s: int = 100
    ceiling_mbit_s: int | None = None
    throttle_mbit_s: int = 1
    quota_bytes: int | None = 10**13
    anchor: str = "2026-01-31"
    timezone: str = "Europe/Paris"

    @property
    def tap(self) -> str:
        """The name of its interface on the node."""
        return tap_name(self.ipv4)

    @property
    def mac(self) -> str:
        """Its MAC."""
        return mac_address(self.ipv4)

    def domain(self) -> str:
        """Return the domain's XML as libvirt hands it to the hook."""
        return _DOMAIN.format(
            client=self.client,
            name=self.name,
            client_=quoteattr(self.client),
            name_=quoteattr(self.name),
            plan=quoteattr(self.plan),
            ipv4=self.ipv4,
            mac=self.mac,
            tap=self.tap,
            guaranteed=self.guaranteed_mbit_s,
            ceiling=self.ceiling_mbit_s or "none",
            throttle=self.throttle_mbit_s,
            quota="unlimited" if self.quota_bytes is None else self.quota_bytes,
            anchor=self.anchor,
            timezone=self.timezone,
        )


class Wire:
    """The namespaces of one node; *prefix* keeps several on one machine apart."""

    def __init__(self, prefix: str, folder: Path) -> None:
        self._prefix = prefix
        self._made: list[str] = []
        self.config = folder / "etc"
        self.state = folder / "state" / "node.sqlite"
        self.config.mkdir(parents=True, exist_ok=True)

    @property
    def node(self) -> str:
        """The node's namespace."""
        return f"{self._prefix}-node"

    @property
    def world(self) -> str:
        """The namespace behind the uplink."""
        return f"{self._prefix}-world"

    def station(self, name: str) -> str:
        """Return the namespace of that name, `node` and `world` among them."""
        return f"{self._prefix}-{name}"

    def build(self) -> None:
        """Make the node and the world."""
        for name in (self.node, self.world):
            self._namespace(name)
        # A switch that knows its ports: what the gateway routes comes with its MAC.
        self.on(self.node, "ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
        self.on(self.node, "ip", "link", "set", BRIDGE, "type", "bridge", "mcast_snooping", "0")
        self.on(self.node, "ip", "link", "set", BRIDGE, "up")
        self._veth(self.world, "eth0", UPLINK)
        self.on(self.world, "ip", "address", "add", str(GATEWAY), "dev", "eth0")
        self.on(self.world, "ip", "address", "add", str(WORLD), "dev", "lo")
        self.on(self.world, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")

    def plug(self, name: str, port: str, mac: str | None = None) -> str:
        """Connect a new namespace *name* to the bridge by *port*; return the namespace."""
        station = self.station(name)
        self._namespace(station)
        self._veth(station, "eth0", port, mac)
        return station

    def plug_vps(self, vps: Rented) -> str:
        """Connect a VPS: its namespace with its address, and its tap in the bridge."""
        station = self.plug(vps.name, vps.tap, vps.mac)
        self.on(station, "ip", "address", "add", f"{vps.ipv4}/24", "dev", "eth0")
        self.on(station, "ip", "route", "add", "default", "via", str(GATEWAY.ip))
        # The bridge learns where it is, as it does when a guest boots.
        self.on(station, "ping", "-c", "1", "-W", "1", str(GATEWAY.ip), check=False)
        return station

    def unplug(self, name: str) -> None:
        """Take a station away, its tap with it."""
        station = self.station(name)
        run(["ip", "netns", "delete", station])
        self._made.remove(station)

    def _namespace(self, name: str) -> None:
        run(["ip", "netns", "add", name])
        self._made.append(name)
        self.on(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        self.on(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        self.on(name, "ip", "link", "set", "lo", "up")

    def _veth(self, station: str, inside: str, port: str, mac: str | None = None) -> None:
        address = ("address", mac) if mac else ()
        peer = ("peer", "name", inside, *address, "netns", station)
        self.on(self.node, "ip", "link", "add", port, "type", "veth", *peer)
        self.on(self.node, "ip", "link", "set", port, "master", BRIDGE, "up")
        self.on(station, "ip", "link", "set", inside, "up")

    def on(self, namespace: str, *argv: str, stdin: str | None = None, check: bool = True) -> str:
        """Run a program in a namespace, and return what it printed."""
        done = run(["ip", "netns", "exec", namespace, *argv], stdin=stdin, check=check)
        return done.stdout

    def start(self, namespace: str, *argv: str, stdin: int | None = None) -> subprocess.Popen[str]:
        """Start a program in a namespace; who starts it ends it."""
        return subprocess.Popen(
            ["ip", "netns", "exec", namespace, *argv],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def agent_command(self, *arguments: str) -> list[str]:
        """Return the command line of the node agent on this node's state and rules."""
        places = ("--state", str(self.state), "--config", str(self.config))
        return [sys.executable, "-m", "hoster.node", *places, *arguments]

    def agent(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run the node agent in the node's namespace."""
        return self.on(self.node, *self.agent_command(*arguments), stdin=stdin, check=check)

    def unattended(self, act: str) -> list[str]:
        """Return the command line that hook and units run, on this node's state and rules."""
        program = [sys.executable, "-I", "-m", "hoster.node.unattended"]
        return [*program, act, str(self.state), str(self.config)]

    def power_on(self, vps: Rented) -> None:
        """Do what libvirt does: ask the hook, then plug the tap."""
        self.on(self.node, *self.unattended("start"), stdin=vps.domain())
        self.plug_vps(vps)

    def power_off(self, vps: Rented) -> None:
        """Do what libvirt does: take the tap away, then tell the hook."""
        self.unplug(vps.name)
        self.on(self.node, *self.unattended("stop"), stdin=vps.domain())

    def clear(self) -> None:
        """Leave nothing behind."""
        for name in reversed(self._made):
            run(["ip", "netns", "delete", name], check=False)
        self._made.clear()


@contextmanager
def wire(folder: Path, prefix: str = "") -> Iterator[Wire]:
    """Build a node's network, and take it away in the end."""
    made = Wire(prefix or f"hw{os.getpid()}", folder)
    try:
        made.build()
        yield made
    finally:
        made.clear()
