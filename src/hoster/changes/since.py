"""Rules about what changes: from what a Git ref declares to what is declared now.

What the program refuses against what it deployed (location, IPv4, node, image, a smaller disk, a
VPS that vanishes) is said here before anything runs; and that no plan shrinks under its users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.changes.deployed import DeployedVps, vanished, violations
from hoster.changes.rules import Breach

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from hoster.catalogue import Catalogue, Plan
    from hoster.orders.declarations import ClientDeclarations, Declarations

SIZES = ("vcpus", "memory_mib", "disk_gib", "guaranteed_mbit_s", "throttle_mbit_s")
"""What a plan promises, more being better; what may be unlimited besides is in `_LIMITS`."""
_LIMITS = ("ceiling_mbit_s", "traffic_bytes")
_NAMED = 3


@dataclass(frozen=True)
class Before:
    """What the ref says: its catalogue, and those clients' files that differ from today's.

    ``differing`` names those clients, new ones included.
    """

    catalogue: Catalogue
    clients: Mapping[str, ClientDeclarations]
    differing: frozenset[str]


def check(
    before: Before,
    catalogue: Catalogue,
    declarations: Declarations,
    *,
    ended: Collection[str],
    plans_file: Path,
) -> list[Breach]:
    """Return what must not change and would; *ended* are VPSs with a termination on record."""
    now = {client.client: client for client in declarations.clients}
    found = [
        breach
        for name, client in before.clients.items()
        for breach in _of_client(before.catalogue, client, catalogue, now.get(name), ended)
    ]
    found += _plans(before.catalogue, catalogue, declarations, plans_file)
    return sorted(found, key=lambda breach: (str(breach.file), breach.keys, breach.rule))


def _of_client(
    old: Catalogue,
    was: ClientDeclarations,
    new: Catalogue,
    client: ClientDeclarations | None,
    ended: Collection[str],
) -> Iterator[Breach]:
    is_now = {vps.name: vps for vps in client.vps} if client else {}
    # What is not valid is told as such, and is not gone.
    if client is None or not client.problems:
        names = [vps.name for vps in was.vps]
        for name, text in vanished(was.client, names, is_now, ended).items():
            yield Breach("vanished", "C15.2", was.file, ("config", "hoster:vps", name), text)
    for vps in was.vps:
        after = is_now.get(vps.name)
        if after is None or vps.plan not in old.plans or after.plan not in new.plans:
            continue
        before = DeployedVps.of(vps, old)
        for text in violations(vps.full_name, before, DeployedVps.of(after, new)):
            keys = ("config", "hoster:vps", vps.name)
            yield Breach("final", "C6.3", was.file, keys, text)


def _plans(
    old: Catalogue, new: Catalogue, declarations: Declarations, file: Path
) -> Iterator[Breach]:
    users: dict[str, list[str]] = {}
    for vps in declarations:
        users.setdefault(vps.plan, []).append(vps.full_name)
    for name, plan in old.plans.items():
        if name not in new.plans or name not in users:
            continue
        for size, before, after in _shrunk(plan, new.plans[name]):
            yield Breach(
                "plan",
                "C4.1",
                file,
                ("plans", name, size),
                f"{size} of {name} is {before} and would be {after}, under {_some(users[name])}: "
                "what a client rents never shrinks. Put it back, and add another plan",
            )


def _shrunk(old: Plan, new: Plan) -> Iterator[tuple[str, object, object]]:
    for size in SIZES:
        before, after = getattr(old, size), getattr(new, size)
        if after < before:
            yield size, before, after
    for limit in _LIMITS:
        before, after = getattr(old, limit), getattr(new, limit)
        if after is not None and (before is None or after < before):
            yield limit, "unlimited" if before is None else before, after


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} VPSs ({shown}{more})"
