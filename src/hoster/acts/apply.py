"""Clients' declarations made so: `pulumi up` of each, a bounded number at once, resumed later."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.acts import reach
from hoster.acts.preview import vanished
from hoster.engine import pulumi_cli, rollout
from hoster.engine.rollout import Journal, Result, StackOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from hoster.project import Project


@dataclass(frozen=True)
class Applied:
    """What became of each client's stack, and from when to when that took."""

    outcomes: tuple[StackOutcome, ...]
    began: datetime
    ended: datetime

    @property
    def is_good(self) -> bool:
        """Whether every stack is as declared now."""
        return all(one.result in rollout.GOOD for one in self.outcomes)


def apply(
    project: Project,
    clients: Sequence[str],
    clock: Callable[[], datetime],
    *,
    at_once: int | None = None,
    max_failures: int,
    stop: threading.Event,
    told: Callable[[StackOutcome], None] = lambda _: None,
) -> Applied:
    """Bring up the stacks of *clients*; *told* hears of each as it is done.

    Nothing new is begun after *max_failures*, or once *stop* is set. What a run before this one
    did, and that is as it was, is passed over, until one came to its end. What fails is an
    outcome, no error.
    """
    journal, began = Journal(project.state / "apply.json"), clock()
    outcomes = rollout.run(
        clients,
        _work(project, journal, reach.digests(project, clients)),
        at_once=at_once or rollout.most_at_once(),
        max_failures=max_failures,
        stop=stop,
        told=told,
    )
    done = Applied(tuple(outcomes), began, clock())
    if done.is_good:
        journal.close()
    return done


def _work(
    project: Project, journal: Journal, digests: Mapping[str, str]
) -> Callable[[str], StackOutcome]:
    """Return what makes one client's declaration so."""
    writing = threading.Lock()

    def make_so(client: str) -> StackOutcome:
        if journal.has(client, digests[client]):
            return StackOutcome(client, Result.DONE_BEFORE)
        if not project.declaration(client).exists():
            return vanished(project, client)
        repaired = pulumi_cli.repair(project, client)
        changed = pulumi_cli.deploy(project, client)
        with writing:
            journal.note(client, digests[client])
        said = (f"settled {repaired} operations that were left half done",) if repaired else ()
        return StackOutcome(client, Result.CHANGED if changed else Result.SAME, details=said)

    return make_so
