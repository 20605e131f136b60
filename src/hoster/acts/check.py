"""Every rule over every declaration and, where there is a ref to compare with, over the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.changes import rules, since
from hoster.project import yaml_files

if TYPE_CHECKING:
    from pathlib import Path

    from hoster.acts.change import Change
    from hoster.changes.rules import Breach
    from hoster.orders.declarations import Declarations


@dataclass(frozen=True)
class Finding:
    """A rule that is broken, with its place: ``other`` is the second one of a clash."""

    rule: str
    contract: str
    file: str
    line: int
    key: str
    message: str
    other: str | None


@dataclass(frozen=True)
class Judgement:
    """What is declared, and what of it breaks a rule."""

    declared: Declarations
    findings: tuple[Finding, ...]


def check(change: Change) -> Judgement:
    """Judge what is declared, and what changed.

    Raises:
        ConfigurationError: the inventory is not valid, or there is no such ref.
    """
    catalogue, declared = change.catalogue, change.declared
    found = rules.check(catalogue, declared)
    return Judgement(declared, tuple(map(_placed, [*_changed(change), *found])))


def _changed(change: Change) -> list[Breach]:
    if change.before is None:
        return []
    return since.check(
        change.before,
        change.catalogue,
        change.declared,
        ended=change.ended,
        plans_file=change.project.inventory / "group_vars" / "all" / "plans.yml",
    )


def _placed(breach: Breach) -> Finding:
    other = f"{breach.other[0]}:{yaml_files.line_of(*breach.other)}" if breach.other else None
    return Finding(
        rule=breach.rule,
        contract=breach.contract,
        file=str(breach.file),
        line=_line(breach.file, breach.keys),
        key=".".join(breach.keys),
        message=breach.message,
        other=other,
    )


def _line(file: Path, keys: tuple[str, ...]) -> int:
    """Return the first line where the file is gone."""
    return yaml_files.line_of(file, keys) if file.exists() else 1
