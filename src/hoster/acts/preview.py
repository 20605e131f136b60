"""What `pulumi up` would do to clients' stacks, and what of it must not happen (C6.3)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.changes import previews
from hoster.engine import pulumi_cli, rollout
from hoster.engine.rollout import Result, StackOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hoster.changes.previews import Preview
    from hoster.project import Project


@dataclass(frozen=True)
class Previewed:
    """What was judged of each client's stack, and what would happen to it where that was read."""

    outcomes: tuple[StackOutcome, ...]
    seen: Mapping[str, Preview]

    @property
    def is_good(self) -> bool:
        """Whether nothing is refused, and every stack could be asked."""
        return all(one.result in rollout.GOOD for one in self.outcomes)


def preview(
    project: Project,
    clients: Sequence[str],
    ended: Collection[str],
    *,
    at_once: int | None = None,
    told: Callable[[StackOutcome], None] = lambda _: None,
) -> Previewed:
    """Ask what `pulumi up` would do to each of *clients*; *told* hears of each as it is there.

    *ended* are the VPSs whose termination is on record. What fails is an outcome, no error.
    """
    seen: dict[str, Preview] = {}

    def look(client: str) -> StackOutcome:
        if not project.declaration(client).exists():
            return vanished(project, client)
        seen[client] = previews.read(client, pulumi_cli.preview(project, client))
        if refused := previews.judge(seen[client], ended):
            return StackOutcome(client, Result.REFUSED, details=tuple(refused))
        return StackOutcome(client, Result.CHANGED if seen[client].changes else Result.SAME)

    outcomes = rollout.run(
        clients,
        look,
        at_once=at_once or rollout.most_at_once(),
        max_failures=len(clients) + 1,
        stop=threading.Event(),
        told=told,
    )
    return Previewed(tuple(outcomes), seen)


def vanished(project: Project, client: str) -> StackOutcome:
    """Say what it means that a client's declaration is gone.

    Raises:
        ToolError: Pulumi is missing or refused.
    """
    held = pulumi_cli.stack_outputs(project, client).get("vps", {})
    if not held:
        return StackOutcome(
            client, Result.SAME, details=("its declaration and its stack are gone",)
        )
    names = ", ".join(f"{client}/{vps}" for vps in sorted(held))
    return StackOutcome(
        client,
        Result.REFUSED,
        details=(
            f"{names}: the declaration {project.declaration(client).name} is gone, and they are "
            "still there: put it back, or end them with playbooks/terminate-vps.yml",
        ),
    )
