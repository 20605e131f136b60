"""Clients' contact details, kept in the ledger (C7.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoster.acts.reply import Reply
from hoster.clients.contact import Client, client_of

if TYPE_CHECKING:
    from hoster.acts.reply import Clock
    from hoster.ledger import Ledger


@dataclass(frozen=True)
class Edited(Reply):
    """A client as it is now, and the details that changed, or would in a dry run."""

    client: Client
    changed: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"changed": list(self.changed), **self.client.model_dump()}


def edit(
    ledger: Ledger,
    clock: Clock,
    *,
    name: str,
    details: Mapping[str, str | None],
    dry_run: bool = False,
) -> Edited:
    """Change those details of a client that are given; the others stay.

    Raises:
        ConfigurationError: there is no such client, or a detail is not valid.
    """
    old = ledger.clients.named(name)
    new = client_of({**old.model_dump(), **details})
    changed = [field for field in details if getattr(new, field) != getattr(old, field)]
    if changed and not dry_run:
        ledger.clients.edit(new, clock())
    return Edited(new, changed)
