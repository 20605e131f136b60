"""What the hoster has and sells: plans, images, locations with their pools, nodes, policy.

Values only: `hoster.inventory` reads them from files. Contract: C2.1, C4.1, C10.1.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = r"^[a-z][a-z0-9-]{0,29}[a-z0-9]$|^[a-z]$"
_LAST_PORT = 65535
TRAFFIC_BYTES = 10**13
"""10 TB a billing cycle, decimal (C4.9)."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"«{name}» is no time zone; one is Europe/Paris") from error
    return name


def _text(value: object) -> object:
    if isinstance(value, str):
        return value
    raise ValueError("must be a text: put it between quotes")


def _port(value: int | str) -> int | str:
    first, dash, last = str(value).partition("-")
    numbers = [
        int(part) if part.isascii() and part.isdigit() else 0 for part in (first, last or first)
    ]
    if not 0 < numbers[0] <= numbers[1] <= _LAST_PORT or (dash and numbers[0] == numbers[1]):
        raise ValueError(f"«{value}» is no port, nor a range such as 6881-6889")
    return value


Name = Annotated[str, Field(pattern=NAME)]
Positive = Annotated[int, Field(gt=0)]
Quoted = Annotated[str, BeforeValidator(_text), Field(min_length=1)]


class Value(BaseModel):
    """A value that is validated once and then never changes; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(Value):
    """A predefined model that a client can rent (C4.1).

    Sizes in MiB and GiB, rates in Mbit/s (10^6 bit), traffic in bytes a billing cycle.
    """

    range: Literal["kvm", "container"]
    title: str
    vcpus: Positive
    memory_mib: Annotated[int, Field(ge=128, multiple_of=128)]
    disk_gib: Positive
    price_eur_month: Annotated[Decimal, Field(ge=0, decimal_places=2)]
    guaranteed_mbit_s: Positive = 100
    ceiling_mbit_s: Positive | None = None
    traffic_bytes_month: Positive | Literal["unlimited"] = TRAFFIC_BYTES
    throttle_mbit_s: Positive = 1

    @property
    def traffic_bytes(self) -> int | None:
        """Outbound bytes a billing cycle; None for unlimited (C4.9)."""
        return None if self.traffic_bytes_month == "unlimited" else self.traffic_bytes_month

    @model_validator(mode="after")
    def _rates_in_order(self) -> Plan:
        if self.throttle_mbit_s > self.guaranteed_mbit_s:
            raise ValueError("throttle_mbit_s is above guaranteed_mbit_s: the quota would speed up")
        if self.ceiling_mbit_s is not None and self.ceiling_mbit_s < self.guaranteed_mbit_s:
            raise ValueError("ceiling_mbit_s is below guaranteed_mbit_s: it could not be kept")
        return self


class ImageRelease(Value):
    """One build of an image: where its bytes come from, and how they are recognised."""

    url: Annotated[str, Field(pattern=r"^(https://|file:///).+")]
    checksum: Annotated[str, Field(pattern=r"^sha512:([0-9a-f]{128}|https://.+)$")]
    format: Literal["qcow2"] = "qcow2"
    virtual_size_gib: Positive


class Image(Value):
    """An operating system on sale (C4.1); an order pins one of its releases."""

    title: str
    default_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
    default_release: Quoted
    releases: Annotated[dict[Quoted, ImageRelease], Field(min_length=1)]

    @model_validator(mode="after")
    def _default_exists(self) -> Image:
        if self.default_release not in self.releases:
            raise ValueError(
                f"default_release {self.default_release} is none of {', '.join(self.releases)}"
            )
        return self


class Pool(Value):
    """Public addresses of a location: what is in ``cidr`` and neither special nor reserved.

    ``reserved`` holds single addresses, ranges (``203.0.113.2-203.0.113.9``) and networks.
    """

    cidr: IPv4Network
    gateway: IPv4Address
    dns: Annotated[tuple[IPv4Address, ...], Field(min_length=1)]
    reserved: tuple[str, ...] = ()
    _reserved: tuple[IPv4Network, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _consistent(self) -> Pool:
        if self.gateway not in self.cidr:
            raise ValueError(f"gateway {self.gateway} is outside {self.cidr}")
        self._reserved = tuple(
            network for entry in self.reserved for network in _reservation(entry, self.cidr)
        )
        return self

    def objection(self, ipv4: IPv4Address) -> str:
        """Say why *ipv4*, which is in this pool, is not for a VPS; empty where it is."""
        special = {
            self.cidr.network_address: "it is the network address",
            self.cidr.broadcast_address: "it is the broadcast address",
            self.gateway: "it is the gateway",
        }
        if ipv4 in special:
            return f"{special[ipv4]} of {self.cidr}"
        if any(ipv4 in network for network in self._reserved):
            return f"it is reserved in {self.cidr}"
        return ""

    def assignable(self) -> Iterator[IPv4Address]:
        """Yield the addresses that a VPS can have, lowest first."""
        return (ipv4 for ipv4 in self.cidr.hosts() if not self.objection(ipv4))


def _reservation(entry: str, cidr: IPv4Network) -> list[IPv4Network]:
    first, dash, last = (part.strip() for part in entry.partition("-"))
    try:
        networks = (
            list(summarize_address_range(IPv4Address(first), IPv4Address(last)))
            if dash
            else [IPv4Network(entry)]
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"reserved: «{entry}» is no address, range (first-last) or network"
        ) from error
    outside = [network for network in networks if not network.subnet_of(cidr)]
    if outside:
        raise ValueError(f"reserved: {entry} is outside {cidr}")
    return networks


class Location(Value):
    """A datacenter, and where on Earth its addresses are announced to be (C10.1, RFC 8805).

    ``country`` is ISO 3166-1 alpha-2, ``region`` ISO 3166-2.
    """

    title: str
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}-[A-Z0-9]{1,3}$")]
    city: Annotated[str, Field(pattern=r"^[^,#\n]+$")]
    postal_code: Annotated[Quoted, Field(pattern=r"^[^,#\n]+$")]
    pools: Annotated[tuple[Pool, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _region_of_country(self) -> Location:
        if not self.region.startswith(f"{self.country}-"):
            raise ValueError(f"region {self.region} is not in {self.country}")
        return self


class NodeCapacity(Value):
    """What a host node has, and how far it may be shared (C2.1).

    Disk is never overcommitted; ``memory_factor`` and ``vcpu_factor`` say how many times the
    RAM (less ``reserved_memory_mib``, kept for the host itself) and the CPUs may be sold.
    """

    disk_gib: Positive
    memory_mib: Positive
    memory_factor: Annotated[float, Field(ge=1, le=4)] = 1.0
    reserved_memory_mib: Annotated[int, Field(ge=0)] = 2048
    vcpus: Positive
    vcpu_factor: Annotated[float, Field(ge=1, le=32)] = 4.0
    uplink_mbit_s: Positive


class Node(Value):
    """A host node: where it is, how libvirt on it is reached, what it can carry."""

    name: Name
    location: Name
    libvirt_uri: Annotated[str, Field(pattern=r"^(qemu|test)(\+[a-z]+)?:///?.+")]
    domain_type: Literal["kvm", "qemu"] = "kvm"
    capacity: NodeCapacity


class Headroom(Value):
    """How far a running VPS can be plugged up without a reboot (C4.7).

    It stands in each domain's definition: a change costs every running VPS one reboot.
    """

    vcpus: Annotated[int, Field(ge=1, le=240)] = Field(8, description="Most vCPUs.")
    memory_mib: Annotated[int, Field(ge=1024, multiple_of=1024)] = Field(
        32768, description="Most RAM, in MiB."
    )
    memory_slots: Annotated[int, Field(ge=1, le=240)] = Field(
        16, description="How many times RAM can be plugged in until the next reboot."
    )


class IncidentPolicy(Value):
    """What follows a security incident once the client has corrected the problem (C6.2, C15.1)."""

    former_disk_days: Annotated[int, Field(ge=1, le=365)] = Field(
        7,
        description="How long a client can read the disk of its former system, where it asked "
        "for that (C7.5).",
    )
    proof_hours: Annotated[int, Field(ge=72, le=8760)] = Field(
        72,
        description="How long a client has to prove its contact details once it is asked to; the "
        "contract gives it 72 hours (C7.1).",
    )
    recurrence_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        365, description="An earlier incident of the VPS counts for so long."
    )
    after_correction: dict[
        Literal["minor", "serious", "severe"],
        Annotated[tuple[Literal["reconnect", "refuse"], ...], Field(min_length=1)],
    ] = Field(
        {
            "minor": ("reconnect", "reconnect", "refuse"),
            "serious": ("reconnect", "refuse"),
            "severe": ("refuse",),
        },
        description="By severity: what follows the first incident, the second, and so on; the "
        "last entry holds for all that come after it.",
    )

    @model_validator(mode="after")
    def _complete(self) -> IncidentPolicy:
        if missing := {"minor", "serious", "severe"} - self.after_correction.keys():
            raise ValueError(f"after_correction says nothing of {', '.join(sorted(missing))}")
        return self

    @property
    def recurrence(self) -> timedelta:
        """How long an earlier incident counts."""
        return timedelta(days=self.recurrence_days)


class Policy(Value):
    """The company's own choices, where the contract leaves one."""

    address_quarantine_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        30, description="How long a released address rests before a new VPS may get it."
    )
    storage_pool: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        "vps", description="The libvirt pool of root disks, seeds and base images."
    )
    bridge: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,14}$")] = Field(
        "br-public", description="The location's switch, on each host node."
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "Europe/Paris", description="Zone of terms, billing cycles and deadlines."
    )
    shutdown_seconds: Annotated[int, Field(ge=0, le=600)] = Field(
        60, description="An orderly shutdown gets this long before a hard one."
    )
    headroom: Headroom = Field(
        Headroom(), description="How far a running VPS can be plugged up without a reboot."
    )
    incidents: IncidentPolicy = Field(
        IncidentPolicy(), description="What follows a security incident."
    )


class RefusedPorts(Value):
    """Ports that no VPS of the named locations may use, and why (C4.5, C7.6)."""

    name: Name = Field(description="What people call it.")
    reason: Annotated[str, Field(pattern=r"^[^\n#]+$")] = Field(
        description="Why, in words for an abuse desk and for clients."
    )
    direction: Literal["in", "out"] = Field(description="`in`: towards VPSs; `out`: from VPSs.")
    protocol: Literal["tcp", "udp"] = Field(description="The transport protocol.")
    end: Literal["to", "from"] = Field(
        description="Whether packets `to` these ports are meant, or `from` them."
    )
    ports: Annotated[
        tuple[Annotated[int | str, AfterValidator(_port)], ...], Field(min_length=1)
    ] = Field(description="Numbers, and ranges such as `6881-6889`.")
    refused_in: Literal["everywhere"] | tuple[Name, ...] = Field(
        description="`everywhere`, or a list of locations; an empty list switches it off."
    )

    def holds_in(self, location: str) -> bool:
        """Return whether VPSs of *location* may not use them."""
        return self.refused_in == "everywhere" or location in self.refused_in


class RateLimit(Value):
    """What one VPS may send, or be sent, in a second (C4.6)."""

    packets_s: Annotated[int, Field(gt=0, le=10**9)] = Field(description="Packets a second.")
    burst_packets: Annotated[int, Field(gt=0, le=10**9)] = Field(
        description="Packets that may come at once."
    )
    bytes_s: Annotated[int, Field(gt=0, le=4 * 10**9)] = Field(
        description="Bytes a second, IP headers included; one second's worth may come at once."
    )


class RateLimits(Value):
    """The limits of each VPS by protocol (C4.6)."""

    udp: RateLimit = Field(description="UDP, each way.")
    icmp: RateLimit = Field(description="ICMP, each way.")
    arp: RateLimit = Field(description="ARP, from VPSs only.")


class NetworkPolicy(Value):
    """What the packet filter refuses and limits for every VPS alike."""

    refused_ports: tuple[RefusedPorts, ...] = Field(description="Ports that nobody may use.")
    limits: RateLimits = Field(description="What each VPS may send, and may be sent.")
    node_mbit_s: Positive = Field(
        10, description="Kept on each uplink for packets of no VPS, such as ARP, in Mbit/s."
    )


class Smtp(Value):
    """The mail server that takes the company's mail."""

    host: str
    port: Annotated[int, Field(gt=0, le=65535)] = 587
    starttls: bool = True
    user: str | None = None
    password_file: str | None = None


class Company(Value):
    """Who signs the mails."""

    name: str
    mail_from: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
    support_url: Annotated[str, Field(pattern=r"^https://.+")]
    smtp: Smtp


class Catalogue(Value):
    """All of it, consistent with itself."""

    plans: Annotated[dict[Name, Plan], Field(min_length=1)]
    images: Annotated[dict[Name, Image], Field(min_length=1)]
    locations: Annotated[dict[Name, Location], Field(min_length=1)]
    nodes: dict[Name, Node]
    policy: Policy
    network: NetworkPolicy
    company: Company

    def nodes_of(self, location: str) -> list[Node]:
        """Return the host nodes of a location, by name."""
        found = (node for node in self.nodes.values() if node.location == location)
        return sorted(found, key=lambda node: node.name)

    def contradictions(self) -> list[tuple[tuple[str, ...], str]]:
        """Say what does not fit together: the path of the key at fault, and why."""
        lost = [
            (
                ("hosts", node.name),
                f"location {node.location} is none of {', '.join(self.locations)}",
            )
            for node in self.nodes.values()
            if node.location not in self.locations
        ]
        return lost + self._overlaps() + self._unknown_places()

    def _unknown_places(self) -> list[tuple[tuple[str, ...], str]]:
        return [
            (
                ("network", "refused_ports", str(index), "refused_in"),
                f"{place} is no location; there are {', '.join(self.locations)}",
            )
            for index, refused in enumerate(self.network.refused_ports)
            if refused.refused_in != "everywhere"
            for place in refused.refused_in
            if place not in self.locations
        ]

    def _overlaps(self) -> list[tuple[tuple[str, ...], str]]:
        pools = sorted(
            (pool.cidr, name, index)
            for name, location in self.locations.items()
            for index, pool in enumerate(location.pools)
        )
        return [
            (
                ("locations", name, "pools", str(index), "cidr"),
                f"{cidr} overlaps {before} of {other}: an address would have two places",
            )
            for (before, other, _), (cidr, name, index) in pairwise(pools)
            if cidr.overlaps(before)
        ]


def pinned(image: str) -> tuple[str, str]:
    """Split ``debian-12@20250703`` into image and release.

    Raises:
        ValueError: it is not of that form.
    """
    match = re.fullmatch(r"([a-z0-9-]+)@([A-Za-z0-9._-]+)", image)
    if match is None:
        raise ValueError(f"«{image}» is not of the form image@release")
    return match[1], match[2]
