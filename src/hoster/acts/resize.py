"""Another plan for a VPS, declared: its disk and its data stay (C4.7)."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from typing import TYPE_CHECKING

from hoster.orders import ordering
from hoster.project import declarations, files

if TYPE_CHECKING:
    from pathlib import Path

    from hoster.catalogue import Catalogue
    from hoster.orders.declarations import VpsDeclaration
    from hoster.project import Project


@dataclass(frozen=True)
class Resized:
    """A VPS on its new plan, and how its declaration differs from before, as a unified diff.

    ``is_another`` says that it was on another plan; ``written`` that it stands in its file now.
    """

    vps: VpsDeclaration
    is_another: bool
    written: bool
    diff: str


def resize(
    project: Project, catalogue: Catalogue, full_name: str, plan: str, *, dry_run: bool = False
) -> Resized:
    """Declare *plan* for the VPS *full_name* under the project's lock.

    Raises:
        ConfigurationError: a declaration is not valid; no such VPS, or no such plan.
        RuleError: the plan's disk is smaller, or it is of another range (C4.7).
        NoRoomError: its host node has no room for it (C4.7).
    """
    with declarations.exclusive(project):
        declared = declarations.read_sound(project)
        [was] = declared.named([full_name])
        vps = ordering.resized(catalogue, declared, was, plan)
        file = project.declaration(vps.client)
        before = file.read_text(encoding="utf-8")
        is_another = was.plan != plan
        after = declarations.with_plan(file, vps.name, plan) if is_another else before
        written = is_another and not dry_run
        if written:
            files.write(file, after)
    return Resized(vps, is_another, written, _diff(file, before, after))


def _diff(file: Path, before: str, after: str) -> str:
    lines = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(unified_diff(*lines, file.name, file.name))
