"""The audit trail's chain: each entry's digest covers it and every entry before it (C15.1).

Whoever changes, removes or inserts an entry changes every digest after it. Who also recomputes
those is found out by a digest that was noted elsewhere before: ``hoster audit verify --anchor``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

START = "0" * 64
"""What the first entry follows."""


@dataclass(frozen=True)
class Entry:
    """One entry of the trail: who did what, when, to whom."""

    id: int
    at: datetime
    actor: str
    kind: str
    subject: str
    details: dict[str, Any]
    digest: str


@dataclass(frozen=True)
class Verdict:
    """What a look at the whole trail found.

    ``broken`` is the first entry whose digest does not follow, or None; ``head`` the last digest.
    """

    entries: int
    head: str
    broken: int | None = None
    anchored: bool = True


def digest(
    previous: str, at: datetime, *, actor: str, kind: str, subject: str, details: dict[str, Any]
) -> str:
    """Return the digest of an entry that follows the one with the digest *previous*."""
    content = [previous, at.astimezone(UTC).isoformat(), actor, kind, subject, details]
    written = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()


def verify(entries: Iterable[Entry], anchor: str = "") -> Verdict:
    """Follow the chain from its start; *anchor* is a digest that must occur in it."""
    head, count, anchored = START, 0, anchor in {"", START}
    for entry in entries:
        head = digest(
            head,
            entry.at,
            actor=entry.actor,
            kind=entry.kind,
            subject=entry.subject,
            details=entry.details,
        )
        count += 1
        if head != entry.digest:
            return Verdict(count, entry.digest, entry.id, anchored)
        anchored = anchored or head == anchor
    return Verdict(count, head, None, anchored)
