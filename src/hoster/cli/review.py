"""``hoster review``: all that a pipeline says of a change, and whether it may be merged."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hoster.changes.comment import Section
    from hoster.project import Project


@click.command()
@click.option(
    "--against", metavar="REF", required=True, help="The Git branch, tag or commit to compare with."
)
@click.option(
    "--no-preview", is_flag=True, help="Ask no stack: where there is no way to the state."
)
@click.option("--comment", is_flag=True, help="In a pipeline: say it in the pull request, too.")
@click.option(
    "--parallel", type=click.IntRange(min=1), help="How many at once. Default: one a core, 2-8."
)
@_common.as_json
def review(
    against: str, no_preview: bool, comment: bool, parallel: int | None, as_json: bool
) -> None:
    """Judge a change: its rules, whom it touches, what would happen to them. In Markdown.

    What `check`, `impact` and `preview` say, one after another; where a rule is broken, no more
    than that. With --comment it becomes the one comment of the pull request, which every later run
    brings up to date. Exit code 0 where the change can be merged, 5 where a rule forbids it, 2
    where something cannot be read.

    \b
    Examples:
      hoster review --against origin/main
      scripts/review-change --against HEAD^1 --comment
    """
    from hoster.changes import comment as reviews

    sections: list[Section] = []
    for one in _sections(_common.project(), against, parallel, stacks=not no_preview):
        sections.append(one)
        if one.exit_code:
            break
    text = reviews.comment(sections)
    if as_json:
        _common.print_json(
            {
                "can_be_merged": not reviews.exit_code(sections),
                "sections": [
                    {"title": one.title, "text": one.text, "exit_code": one.exit_code}
                    for one in sections
                ],
            }
        )
    else:
        click.echo(reviews.comment(sections, sys.maxsize), nl=False)
    if comment:
        from hoster.project.forge import Discussion

        changed = Discussion.of(os.environ).say(text)
        _common.say(
            "the pull request says it now" if changed else "the pull request says it already"
        )
    sys.exit(reviews.exit_code(sections))


def _sections(
    project: Project, against: str, parallel: int | None, *, stacks: bool
) -> Iterator[Section]:
    """Yield what is looked at, the quickest first."""
    yield _section("Rules", lambda: _rules(against))
    yield _section("Whom it touches", lambda: _impact(against))
    if stacks:
        yield _section("What would happen", lambda: _preview(project, against, parallel))


def _section(title: str, look: Callable[[], tuple[str, bool]]) -> Section:
    from hoster.changes.comment import Section, fenced
    from hoster.errors import ExitCode, HosterError

    _common.say(f"{title} ...")
    try:
        text, good = look()
    except HosterError as error:
        return Section(title, fenced(_in_project(str(error))), ExitCode(error.exit_code))
    return Section(title, text, ExitCode.OK if good else ExitCode.POLICY)


def _rules(against: str) -> tuple[str, bool]:
    from hoster.changes.comment import fenced
    from hoster.cli import check

    declared, rows = check.judge(against)
    if rows:
        return fenced("\n".join(_in_project(check.line(row)) for row in rows)), False
    return f"{check.what(declared)}: no rule is broken", True


def _impact(against: str) -> tuple[str, bool]:
    from hoster.cli import impact

    return impact.in_markdown(against), True


def _preview(project: Project, against: str, parallel: int | None) -> tuple[str, bool]:
    from hoster.cli import stacks
    from hoster.engine import rollout
    from hoster.project import git

    clients = git.clients_since(project, against)
    outcomes, seen = stacks.look_at(clients, parallel)
    good = all(one.result in rollout.GOOD for one in outcomes)
    return stacks.in_markdown(outcomes, seen).rstrip(), good


def _in_project(text: str) -> str:
    """Return *text* with the project's own files named as Git names them."""
    return text.replace(f"{_common.project().root}/", "")
