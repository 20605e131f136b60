"""Every rule over every declaration, in one pass: the judge of `hoster check` and of CI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.catalogue import pinned
from hoster.orders import addresses, placement
from hoster.problems import near

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Address
    from pathlib import Path

    from hoster.catalogue import Catalogue
    from hoster.orders.declarations import ClientDeclarations, Declarations, VpsDeclaration


@dataclass(frozen=True)
class Breach:
    """A rule that a declaration breaks.

    ``rule`` is a stable name, ``contract`` the id behind it (or empty), ``keys`` the path in
    ``file``; ``other`` is the second place of a clash.
    """

    rule: str
    contract: str
    file: Path
    keys: tuple[str, ...]
    message: str
    other: tuple[Path, tuple[str, ...]] | None = None


def check(catalogue: Catalogue, declarations: Declarations) -> list[Breach]:
    """Return every breach, in the order of files and keys; linear in the number of VPSs."""
    found = list(_each_alone(catalogue, declarations))
    found += _addresses_once(declarations)
    found += _capacity(catalogue, declarations)
    return sorted(found, key=lambda breach: (str(breach.file), breach.keys, breach.rule))


def check_client(catalogue: Catalogue, client: ClientDeclarations) -> list[Breach]:
    """Return the breaches that one client's file can show by itself."""
    found = [
        Breach("schema", "", problem.file, problem.keys, problem.text)
        for problem in client.problems
    ]
    for vps in client.vps:
        found += _known(catalogue, client, vps)
    return found + list(_access(client))


def _each_alone(catalogue: Catalogue, declarations: Declarations) -> Iterator[Breach]:
    for client in declarations.clients:
        yield from check_client(catalogue, client)


def _at(client: ClientDeclarations, vps: str, key: str = "") -> tuple[Path, tuple[str, ...]]:
    return client.file, ("config", "hoster:vps", vps, *((key,) if key else ()))


def _known(
    catalogue: Catalogue, client: ClientDeclarations, vps: VpsDeclaration
) -> Iterator[Breach]:
    if vps.plan not in catalogue.plans:
        text = f"unknown plan {vps.plan}{near(vps.plan, catalogue.plans)}"
        yield Breach("plan", "C4.1", *_at(client, vps.name, "plan"), text)
    image, release = pinned(vps.image)
    if image not in catalogue.images:
        text = f"unknown image {image}{near(image, catalogue.images)}"
        yield Breach("image", "C4.1", *_at(client, vps.name, "image"), text)
    elif release not in catalogue.images[image].releases:
        text = f"unknown release{near(release, catalogue.images[image].releases)}"
        yield Breach("image", "C4.1", *_at(client, vps.name, "image"), text)
    yield from _placed(catalogue, client, vps)


def _placed(
    catalogue: Catalogue, client: ClientDeclarations, vps: VpsDeclaration
) -> Iterator[Breach]:
    node = catalogue.nodes.get(vps.node)
    if node is None:
        text = f"unknown host node {vps.node}{near(vps.node, catalogue.nodes)}"
        yield Breach("node", "C2.1", *_at(client, vps.name, "node"), text)
    elif node.location != vps.location:
        text = f"{vps.node} is at {node.location}, and the VPS at {vps.location}"
        yield Breach("node", "C10.1", *_at(client, vps.name, "node"), text)
    location = catalogue.locations.get(vps.location)
    if location is None:
        text = f"unknown location {vps.location}{near(vps.location, catalogue.locations)}"
        yield Breach("location", "C10.1", *_at(client, vps.name, "location"), text)
    elif reason := addresses.objection(location.pools, vps.ipv4):
        text = f"{vps.ipv4} is not for a VPS at {vps.location}: {reason}"
        yield Breach("ipv4", "C4.3", *_at(client, vps.name, "ipv4"), text)


def _access(client: ClientDeclarations) -> Iterator[Breach]:
    names = {vps.name for vps in client.vps}
    for name, sealed in client.sealed.items():
        keys = ("config", "hoster:access", name)
        if not sealed:
            text = "a secret in clear: only `secure:` belongs here; treat the secret as lost"
            yield Breach("secret", "C4.2", client.file, keys, text)
        elif name not in names and not client.problems:
            yield Breach("access", "C4.2", client.file, keys, "belongs to no declared VPS")
    for vps in client.vps:
        if vps.name not in client.sealed:
            text = f"hoster:access has nothing for {vps.name}: order a VPS with `hoster order`"
            yield Breach("access", "C4.2", *_at(client, vps.name), text)


def _addresses_once(declarations: Declarations) -> Iterator[Breach]:
    first: dict[IPv4Address, tuple[ClientDeclarations, VpsDeclaration]] = {}
    for client in declarations.clients:
        for vps in client.vps:
            if vps.ipv4 not in first:
                first[vps.ipv4] = (client, vps)
                continue
            holder, other = first[vps.ipv4]
            text = f"{vps.ipv4} is {other.full_name}'s already"
            there = _at(holder, other.name, "ipv4")
            yield Breach("duplicate", "C4.3", *_at(client, vps.name, "ipv4"), text, there)


def _capacity(catalogue: Catalogue, declarations: Declarations) -> Iterator[Breach]:
    taken = placement.usage(catalogue, declarations)
    last = {vps.node: (client, vps) for client in declarations.clients for vps in client.vps}
    for name, node in catalogue.nodes.items():
        if short := placement.shortages(node, taken.get(name, placement.Resources())):
            client, vps = last[name]
            text = f"{name} is declared beyond what it has: {'; '.join(short)}"
            yield Breach("capacity", "C2.1", *_at(client, vps.name, "node"), text)
