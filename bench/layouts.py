"""The packet filter as others of the field lay it: plain rulesets for comparison, as text.

None of them limits, guarantees or counts: they do less for a packet than ours. Where a layout
leaves room, what costs it less was taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hoster_lab.wire import UPLINK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoster_lab.wire import Rented

_REFUSED_OUT = "135,139,445,593,23,2323,12000,15050"
_REFUSED_IN = "135,139,445,593,1080,3128,8118,12000,15050"
_AMPLIFIERS = "7,17,19,69,111,137,138,389,1900,3702,11211"
_ACCEPTED = "0x80000000/0x80000000"


@dataclass(frozen=True)
class Step:
    """A program to run on the node, and what it reads."""

    argv: tuple[str, ...]
    stdin: str = ""


class Whole(Protocol):
    """A policy that is applied as a whole.

    ``calls_iptables``: bridged packets are handed to iptables. ``most`` is how many VPSs fit.
    """

    name: str
    calls_iptables: bool
    most: int

    def whole(self, vpss: Sequence[Rented]) -> list[Step]:
        """Return what applies it for all of *vpss*, from nothing."""


class Layout(Whole, Protocol):
    """How a policy is laid: also the programs that add one VPS, and take that one away."""

    def added(self, vpss: Sequence[Rented], vps: Rented) -> list[Step]:
        """Return what adds *vps* to *vpss*."""

    def removed(self, vps: Rented) -> list[Step]:
        """Return what takes *vps* away again."""


class PveFirewall:
    """Two chains a tap in iptables, two in ebtables, found by a row of jumps (pve-firewall).

    As its ``Firewall.pm`` writes them, for taps that are right in the bridge: the firewall bridge
    that it puts before each guest, another pass through all of it, is left out, and so is IPv6.
    A security group that all share holds the refused ports. *variant* is ``nft`` or ``legacy``;
    ebtables is nft's for both, because kernels no longer bring the old one.
    """

    calls_iptables = True
    most = 10**6

    def __init__(self, variant: str, *, least: bool = False) -> None:
        self.name = f"iptables-{variant} + ebtables" + (", least" if least else "")
        self._least = least
        self._iptables = f"iptables-{variant}"

    def whole(self, vpss: Sequence[Rented]) -> list[Step]:
        """Return the restores of iptables and ebtables."""
        return [
            Step((f"{self._iptables}-restore",), self._rules(vpss)),
            Step(("ebtables-nft-restore",), self._frames(vpss)),
        ]

    def added(self, vpss: Sequence[Rented], vps: Rented) -> list[Step]:
        """Return what pve-firewall runs when a guest comes, or the least that would do.

        It reads what is there, fills the two rows of jumps anew, and replaces all of ebtables;
        that it reads all of it once more afterwards is left out.
        """
        if self._least:
            return self._appended(vps)
        everybody = [*vpss, vps]
        chains = [f":{_chain(vps, way)} - [0:0]" for way in ("IN", "OUT")]
        filled = [*_rows(everybody), *_tap(vps)]
        lines = ["*filter", *chains, "-F PVEFW-FWBR-IN", "-F PVEFW-FWBR-OUT", *filled, "COMMIT", ""]
        return [
            Step((f"{self._iptables}-save",)),
            Step((f"{self._iptables}-restore", "-n"), "\n".join(lines)),
            Step(("ebtables-nft-save",)),
            Step(("ebtables-nft-restore",), self._frames(everybody)),
        ]

    def _appended(self, vps: Rented) -> list[Step]:
        chains = [f":{_chain(vps, way)} - [0:0]" for way in ("IN", "OUT")]
        packets = ["*filter", *chains, *_jumps(vps), *_tap(vps), "COMMIT", ""]
        names = [f":{vps.tap}-OUT ACCEPT", f":{vps.tap}-OUT-ARP ACCEPT"]
        frames = ["*filter", *names, _frame_jump(vps), *_frame_tap(vps), ""]
        return [
            Step((f"{self._iptables}-restore", "-n"), "\n".join(packets)),
            Step(("ebtables-nft-restore", "--noflush"), "\n".join(frames)),
        ]

    def removed(self, vps: Rented) -> list[Step]:
        """Return the deletions of its chains and jumps."""
        chains = [_chain(vps, way) for way in ("IN", "OUT")]
        jumps = [jump.replace("-A", "-D", 1) for jump in _jumps(vps)]
        emptied = [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
        lines = ["*filter", *jumps, *emptied, "COMMIT", ""]
        jump = tuple(_frame_jump(vps).replace("-A", "-D", 1).split())
        return [
            Step((f"{self._iptables}-restore", "-n"), "\n".join(lines)),
            Step(("ebtables-nft", *jump)),
            *(
                Step(("ebtables-nft", act, f"{vps.tap}-{chain}"))
                for act in ("-F", "-X")
                for chain in ("OUT", "OUT-ARP")
            ),
        ]

    @staticmethod
    def _rules(vpss: Sequence[Rented]) -> str:
        shared = ("FORWARD", "FWBR-IN", "FWBR-OUT", "SET-ACCEPT-MARK", "Drop", "smurfs", "smurflog")
        chains = [f"PVEFW-{name}" for name in shared]
        chains += ["GROUP-hoster-IN", "GROUP-hoster-OUT"]
        chains += [_chain(vps, way) for vps in vpss for way in ("IN", "OUT")]
        taps = [line for vps in vpss for line in _tap(vps)]
        begun = ["*filter", *(f":{chain} - [0:0]" for chain in chains), *_SHARED]
        return "\n".join([*begun, *_rows(vpss), *taps, "COMMIT", ""])

    @staticmethod
    def _frames(vpss: Sequence[Rented]) -> str:
        chains = ["FORWARD", "PVEFW-FORWARD", "PVEFW-FWBR-OUT"]
        chains += [f"{vps.tap}-{name}" for vps in vpss for name in ("OUT", "OUT-ARP")]
        shared = [
            "-A FORWARD -j PVEFW-FORWARD",
            "-A PVEFW-FORWARD -p IPv4 -j ACCEPT",
            "-A PVEFW-FORWARD -p IPv6 -j ACCEPT",
            "-A PVEFW-FORWARD -i vps-+ -j PVEFW-FWBR-OUT",
        ]
        jumps = [_frame_jump(vps) for vps in vpss]
        taps = [line for vps in vpss for line in _frame_tap(vps)]
        begun = ["*filter", *(f":{chain} ACCEPT" for chain in chains), *shared]
        return "\n".join([*begun, *jumps, *taps, ""])


_SHARED = (
    "-A FORWARD -j PVEFW-FORWARD",
    "-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-A PVEFW-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-A PVEFW-FORWARD -m physdev --physdev-is-bridged --physdev-out vps-+ -j PVEFW-FWBR-IN",
    "-A PVEFW-FORWARD -m physdev --physdev-is-bridged --physdev-in vps-+ -j PVEFW-FWBR-OUT",
    f"-A PVEFW-SET-ACCEPT-MARK -j MARK --set-xmark {_ACCEPTED}",
    "-A PVEFW-Drop -m addrtype --dst-type BROADCAST -j DROP",
    "-A PVEFW-Drop -p udp -m multiport --dports 135,445 -j DROP",
    "-A PVEFW-smurfs -s 0.0.0.0/32 -j RETURN",
    "-A PVEFW-smurfs -m addrtype --src-type BROADCAST -g PVEFW-smurflog",
    "-A PVEFW-smurfs -s 224.0.0.0/4 -g PVEFW-smurflog",
    "-A PVEFW-smurflog -j DROP",
    f"-A GROUP-hoster-IN -p tcp -m multiport --dports {_REFUSED_IN} -j DROP",
    f"-A GROUP-hoster-IN -p udp -m multiport --dports {_AMPLIFIERS} -j DROP",
    f"-A GROUP-hoster-OUT -p tcp -m multiport --dports {_REFUSED_OUT} -j DROP",
    f"-A GROUP-hoster-OUT -p udp -m multiport --sports {_AMPLIFIERS} -j DROP",
)


def _chain(vps: Rented, way: str) -> str:
    return f"{vps.tap}-{way}"


def _rows(vpss: Sequence[Rented]) -> list[str]:
    """Return both rows of jumps, to which each chain bears the sum of its rules as a comment."""
    begun = "-A PVEFW-FWBR-IN -m conntrack --ctstate INVALID,NEW -j PVEFW-smurfs"
    signed = [_signature(f"PVEFW-FWBR-{way}") for way in ("IN", "OUT")]
    return [begun, *(jump for vps in vpss for jump in _jumps(vps)), *signed]


def _jumps(vps: Rented) -> tuple[str, str]:
    bridged = "-m physdev --physdev-is-bridged"
    return (
        f"-A PVEFW-FWBR-IN {bridged} --physdev-out {vps.tap} -j {_chain(vps, 'IN')}",
        f"-A PVEFW-FWBR-OUT {bridged} --physdev-in {vps.tap} -j {_chain(vps, 'OUT')}",
    )


def _tap(vps: Rented) -> list[str]:
    came, went = _chain(vps, "IN"), _chain(vps, "OUT")
    return [
        f"-A {came} -p udp --sport 67 --dport 68 -j ACCEPT",
        f"-A {came} -j GROUP-hoster-IN",
        f"-A {came} -j ACCEPT",
        _signature(came),
        f"-A {went} -p udp --sport 68 --dport 67 -g PVEFW-SET-ACCEPT-MARK",
        f"-A {went} -m mac ! --mac-source {vps.mac} -j DROP",
        f"-A {went} ! -s {vps.ipv4} -j DROP",
        f"-A {went} -j MARK --set-xmark 0x0/0x80000000",
        f"-A {went} -j GROUP-hoster-OUT",
        f"-A {went} -m mark --mark {_ACCEPTED} -j RETURN",
        f"-A {went} -g PVEFW-SET-ACCEPT-MARK",
        _signature(went),
    ]


def _signature(chain: str) -> str:
    return f'-A {chain} -m comment --comment "PVESIG:2jmj7l5rSw0yVb/vlWAYkK/YBwk"'


def _frame_jump(vps: Rented) -> str:
    return f"-A PVEFW-FWBR-OUT -i {vps.tap} -j {vps.tap}-OUT"


def _frame_tap(vps: Rented) -> list[str]:
    return [
        f"-A {vps.tap}-OUT -s ! {vps.mac} -j DROP",
        f"-A {vps.tap}-OUT -p ARP -j {vps.tap}-OUT-ARP",
        f"-A {vps.tap}-OUT -j ACCEPT",
        f"-A {vps.tap}-OUT-ARP -p ARP --arp-ip-src {vps.ipv4} -j RETURN",
        f"-A {vps.tap}-OUT-ARP -j DROP",
    ]


class Incus:
    """Two nft chains an instance, as Incus' bridge filter writes them for MAC and IPv4.

    Each hooks in by itself, of which the kernel takes 1,024 a hook; or, with *jumps*, one row of
    jumps leads to them.
    """

    calls_iptables = False

    def __init__(self, *, jumps: bool) -> None:
        self.name = "nft chains an instance, " + ("by jumps" if jumps else "each a base chain")
        self.most = 10**6 if jumps else 1000
        self._jumps = jumps

    def whole(self, vpss: Sequence[Rented]) -> list[Step]:
        """Return one `nft` with all of them."""
        text = "".join(self._chains(vps) for vps in vpss)
        for hook in ("input", "forward") if self._jumps else ():
            jumps = "".join(self._jump(hook, vps) + "\n" for vps in vpss)
            text += f"chain {hook} {{\n{_hooked(hook)}\n{jumps}}}\n"
        return [_nft(f"table bridge incus {{\n{text}}}\n")]

    def added(self, vpss: Sequence[Rented], vps: Rented) -> list[Step]:
        """Return one `nft` with the chains of one."""
        del vpss  # it needs to know nothing of the others
        text = f"table bridge incus {{\n{self._chains(vps)}}}\n"
        for hook in ("input", "forward") if self._jumps else ():
            text += f"add rule bridge incus {hook} {self._jump(hook, vps)}\n"
        return [_nft(text)]

    def removed(self, vps: Rented) -> list[Step]:
        """Return the deletion of its chains; a row of jumps is cut at its end."""
        chains = [f"in.{_label(vps)}", f"fwd.{_label(vps)}"]
        doomed = [f"delete chain bridge incus {chain}\n" for chain in chains]
        if not self._jumps:
            return [_nft("".join(doomed))]
        found = f's/.*iifname \\"{vps.tap}\\".* # handle/delete rule bridge incus $hook handle/p'
        cut = (
            "for hook in input forward; do nft --handle list chain bridge incus $hook | "
            f'sed -n "{found}"; done | nft --file -'
        )
        return [Step(("sh", "-c", cut)), _nft("".join(doomed))]

    def _chains(self, vps: Rented) -> str:
        dhcp = "ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp dport 67 accept"
        number = int(vps.mac.replace(":", ""), 16)
        guards = (
            f"ether saddr != {vps.mac} drop",
            f"ether type arp arp saddr ether != {vps.mac} drop",
            f"ether type ip6 icmpv6 type 136 @nh,528,48 != {number} drop",
            f"ether type arp arp saddr ip != {{ {vps.ipv4} }} drop",
            f"ether type ip ip saddr != {{ {vps.ipv4} }} drop",
            "ether type ip6 drop",
            "ether type != { arp, ip, ip6 } drop",
        )
        text = ""
        for name, hook, rules in (
            ("in", "input", (*guards[:3], dhcp, *guards[3:])),
            ("fwd", "forward", guards),
        ):
            begun = "" if self._jumps else _hooked(hook)
            lines = "".join(f'iifname "{vps.tap}" {rule}\n' for rule in rules)
            text += f"chain {name}.{_label(vps)} {{\n{begun}\n{lines}}}\n"
        return text

    @staticmethod
    def _jump(hook: str, vps: Rented) -> str:
        name = {"input": "in", "forward": "fwd"}[hook]
        return f'iifname "{vps.tap}" jump {name}.{_label(vps)}'


def _hooked(hook: str) -> str:
    return f"type filter hook {hook} priority -200; policy accept;"


def _label(vps: Rented) -> str:
    return f"{vps.name}.eth0"


def _nft(text: str) -> Step:
    return Step(("nft", "--file", "-"), text)


class SenderAlone:
    """The least that can be called a filter: a set of who may send as whom, and nothing else.

    No layout, but what nft's hooks and one look-up take: no limit, quota, port or receiver.
    """

    name = "one set of senders"
    calls_iptables = False
    most = 10**6

    def whole(self, vpss: Sequence[Rented]) -> list[Step]:
        """Return one `nft` with all of them."""
        known = ", ".join(f'"{vps.tap}" . {vps.mac} . {vps.ipv4}' for vps in vpss)
        return [
            _nft(f"""table bridge senders {{
                set known {{
                    type ifname . ether_addr . ipv4_addr
                    size 65536
                    elements = {{ {known} }}
                }}
                chain prerouting {{
                    type filter hook prerouting priority -300; policy drop;
                    iifname "{UPLINK}" accept
                    iifname . ether saddr . ip saddr @known accept
                }}
            }}""")
        ]


class CleanTraffic:
    """libvirt's nwfilter ``clean-traffic``, as libvirtd laid it for one VPS.

    *laid* is what `ebtables-save` said then, *model* that VPS; for the others its lines are taken
    with their names. Adding one is libvirtd's own business.
    """

    name = "nwfilter clean-traffic"
    calls_iptables = False
    most = 10**6

    def __init__(self, laid: str, model: Rented) -> None:
        of_tap = re.compile(rf"^.*\b{re.escape(model.tap)}\b.*$", re.MULTILINE)
        self._lines = [str(line) for line in of_tap.findall(laid)]
        self._model = model

    def whole(self, vpss: Sequence[Rented]) -> list[Step]:
        """Return one restore of ebtables with all of them."""
        lines = [line for vps in vpss for line in self._of(vps)]
        chains = [line for line in lines if line.startswith(":")]
        jumps = [line for line in lines if re.match("-A (PRE|POST)ROUTING ", line)]
        rules = [line for line in lines if line not in {*chains, *jumps}]
        begun = ["*nat", ":PREROUTING ACCEPT", ":OUTPUT ACCEPT", ":POSTROUTING ACCEPT"]
        return [Step(("ebtables-nft-restore",), "\n".join([*begun, *chains, *jumps, *rules, ""]))]

    def _of(self, vps: Rented) -> list[str]:
        model = self._model
        pairs = {model.tap: vps.tap, model.mac: vps.mac, str(model.ipv4): str(vps.ipv4)}
        text = "\n".join(self._lines)
        for before, after in pairs.items():
            text = text.replace(before, after)
        return text.splitlines()
