"""``hoster review``: all that a pipeline says of a change, and whether it may be merged."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoster.acts.review import Look
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
    from hoster.acts import review as act
    from hoster.changes import comment as reviews

    change = _common.change(against)
    looks = act.review(
        change,
        _common.clock,
        stacks=not no_preview,
        at_once=parallel,
        begun=lambda title: _common.say(f"{title} ..."),
        told=_common.say_outcome,
    )
    sections = [_section(look, change.project) for look in looks]
    _print(sections, as_json=as_json)
    if comment:
        _say_in_pull_request(reviews.comment(sections))
    sys.exit(reviews.exit_code(sections))


def _section(look: Look, project: Project) -> Section:
    from hoster.changes.comment import Section

    return Section(look.title, _text(look.found, project), look.exit_code)


def _text(found: object, project: Project) -> str:
    """Return what was found in Markdown; the project's own files are named as Git names them."""
    from hoster.acts.check import Judgement
    from hoster.acts.compare import Comparison
    from hoster.acts.preview import Previewed
    from hoster.changes.comment import fenced
    from hoster.cli import check, impact, stacks

    if isinstance(found, Judgement) and not found.findings:
        return f"{check.what(found)}: no rule is broken"
    if isinstance(found, Comparison):
        return impact.in_markdown(found)
    if isinstance(found, Previewed):
        return stacks.in_markdown(found).rstrip()
    lines = map(check.line, found.findings) if isinstance(found, Judgement) else [str(found)]
    return fenced("\n".join(lines).replace(f"{project.root}/", ""))


def _print(sections: Sequence[Section], *, as_json: bool) -> None:
    from hoster.changes import comment as reviews

    if not as_json:
        click.echo(reviews.comment(sections, sys.maxsize), nl=False)
        return
    _common.print_json(
        {
            "can_be_merged": not reviews.exit_code(sections),
            "sections": [asdict(one) for one in sections],
        }
    )


def _say_in_pull_request(text: str) -> None:
    from hoster.project.forge import Discussion

    changed = Discussion.of(os.environ).say(text)
    _common.say("the pull request says it now" if changed else "the pull request says it already")
