"""Reads and writes elements of nftables sets and maps, many in one kernel transaction.

Why not the program `nft`: before it adds an element it reads every object of every table, and
1.0.6 (Debian 12) cannot write a quota together with what is used up of it. The messages are
those of ``linux/netfilter/nf_tables.h``; tables, chains and rules remain `nft`'s business.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from hoster.node.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_GET_SET = 10  # NFT_MSG_GETSET
_NEW_ELEMENT, _GET_ELEMENT, _DELETE_ELEMENT = 12, 13, 14  # NFT_MSG_...SETELEM
_REQUEST, _ACKNOWLEDGE, _DUMP, _CREATE, _EXCLUSIVE = 0x1, 0x4, 0x300, 0x400, 0x200
_NESTED = 0x8000
_EXPRESSION, _EXPRESSIONS = 7, 11  # NFTA_SET_ELEM_EXPR, NFTA_SET_ELEM_EXPRESSIONS
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RECEIVE_BYTES = 2**18
_ELEMENTS_A_MESSAGE = 200  # an attribute's length has 16 bits
_NAME_BYTES = 16  # IFNAMSIZ
_NETLINK_NETFILTER = 12
_SO_SNDBUFFORCE = 32
_SECONDS_A_SECOND = 1
_HEADER = struct.Struct("=HH")


class Family(IntEnum):
    """The table's family: where in the kernel its chains hook in."""

    NETDEV = 5
    BRIDGE = 7


@dataclass(frozen=True, slots=True)
class Quota:
    """Statements that count, and hold until *limit_bytes* went by; *used_bytes* did already.

    A counter beside the kernel's quota: what a quota says is used ends at its limit, and more
    than that the kernel does not take.
    """

    limit_bytes: int
    used_bytes: int = 0

    def encode(self) -> bytes:
        """Return the attributes of an element that say it."""
        quota = _attribute(1, struct.pack(">Q", self.limit_bytes))
        quota += _attribute(2, struct.pack(">I", 0))
        quota += _attribute(4, struct.pack(">Q", min(self.used_bytes, self.limit_bytes)))
        both = _expression(b"counter", _count(self.used_bytes, 0)) + _expression(b"quota", quota)
        return _attribute(_EXPRESSIONS | _NESTED, both)


@dataclass(frozen=True, slots=True)
class ByteLimit:
    """A statement that holds while no more than *bytes_s* bytes a second go by.

    The kernel's bucket holds one second of the rate.
    """

    bytes_s: int

    def encode(self) -> bytes:
        """Return the attributes of an element that say it."""
        data = _attribute(1, struct.pack(">Q", self.bytes_s))
        data += _attribute(2, struct.pack(">Q", _SECONDS_A_SECOND))
        data += _attribute(3, struct.pack(">I", 0))
        data += _attribute(4, struct.pack(">I", 1))  # bytes, not packets
        data += _attribute(5, struct.pack(">I", 0))  # until, not over
        return _attribute(_EXPRESSIONS | _NESTED, _expression(b"limit", data))


@dataclass(frozen=True, slots=True)
class Counter:
    """A statement that counts packets and their bytes."""

    packets: int
    octets: int

    def encode(self) -> bytes:
        """Return the attributes of an element that say it."""
        counter = _expression(b"counter", _count(self.octets, self.packets))
        return _attribute(_EXPRESSIONS | _NESTED, counter)


def _count(octets: int, packets: int) -> bytes:
    return _attribute(1, struct.pack(">Q", octets)) + _attribute(2, struct.pack(">Q", packets))


def _expression(name: bytes, data: bytes) -> bytes:
    return _attribute(1 | _NESTED, _attribute(1, name + b"\0") + _attribute(2 | _NESTED, data))


Statement = Quota | ByteLimit | Counter


@dataclass(frozen=True, slots=True)
class Element:
    """An element of the set *set_name*: its key, for a map its value, and a statement.

    Key and value are bytes as the kernel compares them; the functions below make them.
    """

    set_name: str
    key: bytes
    value: bytes = b""
    statement: Statement | None = None

    def encode(self) -> bytes:
        """Return it as one ``NFTA_LIST_ELEM``."""
        content = _attribute(1 | _NESTED, _attribute(1, self.key))
        if self.value:
            content += _attribute(2 | _NESTED, _attribute(1, self.value))
        if self.statement:
            content += self.statement.encode()
        return _attribute(1 | _NESTED, content)

    def encode_key(self) -> bytes:
        """Return what names it: one ``NFTA_LIST_ELEM`` with its key alone."""
        return _attribute(1 | _NESTED, _attribute(1 | _NESTED, _attribute(1, self.key)))


class Transaction:
    """Additions and deletions that the kernel does all at once, or none of them.

    What is added must not be there, what is deleted must: anything else refuses the whole.
    """

    def __init__(self) -> None:
        self._messages: list[tuple[int, bytes]] = []
        self._places: list[str] = []
        self.added: list[Element] = []
        self.deleted: list[Element] = []

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, family: Family, table: str, elements: Iterable[Element]) -> None:
        """Add *elements*, each to its set of *table*."""
        for name, some in _grouped(elements):
            listed = b"".join(one.encode() for one in some)
            kind = _flagged(_NEW_ELEMENT, _CREATE | _EXCLUSIVE)
            self._append(kind, _set(family, table, name) + _listed(listed), f"{table} {name}")
            self.added += some

    def delete(self, family: Family, table: str, elements: Iterable[Element]) -> None:
        """Delete *elements*, each from its set of *table*, by their keys."""
        for name, some in _grouped(elements):
            listed = b"".join(one.encode_key() for one in some)
            kind = _flagged(_DELETE_ELEMENT, 0)
            self._append(kind, _set(family, table, name) + _listed(listed), f"{table} {name}")
            self.deleted += some

    def _append(self, kind: int, body: bytes, place: str) -> None:
        self._messages.append((kind, body))
        self._places.append(place)

    def commit(self) -> None:
        """Have the kernel do it.

        Raises:
            KernelError: it did nothing; the message says which set was at fault.
        """
        if not self._messages:
            return
        last = len(self._messages)
        edge = struct.pack(">BBH", 0, 0, _SUBSYSTEM)
        parts = [_message(_BATCH_BEGIN, 0, edge)]
        for number, (kind, body) in enumerate(self._messages, start=1):
            parts.append(_message(kind | (_ACKNOWLEDGE if number == last else 0), number, body))
        parts.append(_message(_BATCH_END, last + 1, edge))
        answers = [
            (number, code)
            for kind, number, body in _exchange(b"".join(parts))
            if kind == _NLMSG_ERROR
            for code in [-struct.unpack_from("=i", body)[0]]
        ]
        refused = [(number, code) for number, code in answers if code]
        if refused:
            number, code = refused[0]
            place = self._places[number - 1] if 0 < number <= last else "the transaction"
            raise KernelError(f"nftables: {place}: {_reason(code)}")
        if not answers:
            raise KernelError("nftables: the kernel did not say that it is done")


def elements_in(family: Family, table: str, set_name: str) -> list[Element]:
    """Return every element of a set as the kernel has it.

    Raises:
        KernelError: there is no such set.
    """
    body = _set(family, table, set_name)
    return _read(_flagged(_GET_ELEMENT, _DUMP), body, f"{table} {set_name}")


def element_with_key(family: Family, table: str, set_name: str, key: bytes) -> Element | None:
    """Return one element as the kernel has it, or None: at no more cost in a large set.

    Raises:
        KernelError: there is no such set.
    """
    wanted = _listed(Element(set_name, key).encode_key())
    body = _set(family, table, set_name) + wanted
    try:
        return next(iter(_read(_flagged(_GET_ELEMENT, 0), body, f"{table} {set_name}")), None)
    except _AbsentError:
        require_set(family, table, set_name)
        return None


def require_set(family: Family, table: str, set_name: str) -> None:
    """See that the kernel has a set, whatever is in it.

    Raises:
        KernelError: there is no such set.
    """
    _read(_flagged(_GET_SET, 0), _set(family, table, set_name), f"{table} {set_name}")


class _AbsentError(KernelError):
    """What was asked for is not there."""


def _read(kind: int, body: bytes, place: str) -> list[Element]:
    name = place.rpartition(" ")[2]
    found = []
    for answer, _, content in _exchange(_message(kind, 1, body)):
        if answer == _NLMSG_ERROR and (code := -struct.unpack_from("=i", content)[0]):
            error = _AbsentError if code == errno.ENOENT else KernelError
            raise error(f"nftables: {place}: {_reason(code)}")
        if answer == _SUBSYSTEM << 8 | _NEW_ELEMENT:
            listed = _attributes(content[4:]).get(3, b"")
            found += [_decoded(name, _attributes(one)) for _, one in _each_attribute(listed)]
    return found


def _decoded(set_name: str, attributes: dict[int, bytes]) -> Element:
    value = _only(attributes.get(2, b""))
    return Element(set_name, _only(attributes[1]), value, _statement(attributes))


def _statement(attributes: dict[int, bytes]) -> Statement | None:
    """Return what an element's expressions say; the kernel lists one without a list around it."""
    if _EXPRESSION in attributes:
        listed = [attributes[_EXPRESSION]]
    else:
        listed = [one for _, one in _each_attribute(attributes.get(_EXPRESSIONS, b""))]
    if not listed:
        return None
    numbers = {
        said[1].rstrip(b"\0"): {
            kind: int.from_bytes(content, "big") for kind, content in _each_attribute(said[2])
        }
        for said in map(_attributes, listed)
    }
    if b"quota" in numbers:
        return Quota(numbers[b"quota"][1], numbers[b"counter"][1])
    if b"limit" in numbers:
        return ByteLimit(numbers[b"limit"][1])
    if b"counter" in numbers:
        return Counter(numbers[b"counter"][2], numbers[b"counter"][1])
    return None


def _exchange(request: bytes) -> list[tuple[int, int, bytes]]:
    """Send *request*, and return kind, number and body of every answer."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            for option in (socket.SO_SNDBUF, _SO_SNDBUFFORCE):
                if kernel.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * len(request):
                    kernel.setsockopt(socket.SOL_SOCKET, option, 2 * len(request))
            kernel.bind((0, 0))
            kernel.sendto(request, (0, 0))
            return list(_answers(kernel))
    except OSError as error:
        raise KernelError(f"netlink: {error}") from error


def _answers(kernel: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Yield what the kernel answers: it does the work while we send, and dumps while we read."""
    while True:
        try:
            data = kernel.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        start = 0
        while start < len(data):
            length, kind, _, number, _ = struct.unpack_from("=IHHII", data, start)
            if kind == _NLMSG_DONE:
                return
            yield kind, number, data[start + 16 : start + length]
            start += (length + 3) & ~3


def _reason(code: int) -> str:
    return f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"


def _grouped(elements: Iterable[Element]) -> Iterator[tuple[str, list[Element]]]:
    by_set: dict[str, list[Element]] = {}
    for element in elements:
        by_set.setdefault(element.set_name, []).append(element)
    for name, found in by_set.items():
        for start in range(0, len(found), _ELEMENTS_A_MESSAGE):
            yield name, found[start : start + _ELEMENTS_A_MESSAGE]


def _set(family: Family, table: str, name: str) -> bytes:
    body = struct.pack(">BBH", family, 0, 0)
    return body + _attribute(1, table.encode() + b"\0") + _attribute(2, name.encode() + b"\0")


def _listed(encoded: bytes) -> bytes:
    return _attribute(3 | _NESTED, encoded)


def _attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


def _each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each attribute in *data*."""
    start = 0
    while start < len(data):
        length, kind = _HEADER.unpack_from(data, start)
        yield kind & ~_NESTED, data[start + 4 : start + length]
        start += (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    return dict(_each_attribute(data))


def _only(data: bytes) -> bytes:
    """Return the content of the one attribute in *data*, or nothing where there is none."""
    return data[4 : _HEADER.unpack_from(data)[0]] if data else b""


def _flagged(kind: int, flags: int) -> int:
    """Return *kind* with *flags* above it, as `_message` takes both."""
    return (_SUBSYSTEM << 8 | kind) << 16 | flags | _REQUEST


def _message(kind: int, number: int, body: bytes) -> bytes:
    flagged = kind if kind >> 16 else kind << 16 | _REQUEST
    return struct.pack("=IHHII", 16 + len(body), flagged >> 16, flagged & 0xFFFF, number, 0) + body


def interface(name: str) -> bytes:
    """Return an interface's name as nftables' ``ifname``."""
    encoded = name.encode()
    if not 0 < len(encoded) < _NAME_BYTES:
        raise ValueError(f"«{name}» is no name of an interface")
    return encoded.ljust(_NAME_BYTES, b"\0")


def mac(text: str) -> bytes:
    """Return a MAC, padded as in a concatenation."""
    return bytes.fromhex(text.replace(":", "")).ljust(8, b"\0")


def ipv4(address: IPv4Address) -> bytes:
    """Return an IPv4 address."""
    return address.packed


def ethertype(number: int) -> bytes:
    """Return an ethertype as a part of a key."""
    return struct.pack(">H2x", number)


def protocol(number: int) -> bytes:
    """Return a transport protocol's number, padded as in a concatenation."""
    return bytes([number]).ljust(4, b"\0")


def port(number: int, *, padded: bool = False) -> bytes:
    """Return a port, *padded* as in a concatenation."""
    return struct.pack(">H", number).ljust(4 if padded else 2, b"\0")


def class_id(major: int, minor: int) -> bytes:
    """Return a traffic class as ``meta priority`` takes it."""
    return struct.pack("=I", major << 16 | minor)
