"""Security incidents, and the measures against a VPS: what there is, and what may follow what.

A VPS is cut off the network while at least one measure against it is in force. Each is lifted by
itself: paying lifts a suspension for non-payment, and no quarantine (C4.11, C6, C7, C15).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hoster.errors import RuleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

KINDS = {
    "hacked": "C6.1",
    "vulnerable": "C6.1",
    "spam": "C7.2",
    "scan": "C7.2",
    "sniffing": "C7.2",
    "spoofing": "C7.2",
    "ddos-source": "C7.2",
    "update-missing": "C7.3",
    "proxy": "C7.6",
    "card-sharing": "C7.6",
    "compliance": "C7.7",
    "court-order": "C10.2",
}
"""What an incident can be, and the requirement that lets the hoster act."""
SUSPENSIONS = {
    "unpaid": "C15.1",
    "identity": "C7.1",
    "licence": "C7.7",
    "compliance": "C7.7",
    "court-order": "C10.2",
}
"""Why a VPS can be suspended, and the requirement behind it."""
TERMINATIONS = {
    "end-of-term": "C12.5",
    "request": "C12.5",
    "unpaid": "C15.1",
    "breach": "C15.1",
    "court-order": "C15.1",
}
"""Why a VPS can end, and the requirement behind it."""
COURT_ORDER = "court-order"
"""The ground that outweighs others: a court wants it so, and what it wants kept is kept."""
SEVERITIES = ("minor", "serious", "severe")


class Grade(StrEnum):
    """What follows once a client has corrected the problem (C6.2)."""

    RECONNECT = "reconnect"
    REFUSE = "refuse"


class Step(StrEnum):
    """What a host node does about a measure, and its client is told of."""

    IN_FORCE = "in-force"
    LIFTED = "lifted"


@dataclass(frozen=True)
class Incident:
    """Something that a VPS did, or is. Open until it is reconnected, or refused for good.

    ``evidence`` names where the proof is kept; ``expected_until`` is what the client is told.
    """

    id: int
    vps: str
    kind: str
    severity: str
    evidence: str
    reinstall: bool
    expected_until: datetime | None
    opened_at: datetime
    opened_by: str
    closed_at: datetime | None
    closed_by: str | None
    closing: str | None

    @property
    def is_open(self) -> bool:
        """Whether it is neither corrected nor ended otherwise."""
        return self.closed_at is None


@dataclass(frozen=True)
class Measure:
    """What is in force against a VPS, why, since when, by whom, and until when (C15.1).

    ``ground`` is an incident's kind or a suspension's reason. It is wanted before its node has
    it, and lifted once its node has let go of it: a run that was cut in between is run again.
    """

    id: int
    vps: str
    kind: str
    ground: str
    incident: int | None
    note: str
    author: str
    wanted_at: datetime
    in_force_at: datetime | None
    lift_wanted_at: datetime | None
    lift_author: str | None
    lift_note: str | None
    lifted_at: datetime | None

    @property
    def name(self) -> str:
        """What its node calls it."""
        return f"measure-{self.id}"

    @property
    def is_lifted(self) -> bool:
        """Whether it is over."""
        return self.lifted_at is not None

    @property
    def is_wanted(self) -> bool:
        """Whether it is to be in force: nobody has asked to lift it."""
        return self.lift_wanted_at is None

    @property
    def awaits(self) -> Step | None:
        """What its node is still to do; None where nothing is left to be done."""
        if self.is_lifted:
            return None
        if not self.is_wanted:
            return Step.LIFTED
        return Step.IN_FORCE if self.in_force_at is None else None

    @property
    def stage(self) -> str:
        """Say how far it is."""
        if self.lifted_at:
            return "lifted"
        if self.lift_wanted_at:
            return "being lifted"
        return "in force" if self.in_force_at else "wanted"


def grade(table: Mapping[Any, Sequence[str]], severity: str, earlier: int) -> Grade:
    """Return what the policy's *table* says of an incident, of which there were *earlier* ones.

    The last entry of a severity holds for all that come after it.
    """
    row = table[severity]
    return Grade(row[min(earlier, len(row) - 1)])


def earlier(incident: Incident, incidents: Iterable[Incident], recurrence: timedelta) -> int:
    """Count those before *incident* that make it a repetition: of its VPS, within *recurrence*."""
    since = incident.opened_at - recurrence
    return sum(
        each.vps == incident.vps and each.id < incident.id and each.opened_at >= since
        for each in incidents
    )


def require_reconnection(incident: Incident, grade_: Grade, override: str) -> None:
    """See that an incident may end with a reconnection (C6.2).

    Raises:
        RuleError: the policy refuses it, and nobody says why it shall be all the same.
    """
    if grade_ is Grade.REFUSE and not override:
        raise RuleError(
            f"{incident.vps}: the policy refuses a reconnection after incident {incident.id} "
            f"({incident.kind}, {incident.severity}): too serious, or not the first",
            remedy="Reconnect it all the same with a reason: -e override='...'. It is recorded.",
        )


def require_no_court_order(vps: str, reason: str, measures: Iterable[Measure]) -> None:
    """See that *vps* may end for *reason*, given the *measures* against it (C10.2, C15.1).

    Raises:
        RuleError: one of them is by the order of a court, and the end is not.
    """
    held = [each for each in measures if each.ground == COURT_ORDER and not each.is_lifted]
    if held and reason != COURT_ORDER:
        raise RuleError(
            f"{vps} is under an order of a court (measure {held[0].id}): its data may be evidence",
            remedy="Lift that first, or terminate it by that order: -e reason=court-order.",
        )
