"""What a VPS is to its client, and which acts make sense then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from hoster.errors import RuleError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

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
