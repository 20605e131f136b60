"""The seed of a VPS's first boot: the three documents of cloud-init's NoCloud source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.templates import render

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Interface


@dataclass(frozen=True)
class Network:
    """The static network of a VPS: its address with the prefix of its pool, the way out, DNS."""

    address: IPv4Interface
    mac: str
    gateway: IPv4Address
    dns: tuple[IPv4Address, ...]


def network_config(network: Network) -> str:
    """Return the network document (version 2), matched by MAC (C4.3)."""
    return render(
        "cloud-init/network-config.yaml.j2",
        mac=network.mac,
        address=str(network.address),
        gateway=str(network.gateway),
        dns=[str(server) for server in network.dns],
    )


def meta_data(*, instance_id: str, hostname: str) -> str:
    """Return the meta-data document; cloud-init acts once for each *instance_id*."""
    return render("cloud-init/meta-data.yaml.j2", instance_id=instance_id, hostname=hostname)


def user_data(*, hostname: str, user: str, ssh_keys: tuple[str, ...], password_hash: str) -> str:
    """Return the user-data document: one account, opened by the hash of its initial password.

    The hash is a secret: the document is one too, and is passed on as such. Contract: C4.2, C4.4.
    """
    return render(
        "cloud-init/user-data.yaml.j2",
        hostname=hostname,
        user=user,
        ssh_keys=list(ssh_keys),
        password_hash=password_hash,
    )
