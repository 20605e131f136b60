"""What the host nodes tell, and what the clients are told of it (C4.9, C4.10).

An event's id is its node agent's stream and its number in it; see docs/node.md.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from ipaddress import IPv4Address
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
)

from hoster.catalogue import NAME
from hoster.errors import HosterError

_LIFTED = "quota-throttle-lifted"
MAILED = ("quota-80", "quota-100", _LIFTED)
"""Kinds of events that the client hears of; each is its mail's template, too."""
_MOST = 10**18 - 1
"""Databases and the agent have room for it, and no number, volume or rate comes near."""
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"


class AnswerError(HosterError):
    """A host node answered, and not as a node agent does."""


def _anywhere(at: datetime) -> datetime:
    if not MINYEAR < at.year < MAXYEAR:
        raise ValueError("no time that has a date in every zone")
    return at.astimezone(UTC)


def _iso(said: str) -> str:
    at = datetime.fromisoformat(said)
    if at.tzinfo is None:
        raise ValueError("no time zone")
    _anywhere(at)
    return said


def _as_json(details: dict[str, Any]) -> dict[str, Any]:
    json.dumps(details, allow_nan=False)  # PostgreSQL takes no NaN
    return details


def _on_the_map(timezone: str) -> str:
    try:
        ZoneInfo(timezone)
    except (KeyError, OSError):
        raise ValueError("no time zone") from None
    return timezone


Amount = Annotated[StrictInt, Field(ge=0, le=_MOST)]


class NodeEvent(BaseModel):
    """Something that a host node told: what, when, about which VPS or tap."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stream: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    number: Annotated[int, Field(gt=0, le=_MOST)]
    at: Annotated[AwareDatetime, AfterValidator(_anywhere)]
    kind: Annotated[str, Field(min_length=1, max_length=40, pattern=_PRINTABLE)]
    subject: Annotated[str, Field(max_length=63, pattern=_PRINTABLE)]
    details: Annotated[dict[str, Any], AfterValidator(_as_json)]

    @property
    def id(self) -> str:
        """Unique among all nodes, for all time; ``hoster-node events --after`` takes it."""
        return f"{self.stream}:{self.number}"


class _Quota(BaseModel):
    """What a mail says of a quota: of the kinds that its template can render."""

    model_config = ConfigDict(extra="ignore")

    ipv4: IPv4Address
    timezone: Annotated[str, AfterValidator(_on_the_map)]
    bytes: Amount
    quota_bytes: Amount | None
    throttle_mbit_s: Amount
    cycle_end: Annotated[str, Field(max_length=40), AfterValidator(_iso)]


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


def parse(answer: str) -> list[NodeEvent]:
    """Read what ``hoster-node events --json`` printed: an event a line, oldest first.

    Raises:
        AnswerError: a line is no event, or one does not follow the line before.
    """
    found: list[NodeEvent] = []
    for number, line in enumerate(answer.splitlines(), start=1):
        try:
            event = NodeEvent.model_validate_json(line)
        except ValidationError as error:
            reason = error.errors()[0]
            place = ".".join(str(part) for part in reason["loc"])
            raise AnswerError(
                f"line {number} is no event: {place or repr(line[:40])}: {reason['msg']}"
            ) from error
        if found and (event.stream != found[-1].stream or event.number <= found[-1].number):
            raise AnswerError(f"line {number}: {event.id} does not follow {found[-1].id}")
        found.append(event)
    return found


def notice(event: NodeEvent) -> Notice | None:
    """Return the mail that *event* asks for, if any (C4.10).

    A level of a quota is told once in a cycle, also where a node's state was lost and it is
    reached anew; with a larger quota it is another level.
    """
    client, _, vps = event.subject.partition("/")
    if event.kind not in MAILED or not re.fullmatch(NAME, vps):
        return None
    try:
        quota = _Quota.model_validate(event.details)
    except ValidationError:
        return None
    if quota.quota_bytes is None and event.kind != _LIFTED:
        return None  # of unlimited traffic, nothing is used up; but a plan with it lifts
    details = {name: event.details[name] for name in _Quota.model_fields}
    cycle = f"{details['cycle_end']}:{details['quota_bytes']}"
    return Notice(
        occasion=f"{event.kind}:{event.subject}:{cycle}",
        client=client,
        template=event.kind,
        values={"vps": event.subject, "at": event.at.isoformat(), **details},
    )
