"""Network namespaces from the caller's own process: its sockets there, frames sent and captured.

So that a test asks between two packets, and no program is started between. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address

    from hoster_lab.wire import Wire

PATIENCE_SECONDS = 5
"""What has not come by then does not come."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET
_RECEIVE_BUFFER_FORCE = 33  # SO_RCVBUFFORCE
_TCP, _RESET = 6, 0x04  # a reset is answered by nobody
_HEADERS_BYTES = 40


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Have this thread, and what it starts or opens, in a network namespace meanwhile.

    No program `ip netns`: it would be a process between, and be timed too.

    Raises:
        OSError: there is no such namespace, or only root may enter it.
    """
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(here)
        os.close(here)
        os.close(there)


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _NETWORK_NAMESPACE):
        raise OSError(ctypes.get_errno(), "setns")


class Station:
    """Sends and captures frames on one namespace's interface, from the caller's process.

    So that a test asks between two packets; `hoster_lab.traffic.station` is a process, which says
    in the end what it got.
    """

    def __init__(self, namespace: str, interface: str = "eth0") -> None:
        with inside(namespace):
            self._link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self._link.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, 2**23)
            self._link.bind((interface, 3))
        self._link.setblocking(False)
        self.mac = self._link.getsockname()[4].hex(":")

    def send(self, frame: bytes, count: int = 1) -> None:
        """Send a whole frame, so many times."""
        for _ in range(count):
            self._link.send(frame)

    def arrived(self) -> list[bytes]:
        """Return the frames that came since this was asked last."""
        found = []
        with suppress(BlockingIOError):
            while True:
                frame, sender = self._link.recvfrom(65535)
                if sender[2] != socket.PACKET_OUTGOING:
                    found.append(frame)
        return found


def frame(
    source: tuple[str, IPv4Address],
    target: tuple[str, IPv4Address],
    octets: int = 100,
    mark: str = "",
    port: int = 443,
) -> bytes:
    """Return a frame with an IPv4 packet of so many *octets*, from MAC and address to another's.

    Its TCP segment is for *port*, with *mark* as its text. Its checksum is for br_netfilter.
    """
    body = mark.encode().ljust(octets - _HEADERS_BYTES, b".")
    segment = struct.pack(">HHIIBBHHH", 50000, port, 1, 1, 0x50, _RESET, 1024, 0, 0)
    addresses = source[1].packed + target[1].packed
    start = struct.pack(">BBHHHBB", 0x45, 0, octets, 1, 0, 64, _TCP)
    total = sum(struct.unpack(">9H", start + addresses))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
    macs = bytes.fromhex((target[0] + source[0]).replace(":", ""))
    return macs + b"\x08\x00" + start + checksum + addresses + segment + body


@contextmanager
def one_processor() -> Iterator[None]:
    """Keep this thread on one processor, whose packets are handled one after the other."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


class Probe:
    """A link of its own: what arrives over it shows that all that was sent before is handled."""

    def __init__(self, made: Wire) -> None:
        ends = ("probe0", "probe1")
        made.on(made.world, "ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for end in ends:
            made.on(made.world, "ip", "link", "set", end, "up")
        self.stations = [Station(made.world, end) for end in ends]

    def settle(self) -> None:
        """Wait until every packet sent so far is where it goes, over as many hops as there are."""
        one, other = self.stations
        for _ in range(5):
            one.send(bytes(12) + b"\x88\xb5" + b"settle")
            assert until(lambda: any(b"settle" in each for each in other.arrived()))


def until(holds: Callable[[], bool]) -> bool:
    """Return whether it comes to hold in `PATIENCE_SECONDS`; what was sent may be on its way."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while not (held := holds()) and time.monotonic() < patience:
        time.sleep(0)
    return held


def hears(there: socket.socket, seconds: float) -> bytes:
    """Return what comes within so many seconds, or nothing."""
    there.settimeout(seconds)
    try:
        return there.recv(2**20)
    except TimeoutError:
        return b""
