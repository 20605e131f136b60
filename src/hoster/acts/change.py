"""The project as it is now beside what a Git ref says of it: each part is read once.

Whoever judges a change (`check`, `compare`, `reach`, `review`) takes one of these and asks it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from hoster.project import declarations, git
from hoster.project.inventory import load_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hoster.catalogue import Catalogue
    from hoster.changes.since import Before
    from hoster.orders.declarations import Declarations
    from hoster.project import Project


@dataclass(frozen=True)
class Change:
    """What the project says, and what changed of it since ``ref``; nothing did where that is None.

    A part is read when it is first asked for: errors come from there. ``terminated`` gives the
    VPSs whose termination is on record; it is only called where something changed, since the
    checkout of a pipeline has no ledger.
    """

    project: Project
    ref: str | None = None
    terminated: Callable[[], Collection[str]] = field(default=frozenset)

    @cached_property
    def catalogue(self) -> Catalogue:
        """What is on sale now. Raises InventoryError where it is not valid."""
        return load_catalogue(self.project.inventory)

    @cached_property
    def declared(self) -> Declarations:
        """What is declared now. Raises ConfigurationError where a file is no YAML."""
        return declarations.read_all(self.project)

    @cached_property
    def files(self) -> list[str]:
        """The files that differ. Raises ConfigurationError where there is no such ref."""
        return git.files_since(self.project, self.ref) if self.ref else []

    @cached_property
    def before(self) -> Before | None:
        """What the ref says, where anything differs.

        Raises ConfigurationError where there is no such ref, or what it has is not valid.
        """
        return git.before(self.project, self.ref, self.files) if self.ref and self.files else None

    @cached_property
    def ended(self) -> Collection[str]:
        """The VPSs whose termination is on record."""
        return self.terminated()
