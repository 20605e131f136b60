"""Whether a VPS answers, seen from its own tap: ARP, then ping, then the greeting of its SSH.

It needs nobody's help inside, and opens nothing (C4.4, C7.4): what is sent out of a tap goes to
the guest alone, and what a guest sends is seen there before the packet filter drops it. So it
works in quarantine, too.

The questions come from `PROBE`, an address that is nobody's and that no router carries on (RFC
3927, its reserved part). Not from the gateway's: while the VPS is connected, the gateway would
hear answers to what it never asked, and reset the connection. The guest answers by way of its
gateway, so that it must know the gateway's MAC. Where it is connected, it asks the gateway itself.
In quarantine it cannot: its question is passed on in the node's name, as a probe that teaches
nobody anything (RFC 5227), and the gateway's own answer is handed to the guest. Where no gateway
answers, nobody makes up a MAC: then the guest can show that it answers to ARP, and no more.

In quarantine no answer counts as anything. Connected, the guest's answers are charged as its
traffic: a few hundred bytes in all, and 40 a second while nothing listens on its port.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import dpkt  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hoster.wire.vps import Vps

PROBE = IPv4Address("169.254.255.1")
"""Where questions come from: link-local, in the part that no host takes for itself."""
SSH_PORT = 22
PATIENCE_SECONDS = 15.0
"""How long one connection may take to greet: under emulation, starting a session takes seconds."""
RELAY_SECONDS = 0.9
"""No more questions for the gateway than one in so long, whatever a guest asks."""
_NOBODY = bytes(4)
_EVERYBODY = b"\xff" * 6
_MOST_GREETING_BYTES = 4096
_MOST_BANNER = 255  # RFC 4253, 4.2
_EPHEMERAL = range(49152, 65536)
_MODULO = 2**32
_SYN, _RST, _ACK, _FIN = dpkt.tcp.TH_SYN, dpkt.tcp.TH_RST, dpkt.tcp.TH_ACK, dpkt.tcp.TH_FIN
_UNREADABLE = (dpkt.Error, ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What dpkt raises at frames that somebody made up."""


class Sign(Enum):
    """What shows that a VPS is up, in the order in which it is looked for."""

    ARP = "arp"
    PING = "ping"
    SSH = "ssh"

    def __str__(self) -> str:
        """For people."""
        return {"arp": "ARP", "ping": "ping", "ssh": "SSH"}[self.value]


@dataclass(frozen=True, slots=True)
class Ends:
    """Who talks on a tap: the guest by its address, the node by the MAC of its bridge."""

    guest_ipv4: bytes
    guest_mac: bytes
    node_mac: bytes

    @classmethod
    def of(cls, vps: Vps, node_mac: bytes) -> Ends:
        """Return those of a VPS."""
        return cls(vps.ipv4.packed, bytes.fromhex(vps.mac.replace(":", "")), node_mac)


class Boot:
    """What was seen of one boot, and what to ask next; time in seconds, passed in."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._echo_id = secrets.randbelow(2**16)
        self._rounds = 0
        self._greeting: Greeting | None = None
        self.seen: dict[Sign, float] = {}
        self.banner = ""

    def ask(self, at: float) -> list[bytes]:
        """Return the frames that ask the guest for what was not seen yet."""
        self._rounds += 1
        if Sign.ARP not in self.seen:
            return [_arp_probe(self._ends.guest_mac, self._ends.node_mac, self._ends.guest_ipv4)]
        if Sign.PING not in self.seen:
            return [self._echo_request()]
        if Sign.SSH in self.seen:
            return []
        dropped: list[bytes] = []
        if self._greeting is not None and self._greeting.is_over(at):
            dropped, self._greeting = self._greeting.abandoned(), None
        if self._greeting is None:
            self._greeting = Greeting(self._ends, at)
        return dropped + self._greeting.ask()

    def hear(self, frame: bytes, at: float) -> list[bytes]:
        """Take a frame of the guest, and return what it is answered."""
        ethernet = _read(frame)
        if ethernet is None or ethernet.src != self._ends.guest_mac:
            return []
        if isinstance(ethernet.data, dpkt.arp.ARP):
            return self._hear_arp(ethernet.data, at)
        packet = ethernet.data
        if not isinstance(packet, dpkt.ip.IP) or packet.src != self._ends.guest_ipv4:
            return []
        if packet.dst != PROBE.packed:
            return []
        if isinstance(packet.data, dpkt.icmp.ICMP):
            self._hear_icmp(packet.data, at)
        if isinstance(packet.data, dpkt.tcp.TCP) and self._greeting is not None:
            return self._hear_tcp(self._greeting, packet.data, at)
        return []

    def _hear_arp(self, said: Any, at: float) -> list[bytes]:
        own = said.spa == self._ends.guest_ipv4 and said.sha == self._ends.guest_mac
        if said.op == dpkt.arp.ARP_OP_REPLY and own:
            self.seen.setdefault(Sign.ARP, at)
        if said.op == dpkt.arp.ARP_OP_REQUEST and own and said.tpa == PROBE.packed:
            # A guest with a route of its own to link-local addresses; this one is the node's.
            return [_arp_reply(self._ends, PROBE.packed, self._ends.node_mac)]
        return []

    def _hear_icmp(self, said: Any, at: float) -> None:
        echo = said.data
        if said.type != dpkt.icmp.ICMP_ECHOREPLY or not isinstance(echo, dpkt.icmp.ICMP.Echo):
            return
        if echo.id == self._echo_id and Sign.ARP in self.seen:
            self.seen.setdefault(Sign.PING, at)

    def _hear_tcp(self, greeting: Greeting, said: Any, at: float) -> list[bytes]:
        if Sign.SSH in self.seen:
            return []
        answers = greeting.hear(said)
        if greeting.banner:
            self.seen[Sign.SSH], self.banner = at, greeting.banner
            return greeting.abandoned()
        return answers

    def _echo_request(self) -> bytes:
        echo = dpkt.icmp.ICMP.Echo(
            id=self._echo_id, seq=self._rounds % 2**16, data=b"hoster-node watch"
        )
        message = dpkt.icmp.ICMP(type=dpkt.icmp.ICMP_ECHO, data=echo)
        return _packet(self._ends, dpkt.ip.IP_PROTO_ICMP, message)


class Greeting:
    """One TCP connection to the guest's SSH: it says nothing, and waits to be greeted."""

    def __init__(self, ends: Ends, at: float) -> None:
        self._ends = ends
        self._began = at
        self._port = secrets.choice(_EPHEMERAL)
        self._next = secrets.randbelow(_MODULO)
        self._theirs: int | None = None
        self._is_refused = False
        self._heard = b""
        self.banner = ""

    def is_over(self, at: float) -> bool:
        """Whether it leads nowhere: refused, closed, or silent for too long."""
        return self._is_refused or at - self._began > PATIENCE_SECONDS

    def ask(self) -> list[bytes]:
        """Return the SYN as long as nobody answered it; the same again, for a slow answer."""
        return [self._segment(_SYN, self._next)] if self._theirs is None else []

    def abandoned(self) -> list[bytes]:
        """Return what ends it for the guest, too."""
        if self._theirs is None or self._is_refused:
            return []
        return [self._segment(_RST | _ACK, self._next)]

    def hear(self, said: Any) -> list[bytes]:
        """Take a segment of the guest, and return what it is answered."""
        if (said.sport, said.dport) != (SSH_PORT, self._port):
            return []
        if said.flags & _RST:
            # Of the connection that it is: anything else is what is left of an earlier one.
            self._is_refused |= said.ack == self._expected_ack or self._theirs is not None
            return []
        if not said.flags & _ACK or said.ack != self._expected_ack:
            return []
        if said.flags & _SYN:
            return self._opened(said)
        return self._told(said)

    @property
    def _expected_ack(self) -> int:
        return self._next if self._theirs is not None else (self._next + 1) % _MODULO

    def _opened(self, said: Any) -> list[bytes]:
        if self._theirs is None:
            self._next = self._expected_ack
            self._theirs = (said.seq + 1) % _MODULO
        return [self._segment(_ACK, self._next)]

    def _told(self, said: Any) -> list[bytes]:
        data = bytes(said.data)
        if self._theirs is None:
            return []
        if said.seq != self._theirs:  # again, or a part of it is missing
            return [self._segment(_ACK, self._next)] if data else []
        room = _MOST_GREETING_BYTES - len(self._heard)
        self._heard += data[:room]
        self._theirs = (self._theirs + len(data)) % _MODULO
        self.banner = banner_in(self._heard)
        if said.flags & _FIN or room <= 0:
            answer = [] if self.banner else self.abandoned()
            self._is_refused = not self.banner
            return answer
        return [self._segment(_ACK, self._next)] if data else []

    def _segment(self, flags: int, number: int) -> bytes:
        segment = dpkt.tcp.TCP(sport=self._port, dport=SSH_PORT, seq=number, ack=self._theirs or 0)
        segment.flags = flags
        return _packet(self._ends, dpkt.ip.IP_PROTO_TCP, segment)


class Relay:
    """Passes a guest's questions for its gateway on, and the gateway's own answer back.

    For a guest in quarantine, which the gateway does not hear. Nothing is kept: each answer that
    the guest gets is the gateway's, to a question that the guest has just asked.
    """

    def __init__(self, ends: Ends, gateway: IPv4Address) -> None:
        self._ends, self._gateway = ends, gateway.packed
        self._asked_at: float | None = None
        self._is_awaited = False
        self.unanswered = 0

    def question(self, frame: bytes, at: float) -> list[bytes]:
        """Return for the network what the guest's *frame* asks; nothing where it asks too often."""
        said = _arp(frame)
        if said is None or said.op != dpkt.arp.ARP_OP_REQUEST or said.tpa != self._gateway:
            return []
        if (said.sha, said.spa) != (self._ends.guest_mac, self._ends.guest_ipv4):
            return []
        if self._asked_at is not None and at - self._asked_at < RELAY_SECONDS:
            return []
        self._asked_at, self._is_awaited = at, True
        self.unanswered += 1
        return [_arp_probe(_EVERYBODY, self._ends.node_mac, self._gateway)]

    def answer(self, frame: bytes) -> list[bytes]:
        """Return for the guest what the network's *frame* says of the gateway, where it asked."""
        said = _arp(frame)
        if said is None or said.op != dpkt.arp.ARP_OP_REPLY or not self._is_awaited:
            return []
        if (said.spa, said.tha) != (self._gateway, self._ends.node_mac) or said.sha[0] & 1:
            return []
        self._is_awaited, self.unanswered = False, 0
        return [_arp_reply(self._ends, self._gateway, said.sha)]


def banner_in(heard: bytes) -> str:
    """Return the identification in what an SSH server said first, or nothing (RFC 4253, 4.2).

    Lines may come before it. Only printable characters: it ends on somebody's terminal.
    """
    for line in heard.splitlines():
        if line.startswith(b"SSH-"):
            text = line[:_MOST_BANNER].decode("ascii", errors="replace")
            return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)
    return ""


def in_words(signs: Iterable[Sign]) -> str:
    """Return «ARP and ping», or «nothing»."""
    listed = [str(sign) for sign in signs]
    return " and ".join(filter(None, [", ".join(listed[:-1]), *listed[-1:]])) or "nothing"


def _read(frame: bytes) -> Any:
    try:
        return dpkt.ethernet.Ethernet(frame)
    except _UNREADABLE:
        return None


def _arp(frame: bytes) -> Any:
    ethernet = _read(frame)
    if ethernet is None or not isinstance(ethernet.data, dpkt.arp.ARP):
        return None
    return ethernet.data


def _arp_probe(to: bytes, node_mac: bytes, wanted: bytes) -> bytes:
    """Return a question that says of no address where it is (RFC 5227, 1.1)."""
    arp = dpkt.arp.ARP(sha=node_mac, spa=_NOBODY, tha=bytes(6), tpa=wanted)
    return bytes(dpkt.ethernet.Ethernet(dst=to, src=node_mac, data=arp))


def _arp_reply(ends: Ends, ipv4: bytes, mac: bytes) -> bytes:
    """Return for the guest that *ipv4* is at *mac*, as whoever has it would say it."""
    arp = dpkt.arp.ARP(
        op=dpkt.arp.ARP_OP_REPLY, sha=mac, spa=ipv4, tha=ends.guest_mac, tpa=ends.guest_ipv4
    )
    return bytes(dpkt.ethernet.Ethernet(dst=ends.guest_mac, src=mac, data=arp))


def _packet(ends: Ends, protocol: int, content: Any) -> bytes:
    packet = dpkt.ip.IP(src=PROBE.packed, dst=ends.guest_ipv4, p=protocol, data=content)
    return bytes(dpkt.ethernet.Ethernet(dst=ends.guest_mac, src=ends.node_mac, data=packet))
