"""What the hoster has and sells: plans, images, locations with their pools, nodes, policy.

Values only: `hoster.project.inventory` reads them from files. Contract: C2.1, C4.1, C10.1.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field

from hoster.catalogue.company import Company, Smtp
from hoster.catalogue.images import Image, ImageRelease, pinned
from hoster.catalogue.network import NetworkPolicy, RateLimit, RateLimits, RefusedPorts
from hoster.catalogue.nodes import Node, NodeCapacity
from hoster.catalogue.places import Location, Pool
from hoster.catalogue.plans import TRAFFIC_BYTES, Plan
from hoster.catalogue.policy import Headroom, IncidentPolicy, Policy
from hoster.catalogue.values import NAME, Name, Positive, Quoted, Value

__all__ = [
    "NAME",
    "TRAFFIC_BYTES",
    "Catalogue",
    "Company",
    "Headroom",
    "Image",
    "ImageRelease",
    "IncidentPolicy",
    "Location",
    "Name",
    "NetworkPolicy",
    "Node",
    "NodeCapacity",
    "Plan",
    "Policy",
    "Pool",
    "Positive",
    "Quoted",
    "RateLimit",
    "RateLimits",
    "RefusedPorts",
    "Smtp",
    "Value",
    "pinned",
]


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
