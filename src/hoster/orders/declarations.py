"""What each client has ordered: one declaration a VPS, as `pulumi/Pulumi.<client>.yaml` says it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from hoster.catalogue import Name, Value, pinned
from hoster.errors import ConfigurationError
from hoster.orders.ssh_keys import checked
from hoster.problems import near
from hoster.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from hoster.problems import Problem

CONFIG_VPS = "hoster:vps"
CONFIG_ACCESS = "hoster:access"


def _pinned(image: str) -> str:
    pinned(image)
    return image


class FormerDisk(Value):
    """The disk that a reinstall left behind, until it is erased (C7.5).

    ``installation`` and ``image`` are what it was made as, ``disk_gib`` its size in GiB;
    ``readable`` says that the VPS has it as a second, read-only disk.
    """

    installation: Annotated[int, Field(ge=1)]
    image: Annotated[str, AfterValidator(_pinned)]
    disk_gib: Annotated[int, Field(ge=1)]
    readable: bool = False


class VpsDeclaration(Value):
    """One VPS as ordered.

    ``image`` is pinned (``debian-12@20250703``), ``node`` the host node that carries it,
    ``term_months`` the initial term (C12.1). ``since`` is the day of the order: billing cycles
    begin on its day of the month (C4.9); without it, on the first. ``installation`` counts the
    systems that were put on it: each has a disk of its own, and a reinstall keeps the former one
    until the new system was seen (C6.3).
    """

    client: Name
    name: Name
    plan: Name
    image: Annotated[str, AfterValidator(_pinned)]
    location: Name
    node: Name
    ipv4: IPv4Address
    ssh_keys: tuple[Annotated[str, AfterValidator(checked)], ...] = ()
    term_months: Annotated[int, Field(ge=1, le=60)] = 1
    since: date = date(2000, 1, 1)
    installation: Annotated[int, Field(ge=1)] = 1
    former_disk: FormerDisk | None = None

    @property
    def full_name(self) -> str:
        """``client/vps``: the name that people use."""
        return f"{self.client}/{self.name}"

    @property
    def domain(self) -> str:
        """The name of its domain on its host node."""
        return names.domain_name(self.full_name)

    @property
    def image_name(self) -> str:
        """The image's name in the catalogue, without its release."""
        return pinned(self.image)[0]

    def fields_written(self) -> dict[str, Any]:
        """The declaration as it stands in the file, in the order that people read."""
        written = {
            "plan": self.plan,
            "image": self.image,
            "location": self.location,
            "node": self.node,
            "ipv4": str(self.ipv4),
            "term_months": self.term_months,
            "since": self.since.isoformat(),
        }
        if self.installation > 1:
            written["installation"] = self.installation
        if self.former_disk:
            written["former_disk"] = self.former_disk.model_dump()
        return written | ({"ssh_keys": list(self.ssh_keys)} if self.ssh_keys else {})


def parse_vps(client: str, name: str, fields: Any) -> VpsDeclaration:
    """Validate what a file says of one VPS.

    Raises:
        pydantic.ValidationError: it is not a valid declaration.
    """
    content = fields if isinstance(fields, dict) else {"(a mapping of fields)": fields}
    return VpsDeclaration.model_validate({**content, "client": client, "name": name})


@dataclass(frozen=True)
class ClientDeclarations:
    """All that one file declares; ``problems`` says what of it is not valid.

    ``sealed`` holds, by VPS, whether its entry under ``hoster:access`` is encrypted.
    """

    client: str
    file: Path
    vps: tuple[VpsDeclaration, ...] = ()
    sealed: Mapping[str, bool] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Declarations:
    """All clients' declarations."""

    clients: tuple[ClientDeclarations, ...] = ()

    def __iter__(self) -> Iterator[VpsDeclaration]:
        return (vps for client in self.clients for vps in client.vps)

    def find(self, full_name: str) -> VpsDeclaration | None:
        """Return the VPS of that name, or None."""
        return next((vps for vps in self if vps.full_name == full_name), None)

    def named(self, full_names: Iterable[str]) -> list[VpsDeclaration]:
        """Return the VPSs of those names, in their order.

        Raises:
            ConfigurationError: one of them is not declared; near names are told.
        """
        known = {vps.full_name: vps for vps in self}
        found = []
        for name in full_names:
            if name not in known:
                raise ConfigurationError(f"no VPS {name} is declared{near(name, known)}")
            found.append(known[name])
        return found

    def replaced(self, vps: VpsDeclaration) -> Declarations:
        """Return them with *vps* in the place of the VPS of that name."""
        return Declarations(
            tuple(
                replace(one, vps=tuple(vps if old.name == vps.name else old for old in one.vps))
                if one.client == vps.client
                else one
                for one in self.clients
            )
        )

    def addresses(self) -> dict[IPv4Address, VpsDeclaration]:
        """Return who has which address."""
        return {vps.ipv4: vps for vps in self}
