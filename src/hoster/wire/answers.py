"""What a host node answered, checked before anything is done with it; the node imports none of it.

A node that talks nonsense hinders no other: whatever passes here can be kept in either database,
and be said in a mail.
"""

from __future__ import annotations

import json
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

from hoster.errors import HosterError
from hoster.wire.events import MOST_DIGITS, NodeEvent

_MOST = 10**MOST_DIGITS - 1
"""No number, volume or rate comes near."""
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


_Amount = Annotated[StrictInt, Field(ge=0, le=_MOST)]


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore")

    stream: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    number: Annotated[int, Field(gt=0, le=_MOST)]
    at: Annotated[AwareDatetime, AfterValidator(_anywhere)]
    kind: Annotated[str, Field(min_length=1, max_length=40, pattern=_PRINTABLE)]
    subject: Annotated[str, Field(max_length=63, pattern=_PRINTABLE)]
    details: Annotated[dict[str, Any], AfterValidator(_as_json)]


class _Quota(BaseModel):
    """What a mail says of a quota: of the kinds that its template can render."""

    model_config = ConfigDict(extra="ignore")

    ipv4: IPv4Address
    timezone: Annotated[str, AfterValidator(_on_the_map)]
    bytes: _Amount
    quota_bytes: _Amount | None
    throttle_mbit_s: _Amount
    cycle_end: Annotated[str, Field(max_length=40), AfterValidator(_iso)]


def events(answer: str) -> list[NodeEvent]:
    """Read what ``hoster-node events --json`` printed: an event a line, oldest first.

    Raises:
        AnswerError: a line is no event, or one does not follow the line before.
    """
    found: list[NodeEvent] = []
    for number, line in enumerate(answer.splitlines(), start=1):
        event = _event(number, line)
        if found and (event.stream != found[-1].stream or event.number <= found[-1].number):
            raise AnswerError(f"line {number}: {event.id} does not follow {found[-1].id}")
        found.append(event)
    return found


def _event(number: int, line: str) -> NodeEvent:
    try:
        said = _Event.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors()[0]
        place = ".".join(str(part) for part in reason["loc"])
        raise AnswerError(
            f"line {number} is no event: {place or repr(line[:40])}: {reason['msg']}"
        ) from error
    return NodeEvent(
        stream=said.stream,
        number=said.number,
        at=said.at,
        kind=said.kind,
        subject=said.subject,
        details=said.details,
    )


def quota_details(event: NodeEvent) -> dict[str, Any] | None:
    """Return what a mail says of the quota that *event* is about; None where it cannot be said."""
    try:
        _Quota.model_validate(event.details)
    except ValidationError:
        return None
    return {name: event.details[name] for name in _Quota.model_fields}
