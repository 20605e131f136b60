"""Builds the frames of the verdict tables with scapy: JSON cases in, JSON frames out.

scapy is under the GPL-2.0 only, so that it stays a process of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from scapy.all import ARP, ICMP, IP, TCP, UDP, Dot1AD, Dot1Q, Ether, IPv6, Raw, raw
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_RA


def frame(case: dict[str, Any], places: dict[str, Any]) -> bytes:
    """Return one case's frame; ``places`` has MAC and IPv4 of each station by name."""
    sender, receiver = places[case["from"]], places[case["to"]]
    mac = places[case["as_mac"]]["mac"] if "as_mac" in case else sender["mac"]
    ipv4 = places[case["as_ipv4"]]["ipv4"] if "as_ipv4" in case else sender["ipv4"]
    to_mac = case.get("to_mac", receiver["mac"])
    link = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff" if to_mac == "broadcast" else to_mac)
    for tag in case.get("tags", []):
        link /= Dot1AD(vlan=tag["vlan"]) if tag.get("ad") else Dot1Q(vlan=tag["vlan"])
    mark = Raw(f"case-{case['number']:04d}-".encode() + b"x" * case.get("bytes", 40))
    to_ipv4 = case.get("to_ipv4", receiver["ipv4"])
    if case["protocol"].startswith("arp-"):
        return bytes(raw(link / arp(case, places, mac, ipv4, to_ipv4) / mark))
    return bytes(raw(link / PROTOCOLS[case["protocol"]](case, ipv4, to_ipv4) / mark))


def arp(case: dict[str, Any], places: dict[str, Any], mac: str, ipv4: str, to_ipv4: str) -> Any:
    """Return an ARP packet, with what it falsely claims."""
    return ARP(
        op="who-has" if case["protocol"] == "arp-request" else "is-at",
        hwsrc=places[case["arp_mac"]]["mac"] if "arp_mac" in case else mac,
        psrc=places[case["arp_ipv4"]]["ipv4"] if "arp_ipv4" in case else ipv4,
        hwdst="00:00:00:00:00:00",
        pdst=places[case["asks_for"]]["ipv4"] if "asks_for" in case else to_ipv4,
    )


def udp(case: dict[str, Any], ipv4: str, to_ipv4: str) -> Any:
    """Return a datagram, or a later fragment of one, which has no ports."""
    network = IP(src=ipv4, dst=to_ipv4, frag=case.get("fragment", 0), proto=17)
    if case.get("fragment"):
        return network
    return network / UDP(sport=case.get("source_port", 40000), dport=case.get("port", 443))


def tcp(case: dict[str, Any], ipv4: str, to_ipv4: str) -> Any:
    """Return a segment, by default the first of a connection."""
    ports = {"sport": case.get("source_port", 40000), "dport": case.get("port", 443)}
    return IP(src=ipv4, dst=to_ipv4) / TCP(flags=case.get("flags", "S"), **ports)


def dhcp_offer(_: dict[str, Any], ipv4: str, to_ipv4: str) -> Any:
    """Return what a DHCP server answers."""
    offer = BOOTP(op=2, yiaddr=to_ipv4, siaddr=ipv4)
    options = DHCP(options=[("message-type", 2), "end"])
    return IP(src=ipv4, dst=to_ipv4) / UDP(sport=67, dport=68) / offer / options


PROTOCOLS: dict[str, Callable[[dict[str, Any], str, str], Any]] = {
    "tcp": tcp,
    "udp": udp,
    "dhcp-offer": dhcp_offer,
    "icmp": lambda _, ipv4, to_ipv4: IP(src=ipv4, dst=to_ipv4) / ICMP(),
    "gre": lambda _, ipv4, to_ipv4: IP(src=ipv4, dst=to_ipv4, proto=47),
    "ipv6": lambda *_: IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=9, dport=9),
    "router-advertisement": lambda *_: IPv6(src="fe80::1", dst="ff02::1") / ICMPv6ND_RA(),
    "neighbour-advertisement": lambda *_: (
        IPv6(src="2001:db8::1", dst="ff02::1") / ICMPv6ND_NA(tgt="2001:db8::1")
    ),
}


def main() -> None:
    """Read cases and places, write frames in hexadecimal."""
    asked = json.load(sys.stdin)
    json.dump([frame(case, asked["places"]).hex() for case in asked["cases"]], sys.stdout)


main()
