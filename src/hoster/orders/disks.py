"""The disks of a VPS: how they are called in its node's pool, and which of a pool's are its."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hoster.catalogue import NAME
from hoster.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterable

DISK, SEED = "qcow2", "seed.iso"
"""How the names of a root disk and of a first-boot seed end."""


def listed(lines: Iterable[str]) -> list[str]:
    """Return the names of the volumes that ``virsh --quiet vol-list`` printed: name and path.

    Raises:
        ToolError: a line is something else; what is not understood is nothing to erase by.
    """
    return [_name(line) for line in lines if line.strip()]


def _name(line: str) -> str:
    name, _, path = line.strip().partition(" /")
    name = name.rstrip()
    if not name or name != path.rpartition("/")[2]:
        raise ToolError(
            f"a line of virsh vol-list is no volume and its path: «{line}»",
            remedy="Look at the pool on its node; nothing was erased by this list.",
        )
    return name


def volumes_of(domain: str, volumes: Iterable[str]) -> list[str]:
    """Return which of a pool's *volumes* are those of *domain*, and of no other VPS (C15.2).

    They are the root disk and the seed of each of its systems (``acme.web.qcow2``,
    ``acme.web.2.seed.iso``), and the marks that stand beside one while it is made or taken away
    (``acme.web.qcow2.0123456789abcdef.made``). No client and no VPS has a dot in its name, so that
    what follows the domain and a dot is its own.

    Raises:
        ValueError: *domain* is none of a VPS, as ``acme.web`` is.
    """
    client, _, name = domain.partition(".")
    if not (re.fullmatch(NAME, client) and re.fullmatch(NAME, name)):
        raise ValueError(f"«{domain}» is no domain of a VPS: client.name")
    return [volume for volume in volumes if _is_of(domain, volume)]


def _is_of(domain: str, volume: str) -> bool:
    if not volume.startswith(f"{domain}."):
        return False
    what = volume.removeprefix(f"{domain}.")
    number, _, numbered = what.partition(".")
    what = numbered if number.isdecimal() else what
    return any(
        what == end or (what.startswith(f"{end}.") and what != f"{end}.") for end in (DISK, SEED)
    )
