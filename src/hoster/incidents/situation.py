"""What a VPS is to its client, and which acts make sense then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from hoster.errors import RuleError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hoster.incidents.measures import Measure


class State(StrEnum):
    """What a VPS is to its client."""

    CONNECTED = "connected"
    CUT = "cut off"
    REINSTALLING = "being reinstalled"
    ENDING = "being terminated"
    ENDED = "terminated"


class Act(StrEnum):
    """What ops can do to a VPS after an incident, each by its playbook."""

    QUARANTINE = "quarantine"
    RECONNECT = "reconnect"
    SUSPEND = "suspend"
    RESUME = "resume"
    REINSTALL = "reinstall"
    GIVE_UP = "give-up"
    TERMINATE = "terminate"


@dataclass(frozen=True)
class Situation:
    """What an act finds: the *measures* that are not lifted, and what else is under way."""

    measures: Sequence[Measure] = ()
    is_reinstalling: bool = False
    is_ending: bool = False
    has_ended: bool = False

    @property
    def state(self) -> State:
        """What the VPS is to its client."""
        if self.has_ended:
            return State.ENDED
        if self.is_ending:
            return State.ENDING
        if self.is_reinstalling:
            return State.REINSTALLING
        return State.CUT if self.measures else State.CONNECTED

    def wanted(self, kind: Act, ground: str) -> Measure | None:
        """Return the measure of a *kind* and *ground* that is wanted already, if any."""
        for each in self.measures:
            if (each.kind, each.ground) == (kind, ground) and each.is_wanted:
                return each
        return None

    def possible(self) -> list[Act]:
        """Return the acts that make sense now."""
        kinds = {one.kind for one in self.measures}
        return [
            act for act in _POSSIBLE[self.state] if act not in _ENDS or _ENDS[act].value in kinds
        ]

    def require(self, vps: str, act: Act) -> None:
        """See that *act* makes sense for *vps* now.

        Raises:
            RuleError: it does not; with what is possible.
        """
        can = self.possible()
        if act not in can:
            reason = (
                f", and no {_NOUNS[_ENDS[act]]} is in force: nothing to {act}"
                if act in _ENDS and act in _POSSIBLE[self.state]
                else f": it is not the time to {_VERBS.get(act, act)}"
            )
            raise RuleError(
                f"{vps} is {self.state}{reason}",
                remedy=f"Possible now: {', '.join(can) or 'nothing'}.",
            )


_ALWAYS = (Act.QUARANTINE, Act.SUSPEND)


_LIFTING = (Act.RECONNECT, Act.RESUME)


_POSSIBLE: Mapping[State, Collection[Act]] = {
    State.CONNECTED: (*_ALWAYS, *_LIFTING, Act.REINSTALL, Act.TERMINATE),
    State.CUT: (*_ALWAYS, *_LIFTING, Act.REINSTALL, Act.TERMINATE),
    State.REINSTALLING: (*_ALWAYS, Act.RESUME, Act.REINSTALL, Act.GIVE_UP, Act.TERMINATE),
    State.ENDING: (Act.TERMINATE,),
    State.ENDED: (),
}


_ENDS = {Act.RECONNECT: Act.QUARANTINE, Act.RESUME: Act.SUSPEND}


_NOUNS = {Act.QUARANTINE: "quarantine", Act.SUSPEND: "suspension"}


_VERBS = {Act.GIVE_UP: "give a reinstall up"}


def meant(
    vps: str,
    act: Act,
    situation: Situation,
    measures: Iterable[Measure],
    *,
    ground: str = "",
    incident: int | None = None,
) -> Measure:
    """Return the measure that *act* lifts: the one that fits what was named, or the only one.

    *measures* are all that ever were against *vps*, oldest first. Where none that fits is in force,
    it is the last one that was lifted: the same act again.

    Raises:
        RuleError: it is not the time for the act, or several fit and none is named.
    """

    def fits(measure: Measure) -> bool:
        is_named = ground in {"", measure.ground} and incident in {None, measure.incident}
        return measure.kind == _ENDS[act] and is_named

    there = [measure for measure in situation.measures if fits(measure)]
    if len(there) == 1:
        return there[0]
    before = [measure for measure in measures if measure.is_lifted and fits(measure)]
    if not there and before:
        return before[-1]
    situation.require(vps, act)
    of_kind = [measure for measure in situation.measures if measure.kind == _ENDS[act]]
    known = ", ".join(
        f"{measure.incident} ({measure.ground})" if measure.incident else measure.ground
        for measure in of_kind
    )
    raise RuleError(
        f"{vps}: name one of what is in force: {known}",
        remedy="With -e incident=NUMBER, or -e reason=REASON.",
    )
