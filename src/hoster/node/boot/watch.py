"""Watches a VPS boot from its own tap: the sockets and the clock around `hoster.node.boot.signs`.

It changes nothing on the node: two packet sockets, one on the tap, one on the bridge.
"""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.node.boot.signs import PROBE, Boot, Ends, Relay, Sign, in_words
from hoster.wire.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hoster.node.store import Known

EVERY_SECONDS = 1.0
LOOK_SECONDS = 0.2
"""How often a tap that is not there is looked for."""
TELL_UNANSWERED = 3
"""So many questions for the gateway without an answer are told."""
_FRAME_BYTES = 2048
_IGNORE_OUTGOING = 23  # PACKET_IGNORE_OUTGOING
_AUXDATA = 8  # PACKET_AUXDATA
_AUXDATA_STATUS = struct.Struct("=I")
_VLAN_VALID = 0x10  # TP_STATUS_VLAN_VALID
_SOL_PACKET = 263
_SO_ATTACH_FILTER = 26
_ETH_P_ALL, _ETH_P_ARP, _ETH_P_IP = 0x0003, 0x0806, 0x0800
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_HALF, _LOAD_WORD, _IS_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06  # linux/filter.h
_IS_UP = 0x1  # IFF_UP
_GONE = {errno.ENETDOWN, errno.ENXIO, errno.ENODEV}


@dataclass(frozen=True)
class Answered:
    """What was seen of a VPS, in seconds from the start of the watch; *banner* of its SSH.

    *reason* says why it is not up, where *banner* is empty.
    """

    vps: str
    seen: dict[Sign, float]
    banner: str
    reason: str = ""

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        return {
            "vps": self.vps,
            "answering": bool(self.banner),
            "seen": {sign.value: round(at, 1) for sign, at in self.seen.items()},
            "banner": self.banner,
        }


class TapGoneError(NodeError):
    """The tap went while it was watched: the VPS stopped, or is being started again."""


class Line:
    """A VPS's tap and the bridge that it is a port of."""

    def __init__(self, tap: str, bridge: str) -> None:
        self._tap, self._index = tap, socket.if_nametoindex(tap)
        with ExitStack() as opened:
            self._guest = opened.enter_context(_packet_socket(_only_for_us()))
            self._network = opened.enter_context(_packet_socket(b""))
            self._guest.bind((tap, _ETH_P_ALL))
            self._network.bind((bridge, _ETH_P_ARP))
            self.node_mac: bytes = self._network.getsockname()[4]
            self._opened = opened.pop_all()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def require_tap(self) -> None:
        """See that the tap is still the one that this was opened on.

        Raises:
            TapGoneError: it went, whether or not another has its name.
        """
        try:
            same = socket.if_nametoindex(self._tap) == self._index
        except OSError:
            same = False
        if not same:
            raise TapGoneError(f"{self._tap} is gone")

    def to_guest(self, frames: list[bytes]) -> None:
        """Send *frames* out of the tap, past bridge and filter, to nobody else."""
        _send(self._guest, frames)

    def to_network(self, frames: list[bytes]) -> None:
        """Send *frames* from the bridge: the filter lets them go to the uplink alone."""
        _send(self._network, frames)

    def heard(self, seconds: float) -> tuple[list[bytes], list[bytes]]:
        """Return what the guest and what the network sent, waiting so long for the first."""
        select.select([self._guest, self._network], [], [], max(0.0, seconds))
        return list(_waiting(self._guest)), list(_waiting(self._network))


def _packet_socket(only: bytes) -> socket.socket:
    """Return a packet socket that takes what the program *only* lets by, from its first frame."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    link.setblocking(False)
    link.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    link.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    if only:
        program = ctypes.create_string_buffer(only, len(only))
        count = len(only) // _INSTRUCTION.size
        described = struct.pack("@HP", count, ctypes.addressof(program))
        link.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    return link


def _only_for_us() -> bytes:
    """Return a filter for the kernel: ARP, and IPv4 to `PROBE`; a busy guest costs nothing."""
    return b"".join(
        _INSTRUCTION.pack(*instruction)
        for instruction in (
            (_LOAD_HALF, 0, 0, 12),
            (_IS_EQUAL, 3, 0, _ETH_P_ARP),
            (_IS_EQUAL, 0, 3, _ETH_P_IP),
            (_LOAD_WORD, 0, 0, 30),
            (_IS_EQUAL, 0, 1, int(PROBE)),
            (_RETURN, 0, 0, _FRAME_BYTES),
            (_RETURN, 0, 0, 0),
        )
    )


def _send(link: socket.socket, frames: list[bytes]) -> None:
    for frame in frames:
        try:
            link.send(frame)
        except OSError as error:
            _raise_if_gone(error)
            if error.errno not in {errno.ENOBUFS, errno.EAGAIN}:  # the guest takes none yet
                raise NodeError(f"cannot send to the VPS: {error}") from error


def _waiting(link: socket.socket) -> Iterator[bytes]:
    """Yield every frame that arrived; one with a VLAN tag is nobody's here."""
    while True:
        try:
            frame, auxiliary, _, _ = link.recvmsg(_FRAME_BYTES, socket.CMSG_SPACE(32))
        except BlockingIOError:
            return
        except OSError as error:
            _raise_if_gone(error)
            raise NodeError(f"cannot listen to the VPS: {error}") from error
        if not any(
            kind == (_SOL_PACKET, _AUXDATA) and _AUXDATA_STATUS.unpack_from(data)[0] & _VLAN_VALID
            for *kind_, data in auxiliary
            for kind in [tuple(kind_)]
        ):
            yield frame


def _raise_if_gone(error: OSError) -> None:
    if error.errno in _GONE:
        raise TapGoneError("the tap is gone") from error


class Watch:
    """One watch: *known* says each second what the node knows of the VPS, *say* tells people."""

    def __init__(
        self,
        known: Callable[[], Known],
        say: Callable[[str], None],
        interfaces: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known, self._say, self._interfaces = known, say, interfaces
        self._clock, self._began = clock, clock()
        self._boot: Boot | None = None
        self._relay: Relay | None = None
        self._is_gateway_mute = False
        self._is_waiting = False

    def run(self, seconds: float) -> Answered:
        """Return what was seen until the SSH greeted, or *seconds* were over.

        Raises:
            NodeError: the node cannot look: no right to, or no such VPS any more.
        """
        while self._left(seconds) > 0:
            line = self._line()
            if line is None:
                time.sleep(min(LOOK_SECONDS, max(0.0, self._left(seconds))))
                continue
            with line, suppress(TapGoneError):
                if self._on(line, seconds):
                    break
                continue
            self._say(f"{self._at:.1f} s: the tap is gone: the boot that was watched is over")
            self._boot = None
        return self._outcome(seconds)

    @property
    def _at(self) -> float:
        return self._clock() - self._began

    def _left(self, seconds: float) -> float:
        return seconds - self._at

    def _line(self) -> Line | None:
        """Return the VPS's tap once it is in a bridge, or None."""
        tap = self._known().vps.tap
        try:
            bridge = (self._interfaces / tap / "master").readlink().name
            line = Line(tap, bridge) if self._are_up(tap, bridge) else None
        except PermissionError as error:
            raise NodeError("only root may watch a tap") from error
        except OSError:
            line = None
        if line is None and not self._is_waiting:
            self._say(f"{self._at:.1f} s: {tap} is not up yet: the VPS does not run")
        self._is_waiting = line is None
        return line

    def _are_up(self, *links: str) -> bool:
        flags = ((self._interfaces / link / "flags").read_text() for link in links)
        return all(int(said, 16) & _IS_UP for said in flags)

    def _on(self, line: Line, seconds: float) -> bool:
        """Ask and listen until the SSH greeted or the time is over; return whether it greeted."""
        vps = self._known().vps
        ends = Ends.of(vps, line.node_mac)
        boot = self._boot = Boot(ends)
        self._relay = Relay(ends, vps.gateway) if vps.gateway is not None else None
        due = self._at
        is_cut = False
        while self._left(seconds) > 0 and not boot.banner:
            if self._at >= due:
                line.require_tap()
                is_cut = self._known().enforced.measures.quarantined
                line.to_guest(boot.ask(self._at))
                self._tell_gateway()
                due = self._at + EVERY_SECONDS
            wait = min(due - self._at, self._left(seconds))
            self._pass(line, boot, *line.heard(wait), is_cut=is_cut)
        return bool(boot.banner)

    def _pass(
        self, line: Line, boot: Boot, said: list[bytes], told: list[bytes], *, is_cut: bool
    ) -> None:
        for frame in said:
            before = set(boot.seen)
            line.to_guest(boot.hear(frame, self._at))
            new = [sign for sign in boot.seen if sign not in before]
            for sign in new:
                self._say(f"{boot.seen[sign]:.1f} s: {_seen_in_words(sign, boot.banner)}")
            if new and not boot.banner:
                line.to_guest(boot.ask(self._at))  # the next one, without waiting a second
            if is_cut and self._relay is not None:
                line.to_network(self._relay.question(frame, self._at))
        for frame in told:
            if self._relay is not None:
                line.to_guest(self._relay.answer(frame))

    def _tell_gateway(self) -> None:
        mute = self._relay is not None and self._relay.unanswered >= TELL_UNANSWERED
        if mute and not self._is_gateway_mute:
            self._say(f"{self._at:.1f} s: {self._gateway_in_words()}")
        self._is_gateway_mute = mute

    def _gateway_in_words(self) -> str:
        gateway = self._known().vps.gateway
        return (
            f"its gateway {gateway} does not say its MAC: in quarantine the VPS cannot answer a "
            "ping without it"
        )

    def _outcome(self, seconds: float) -> Answered:
        known, boot = self._known(), self._boot
        seen = boot.seen if boot else {}
        banner = boot.banner if boot else ""
        if banner:
            return Answered(known.vps.full_name, seen, banner)
        missed = [sign for sign in Sign if sign not in seen]
        if boot is None:
            reason = f"its tap {known.vps.tap} is not up: the VPS does not run"
        else:
            reason = f"seen {in_words(seen)}, not {in_words(missed)}"
            reason += f"; {self._gateway_in_words()}" if self._is_gateway_mute else ""
            if known.enforced.measures.quarantined and known.vps.gateway is None:
                reason += "; the node does not know its gateway: hoster-node reconcile"
        return Answered(
            known.vps.full_name, seen, "", f"does not answer after {seconds:.0f} s: {reason}"
        )


def _seen_in_words(sign: Sign, banner: str) -> str:
    return {
        Sign.ARP: "answers to ARP",
        Sign.PING: "answers to ping",
        Sign.SSH: f"greets as {banner}",
    }[sign]
