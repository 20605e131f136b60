"""All that a pipeline looks at in a change: its rules, whom it touches, what would happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.acts import reach
from hoster.acts.check import check
from hoster.acts.compare import compare
from hoster.acts.preview import preview
from hoster.errors import ExitCode, HosterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from hoster.acts.change import Change
    from hoster.acts.check import Judgement
    from hoster.acts.compare import Comparison
    from hoster.acts.preview import Previewed
    from hoster.engine.rollout import StackOutcome


@dataclass(frozen=True)
class Look:
    """One thing that was looked at: what was found, or the error why nothing could be.

    Any ``exit_code`` but 0 forbids the change.
    """

    title: str
    found: Judgement | Comparison | Previewed | HosterError
    exit_code: ExitCode = ExitCode.OK


def review(
    change: Change,
    clock: Callable[[], datetime],
    *,
    stacks: bool = True,
    at_once: int | None = None,
    begun: Callable[[str], None] = lambda _: None,
    told: Callable[[StackOutcome], None] = lambda _: None,
) -> Iterator[Look]:
    """Yield what is found, the quickest first, and nothing after what forbids the change.

    Without *stacks* none is asked. *begun* hears the title of each look before it is taken, *told*
    each stack that was asked.
    """

    def would_happen() -> tuple[Previewed, bool]:
        clients = reach.clients_since(change)
        found = preview(change.project, clients, change.ended, at_once=at_once, told=told)
        return found, found.is_good

    looks: dict[str, Callable[[], tuple[Judgement | Comparison | Previewed, bool]]] = {
        "Rules": lambda: _rules(change),
        "Whom it touches": lambda: (compare(change, clock), True),
    }
    if stacks:
        looks["What would happen"] = would_happen
    for title, look in looks.items():
        begun(title)
        taken = _taken(title, look)
        yield taken
        if taken.exit_code:
            return


def _rules(change: Change) -> tuple[Judgement, bool]:
    found = check(change)
    return found, not found.findings


def _taken(title: str, look: Callable[[], tuple[Judgement | Comparison | Previewed, bool]]) -> Look:
    try:
        found, is_good = look()
    except HosterError as error:
        return Look(title, error, ExitCode(error.exit_code))
    return Look(title, found, ExitCode.OK if is_good else ExitCode.POLICY)
