"""What a node asks a VPS that boots, and what it takes for an answer (C4.4, C7.4)."""

from __future__ import annotations

from datetime import date
from ipaddress import IPv4Address
from typing import Any

import dpkt  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoster.node.boot.signs import (
    PATIENCE_SECONDS,
    PROBE,
    RELAY_SECONDS,
    Boot,
    Ends,
    Relay,
    Sign,
    banner_in,
    in_words,
)
from hoster.wire.vps import Vps

NODE_MAC = bytes.fromhex("0242ac110002")
GATEWAY, GATEWAY_MAC = IPv4Address("203.0.113.1"), bytes.fromhex("5254000000fe")
NEIGHBOUR, NEIGHBOUR_MAC = IPv4Address("203.0.113.18"), bytes.fromhex("0200cb007112")
VPS = Vps(
    client="acme",
    name="web",
    plan="kvm-1",
    ipv4=IPv4Address("203.0.113.17"),
    guaranteed_mbit_s=100,
    ceiling_mbit_s=None,
    throttle_mbit_s=1,
    traffic_bytes=None,
    anchor=date(2026, 1, 31),
    timezone="Europe/Paris",
    gateway=GATEWAY,
)
ENDS = Ends.of(VPS, NODE_MAC)
EVERYBODY = b"\xff" * 6
REQUEST, REPLY = dpkt.arp.ARP_OP_REQUEST, dpkt.arp.ARP_OP_REPLY
SYN, ACK, RST, FIN = 0x02, 0x10, 0x04, 0x01


def read(frame: bytes) -> Any:
    return dpkt.ethernet.Ethernet(frame)


def arp(op: int, sha: bytes, spa: IPv4Address, tpa: IPv4Address, tha: bytes = bytes(6)) -> bytes:
    said = dpkt.arp.ARP(op=op, sha=sha, spa=spa.packed, tha=tha, tpa=tpa.packed)
    return bytes(dpkt.ethernet.Ethernet(dst=EVERYBODY, src=sha, data=said))


class Guest:
    """A VPS that answers, as its *ways* say; its checksums are left to the card."""

    def __init__(self, greeting: bytes = b"SSH-2.0-test\r\n") -> None:
        self.greeting = greeting
        self.sequence = 2**32 - 1  # turns over with the SYN
        self.resets: list[Any] = []

    def answer(self, frame: bytes) -> list[bytes]:
        ethernet = read(frame)
        if isinstance(ethernet.data, dpkt.arp.ARP):
            asked = ethernet.data
            return [arp(REPLY, ENDS.guest_mac, VPS.ipv4, IPv4Address(asked.spa), asked.sha)]
        packet = ethernet.data
        if isinstance(packet.data, dpkt.icmp.ICMP):
            reply = dpkt.icmp.ICMP(type=0, data=packet.data.data)
            return [self.packet(1, reply)]
        return self.answer_tcp(packet.data)

    def answer_tcp(self, asked: Any) -> list[bytes]:
        if asked.flags & RST:
            self.resets.append(asked)
            return []
        if asked.flags & SYN:
            number, self.sequence = self.sequence, (self.sequence + 1) % 2**32
            return [self.segment(asked, SYN | ACK, number, asked.seq + 1)]
        return [self.segment(asked, ACK, self.sequence, asked.seq, self.greeting)]

    def segment(self, asked: Any, flags: int, number: int, ack: int, data: bytes = b"") -> bytes:
        said = dpkt.tcp.TCP(
            sport=asked.dport, dport=asked.sport, seq=number, ack=ack % 2**32, sum=0xBAD
        )
        said.flags, said.data = flags, data
        return self.packet(6, said)

    @staticmethod
    def packet(protocol: int, content: Any, to: IPv4Address = PROBE) -> bytes:
        packet = dpkt.ip.IP(src=VPS.ipv4.packed, dst=to.packed, p=protocol, data=content, sum=0xBAD)
        return bytes(dpkt.ethernet.Ethernet(dst=GATEWAY_MAC, src=ENDS.guest_mac, data=packet))


def exchange(boot: Boot, guest: Guest, frames: list[bytes], at: float) -> None:
    """Hand frames to and fro until nobody has anything to say."""
    while frames:
        answers = [answer for frame in frames for answer in guest.answer(frame)]
        frames = [reply for answer in answers for reply in boot.hear(answer, at)]


def looked(rounds: int, guest: Guest | None = None, boot: Boot | None = None) -> Boot:
    """A boot that was asked so many times, once a second."""
    boot, guest = boot or Boot(ENDS), guest or Guest()
    for second in range(rounds):
        exchange(boot, guest, boot.ask(float(second)), second + 0.25)
    return boot


def test_one_sign_after_the_other_with_its_time() -> None:
    """C7.4: ARP, then ping, then the greeting."""
    boot = looked(3)

    assert {Sign.ARP: 0.25, Sign.PING: 1.25, Sign.SSH: 2.25} == boot.seen
    assert "SSH-2.0-test" == boot.banner
    assert [] == boot.ask(3.0)


def test_the_first_question_teaches_the_guest_nothing() -> None:
    """RFC 5227: a probe has no sender's address that a guest could believe."""
    (frame,) = Boot(ENDS).ask(0.0)
    asked = read(frame)

    assert (ENDS.guest_mac, NODE_MAC) == (asked.dst, asked.src)
    assert (REQUEST, bytes(4), VPS.ipv4.packed) == (asked.arp.op, asked.arp.spa, asked.arp.tpa)


def test_the_questions_come_from_nobodys_address_and_are_sound() -> None:
    """The guest's kernel looks at every checksum."""
    boot = looked(2)
    for frame in (*looked(1).ask(1.0), *boot.ask(2.0)):
        packet = read(frame).data
        assert (PROBE.packed, VPS.ipv4.packed) == (packet.src, packet.dst)
        assert 0 == dpkt.dpkt.in_cksum(packet.pack_hdr())
        sent, packet.sum, packet.data.sum = bytes(packet), 0, 0
        assert sent == bytes(packet)


@pytest.mark.parametrize(
    "frame",
    [
        arp(REPLY, NEIGHBOUR_MAC, VPS.ipv4, IPv4Address(0)),
        arp(REPLY, ENDS.guest_mac, NEIGHBOUR, IPv4Address(0)),
        arp(REQUEST, ENDS.guest_mac, VPS.ipv4, VPS.ipv4),
    ],
    ids=["another's MAC", "another's address", "no answer"],
)
def test_what_is_no_answer_of_the_vps_is_no_sign(frame: bytes) -> None:
    """An answer is of its address, from its MAC."""
    boot = Boot(ENDS)

    assert [] == boot.hear(frame, 0.0)
    assert {} == boot.seen


def test_a_ping_that_nobody_asked_for_is_no_sign() -> None:
    """The reply has the number of this watch."""
    boot = looked(1)
    foreign = dpkt.icmp.ICMP(type=0, data=dpkt.icmp.ICMP.Echo(id=boot._echo_id ^ 1, data=b"x"))
    boot.hear(Guest.packet(1, foreign), 1.0)

    assert {Sign.ARP} == set(boot.seen)


class Later(Guest):
    """Its SSH starts late: until then its kernel refuses."""

    refusals = 2

    def answer_tcp(self, asked: Any) -> list[bytes]:
        if asked.flags & SYN and self.refusals:
            self.refusals -= 1
            return [self.segment(asked, RST | ACK, 0, asked.seq + 1)]
        return super().answer_tcp(asked)


def test_a_port_that_is_closed_is_tried_again_each_second() -> None:
    """SSH is the last to start."""
    boot = looked(5, Later())

    assert {Sign.ARP: 0.25, Sign.PING: 1.25, Sign.SSH: 4.25} == boot.seen


def test_a_slow_answer_is_still_the_answer() -> None:
    """The SYN of the next second is the same again."""
    boot, guest = looked(2), Guest()
    first, again = boot.ask(2.0), boot.ask(3.0)
    exchange(boot, guest, first, 3.5)

    assert first == again
    assert "SSH-2.0-test" == boot.banner


def test_a_connection_that_stays_silent_is_given_up_and_made_anew() -> None:
    """A guest that was reset knows nothing of it any more."""
    silent = Guest(b"")
    boot = looked(3, silent)
    assert [] == boot.ask(4.0)
    late = boot.ask(2.0 + PATIENCE_SECONDS + 0.1)

    assert [RST | ACK, SYN] == [read(frame).data.data.flags for frame in late]
    exchange(boot, Guest(), late, 20.0)
    assert "SSH-2.0-test" == boot.banner


def test_the_connection_is_ended_for_the_guest_once_it_greeted() -> None:
    """Nothing is left open inside."""
    guest = Guest()
    looked(3, guest)

    assert [guest.sequence + len(guest.greeting)] == [one.ack for one in guest.resets]


def test_a_guest_that_closes_without_a_word_is_asked_again() -> None:
    """As sshd does with too many at once."""

    class Closing(Guest):
        def answer_tcp(self, asked: Any) -> list[bytes]:
            if asked.flags & (SYN | RST):
                return super().answer_tcp(asked)
            return [self.segment(asked, ACK | FIN, self.sequence, asked.seq)]

    boot = looked(3, Closing())
    exchange(boot, Guest(), boot.ask(3.0), 3.5)

    assert "SSH-2.0-test" == boot.banner


def test_a_guest_that_looks_for_the_probe_itself_finds_the_node() -> None:
    """Some have a route of their own to link-local addresses; only this answer is the node's."""
    boot = Boot(ENDS)
    (frame,) = boot.hear(arp(REQUEST, ENDS.guest_mac, VPS.ipv4, PROBE), 0.0)
    told = read(frame).arp

    assert (REPLY, PROBE.packed, NODE_MAC) == (told.op, told.spa, told.sha)
    for other in (GATEWAY, NEIGHBOUR):
        assert [] == boot.hear(arp(REQUEST, ENDS.guest_mac, VPS.ipv4, other), 0.0)


@pytest.mark.parametrize(
    ("heard", "banner"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "SSH-2.0-OpenSSH_9.2p1 Debian-2"),
        (b"Authorized use only\r\nSSH-2.0-x\r\nmore", "SSH-2.0-x"),
        (b"SSH-2.0-\x1b[2Jx\xe9\r\n", "SSH-2.0-?[2Jx?"),
        (b"SSH-2.0-" + b"x" * 500, "SSH-2.0-" + "x" * 247),
        (b"220 mail.example ESMTP\r\n", ""),
        (b"", ""),
    ],
)
def test_a_greeting_is_read_and_harmless_on_a_terminal(heard: bytes, banner: str) -> None:
    """RFC 4253, 4.2: lines may come before it; a guest may say anything."""
    assert banner == banner_in(heard)


@given(st.lists(st.binary(max_size=90), max_size=4), st.binary(max_size=60), st.integers(0, 80))
def test_no_frame_of_a_guest_stops_the_watch(frames: list[bytes], patch: bytes, place: int) -> None:
    """A guest may send anything; also what is almost an answer."""
    boot, relay = looked(2), Relay(ENDS, GATEWAY)
    (syn,) = boot.ask(2.0)
    sound = [*Guest().answer(syn), arp(REQUEST, ENDS.guest_mac, VPS.ipv4, GATEWAY)]
    broken = [one[:place] + patch + one[place + len(patch) :] for one in sound]
    typed = [ENDS.guest_mac * 2 + kind + one for one in frames for kind in (b"\x08\0", b"\x08\x06")]
    for frame in (*frames, *broken, *typed, *(one[:place] for one in sound)):
        boot.hear(frame, 2.0)
        relay.question(frame, 2.0)
        relay.answer(frame)


# -- the gateway's MAC, for a guest in quarantine

QUESTION = arp(REQUEST, ENDS.guest_mac, VPS.ipv4, GATEWAY)
ANSWER = arp(REPLY, GATEWAY_MAC, GATEWAY, IPv4Address(0), NODE_MAC)


def test_the_question_for_the_gateway_is_passed_on_and_its_own_answer_handed_back() -> None:
    """The guest learns the true MAC, and the network learns nothing of the guest (C7.4)."""
    relay = Relay(ENDS, GATEWAY)
    (asked,) = relay.question(QUESTION, 1.0)
    (told,) = relay.answer(ANSWER)

    passed, handed = read(asked), read(told)
    assert (EVERYBODY, NODE_MAC) == (passed.dst, passed.src)
    assert (NODE_MAC, bytes(4), GATEWAY.packed) == (passed.arp.sha, passed.arp.spa, passed.arp.tpa)
    assert (ENDS.guest_mac, GATEWAY_MAC) == (handed.dst, handed.src)
    assert (REPLY, GATEWAY_MAC, GATEWAY.packed) == (handed.arp.op, handed.arp.sha, handed.arp.spa)


def test_nobody_makes_up_a_mac() -> None:
    """What the gateway did not answer to this guest's question is not told."""
    relay = Relay(ENDS, GATEWAY)
    assert [] == relay.answer(ANSWER)  # nobody asked
    relay.question(QUESTION, 1.0)

    for wrong in (
        arp(REPLY, NEIGHBOUR_MAC, NEIGHBOUR, IPv4Address(0), NODE_MAC),
        arp(REPLY, GATEWAY_MAC, GATEWAY, NEIGHBOUR, NEIGHBOUR_MAC),
        arp(REPLY, EVERYBODY, GATEWAY, IPv4Address(0), NODE_MAC),
        arp(REQUEST, GATEWAY_MAC, GATEWAY, GATEWAY, NODE_MAC),
        b"nonsense",
    ):
        assert [] == relay.answer(wrong)
    assert 1 == len(relay.answer(ANSWER))
    assert [] == relay.answer(ANSWER)  # once a question


@pytest.mark.parametrize(
    "frame",
    [
        arp(REQUEST, ENDS.guest_mac, VPS.ipv4, NEIGHBOUR),
        arp(REQUEST, NEIGHBOUR_MAC, VPS.ipv4, GATEWAY),
        arp(REQUEST, ENDS.guest_mac, NEIGHBOUR, GATEWAY),
        arp(REPLY, ENDS.guest_mac, VPS.ipv4, GATEWAY),
    ],
    ids=["for a neighbour", "another's MAC", "another's address", "no question"],
)
def test_nothing_else_of_a_guest_in_quarantine_is_passed_on(frame: bytes) -> None:
    """C7.4: its own question for its own gateway, and nothing that it made up."""
    assert [] == Relay(ENDS, GATEWAY).question(frame, 1.0)


def test_a_guest_cannot_make_the_node_ask_the_network_more_than_once_a_second() -> None:
    """C7.2: a flood ends at the tap."""
    relay = Relay(ENDS, GATEWAY)
    passed = [relay.question(QUESTION, 1.0 + number / 1000) for number in range(1000)]

    assert 2 == sum(map(len, passed))
    assert 2 == relay.unanswered
    assert RELAY_SECONDS > 0.5


def test_signs_are_said_in_words() -> None:
    assert "nothing" == in_words([])
    assert "SSH" == in_words([Sign.SSH])
    assert "ARP, ping and SSH" == in_words(Sign)
