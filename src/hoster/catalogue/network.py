"""What the packet filter refuses and limits (C4.5, C4.6, C7.6)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from hoster.catalogue.values import Name, Positive, Value, port


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
        tuple[Annotated[int | str, AfterValidator(port)], ...], Field(min_length=1)
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
