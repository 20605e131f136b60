"""What a node says of its VPSs: `hoster-node status --json` writes it, `hoster drift` reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable


class MeasureStatus(TypedDict):
    """A measure in force; ``since`` in ISO 8601."""

    kind: str
    detail: str
    reason: str
    since: str


class VpsStatus(TypedDict):
    """A VPS that was on the node, with what is in force; bytes, Mbit/s and ISO 8601.

    ``ceiling_mbit_s`` is None where there is no ceiling, ``quota_bytes`` where traffic is
    unlimited.
    """

    vps: str
    ipv4: str
    tap: str
    plan: str
    running: bool
    guaranteed_mbit_s: int
    ceiling_mbit_s: int | None
    used_bytes: int
    quota_bytes: int | None
    over_quota: bool
    throttle_mbit_s: int
    cycle_start: str
    cycle_end: str
    measures: list[MeasureStatus]


def written(statuses: Iterable[VpsStatus]) -> str:
    """Return what `read` reads."""
    return json.dumps(list(statuses), indent=2)


def read(answer: str) -> list[VpsStatus]:
    """Return what a node said of its VPSs."""
    statuses: list[VpsStatus] = json.loads(answer)
    return statuses
