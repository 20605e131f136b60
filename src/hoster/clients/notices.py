"""What the clients are told of what their host nodes tell (C4.10)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoster.catalogue import NAME
from hoster.wire.answers import quota_details
from hoster.wire.events import QUOTA_LEVELS, EventKind, quota_reached

if TYPE_CHECKING:
    from hoster.wire.events import NodeEvent

MAILED = (*map(quota_reached, QUOTA_LEVELS), EventKind.QUOTA_THROTTLE_LIFTED.value)
"""Kinds of events that the client hears of; each is its mail's template, too."""


@dataclass(frozen=True)
class Notice:
    """A mail to a client; *occasion* is what it is sent once for."""

    occasion: str
    client: str
    template: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Collected:
    """What became of a node's answer.

    *new* were kept, *mails* queued for them by occasion; *unknown* are the clients that the
    ledger does not know and who are told nothing. *missing* counts events that the node had
    dropped before it was asked.
    """

    new: int
    mails: tuple[str, ...]
    unknown: tuple[str, ...]
    missing: int


def notice(event: NodeEvent) -> Notice | None:
    """Return the mail that *event* asks for, if any (C4.10).

    A level of a quota is told once in a cycle, also where a node's state was lost and it is
    reached anew; with a larger quota it is another level.
    """
    client, _, vps = event.subject.partition("/")
    if event.kind not in MAILED or not re.fullmatch(NAME, vps):
        return None
    details = quota_details(event)
    if details is None:
        return None
    if details["quota_bytes"] is None and event.kind != EventKind.QUOTA_THROTTLE_LIFTED:
        return None  # of unlimited traffic, nothing is used up; but a plan with it lifts
    cycle = f"{details['cycle_end']}:{details['quota_bytes']}"
    return Notice(
        occasion=f"{event.kind}:{event.subject}:{cycle}",
        client=client,
        template=event.kind,
        values={"vps": event.subject, "at": event.at.isoformat(), **details},
    )
