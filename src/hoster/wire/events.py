"""What a host node's agent tells: its events, how one is named, and as which line it is printed.

The agent appends and prints them, the control machine collects them; see docs/events.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from datetime import datetime

QUOTA_LEVELS = (80, 100)
"""Per cent of a cycle's volume that are told when they are reached (C4.10)."""
MOST_DIGITS = 18
"""Of an event's number, and of whatever else is counted: databases have room for any of these."""


class EventKind(StrEnum):
    """What the agent sees and does by itself; measures are in `hoster.wire.measures`."""

    VPS_NEW = "vps-new"
    VPS_REPAIRED = "vps-repaired"
    VPS_FORGOTTEN = "vps-forgotten"
    PLAN_CHANGED = "plan-changed"
    CYCLE_ENDED = "cycle-ended"
    QUOTA_THROTTLE_LIFTED = "quota-throttle-lifted"
    SPOOF_REFUSED = "spoof-refused"
    UNKNOWN_TAP = "unknown-tap"
    RULES_RESTORED = "rules-restored"
    STATE_SET_BACK = "state-set-back"


def quota_reached(percent: int) -> str:
    """Return the kind of event that one of `QUOTA_LEVELS` is told as."""
    return f"quota-{percent}"


def measure_lifted(kind: str) -> str:
    """Return the kind of event that the end of a measure is told as; its start is its own kind."""
    return f"{kind}-lifted"


class QuotaDetails(TypedDict):
    """The details of every event about a quota; rates in Mbit/s, times in ISO 8601."""

    ipv4: str
    timezone: str
    bytes: int
    quota_bytes: int | None
    throttle_mbit_s: int
    cycle_start: str
    cycle_end: str


@dataclass(frozen=True, slots=True)
class EventId:
    """Which event, among those of all nodes for all time: its agent's stream, its number in it."""

    stream: str
    number: int

    def __str__(self) -> str:
        """Return it as `hoster-node events --after` takes it."""
        return f"{self.stream}:{self.number}"


def asked_after(text: str) -> EventId | int:
    """Return the event that *text* names by its id, or by its number alone.

    Raises:
        ValueError: it is neither.
    """
    stream, _, number = text.rpartition(":")
    if not (number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS):
        raise ValueError(f"«{text}» is neither an event's number nor its id")
    return EventId(stream, int(number)) if stream else int(number)


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Something that a host node told: what, when, about which VPS or tap."""

    stream: str
    number: int
    at: datetime
    kind: str
    subject: str
    details: dict[str, Any]

    @property
    def id(self) -> str:
        """Unique among all nodes, for all time; ``hoster-node events --after`` takes it."""
        return str(EventId(self.stream, self.number))

    def as_json(self) -> dict[str, Any]:
        """Return it as the control machine collects it."""
        return {
            "id": self.id,
            "stream": self.stream,
            "number": self.number,
            "at": self.at.isoformat(),
            "kind": self.kind,
            "subject": self.subject,
            "details": self.details,
        }

    def line(self) -> str:
        """Return the line that the control machine reads it from."""
        return json.dumps(self.as_json())
