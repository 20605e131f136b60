"""What the host nodes tell, fetched into the ledger, and mailed to the clients (C4.9, C4.10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoster.acts.choice import Names, require_known
from hoster.acts.reply import Reply
from hoster.fleet import events, ssh
from hoster.mail import outbox

if TYPE_CHECKING:
    from hoster.acts.reply import Clock
    from hoster.catalogue import Catalogue
    from hoster.clients.notices import Collected
    from hoster.ledger import Ledger
    from hoster.project import Project

Watch = Callable[[Iterator[events.Answer], int], Iterator[events.Answer]]
"""Hands on the answers as they come, of so many nodes: whoever looks on sees how many did."""


@dataclass(frozen=True)
class NodeTold:
    """What became of one node's answer; ``kept`` is None, and ``trouble`` why, without one."""

    node: str
    trouble: str
    kept: Collected | None

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        row = {"node": self.node, "trouble": self.trouble}
        return row | (vars(self.kept) if self.kept else {})


@dataclass(frozen=True)
class AllTold(Reply):
    """What every node told, by name, and what became of the mails that were due."""

    nodes: Sequence[NodeTold]
    mails: outbox.Report

    @property
    def answered(self) -> list[tuple[str, Collected]]:
        """Each node that answered, and what became of that."""
        return [(one.node, one.kept) for one in self.nodes if one.kept is not None]

    @property
    def not_sent(self) -> dict[str, str]:
        """The mails that the mail server did not take, by occasion, each with the reason."""
        return self.mails.later | self.mails.failed

    @property
    def is_complete(self) -> bool:
        """Whether every node answered, and every mail went out."""
        return not self.not_sent and len(self.answered) == len(self.nodes)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "nodes": [one.as_json() for one in self.nodes],
            "mails": vars(self.mails),
            "changed": any(kept.new for _, kept in self.answered),
        }

    def remarks(self) -> list[str]:
        """Return which mails were not sent, and why."""
        return [f"not sent: {occasion}: {reason}" for occasion, reason in self.not_sent.items()]


def collect(
    project: Project,
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    nodes: Names = (),
    timeout: float = 30.0,
    at_once: int = 32,
    dry_run: bool = False,
    watch: Watch = lambda answers, _: answers,
) -> AllTold:
    """Fetch what the host nodes tell into the ledger, each event once; mail the clients.

    Without *nodes*, of all. *at_once* are asked at a time, and each has *timeout* seconds.

    Raises:
        ConfigurationError: there is no such host node.
    """
    asked = _chosen(ssh.nodes(project), nodes)
    answers = events.collect(
        asked,
        ledger.node_events.last(asked),
        known=ledger.node_events.last_number,
        seconds=timeout,
        at_once=at_once,
    )
    told = [_keep(ledger, clock, answer, dry_run=dry_run) for answer in watch(answers, len(asked))]
    mails = outbox.Report() if dry_run else outbox.send_due(ledger, catalogue.company, clock)
    return AllTold(sorted(told, key=lambda one: one.node), mails)


def _keep(ledger: Ledger, clock: Clock, answer: events.Answer, *, dry_run: bool) -> NodeTold:
    if answer.trouble:
        return NodeTold(answer.node, answer.trouble, None)
    with ledger.together(dry_run=dry_run):
        kept = ledger.node_events.keep(answer.node, answer.events, clock())
    return NodeTold(answer.node, "", kept)


def _chosen(known: Mapping[str, ssh.NodeSsh], wanted: Names) -> Mapping[str, ssh.NodeSsh]:
    require_known("host node", wanted, known)
    return {name: known[name] for name in wanted} if wanted else known
