"""Locations and their address pools (C4.3, C10.1)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PrivateAttr, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterator

from hoster.catalogue.values import Quoted, Value


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
