"""What the host nodes tell, and what the clients are told of it (C4.9, C4.10).

An event's id is its node agent's stream and its number in it; see docs/node.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from hoster.errors import HosterError

MAILED = ("quota-80", "quota-100", "quota-throttle-lifted")
"""Kinds of events that the client hears of; each is its mail's template, too."""
_SAID = ("ipv4", "timezone", "bytes", "quota_bytes", "throttle_mbit_s", "cycle_end")


class AnswerError(HosterError):
    """A host node answered, and not as a node agent does."""


class NodeEvent(BaseModel):
    """Something that a host node told: what, when, about which VPS or tap."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stream: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    number: Annotated[int, Field(gt=0)]
    at: AwareDatetime
    kind: Annotated[str, Field(min_length=1, max_length=40)]
    subject: Annotated[str, Field(max_length=63)]
    details: dict[str, Any]

    @property
    def id(self) -> str:
        """Unique among all nodes, for all time; ``hoster-node events --after`` takes it."""
        return f"{self.stream}:{self.number}"


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
    if event.kind not in MAILED or not vps or any(name not in event.details for name in _SAID):
        return None
    details = {name: event.details[name] for name in _SAID}
    cycle = f"{details['cycle_end']}:{details['quota_bytes']}"
    return Notice(
        occasion=f"{event.kind}:{event.subject}:{cycle}",
        client=client,
        template=event.kind,
        values={"vps": event.subject, "at": event.at.isoformat(), **details},
    )
