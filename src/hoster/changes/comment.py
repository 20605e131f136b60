"""What a pipeline says of a change: a section for each thing that was looked at, as one comment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CHARACTERS = 60_000
"""GitHub takes 65,536 in a comment, GitLab 1,000,000."""


@dataclass(frozen=True)
class Section:
    """What was found, in Markdown; any ``exit_code`` but 0 forbids the change."""

    title: str
    text: str
    exit_code: ExitCode = ExitCode.OK


def exit_code(sections: Sequence[Section]) -> ExitCode:
    """Return the exit code of the first section that forbids the change, else 0."""
    return next((one.exit_code for one in sections if one.exit_code), ExitCode.OK)


def comment(sections: Sequence[Section], most: int = MOST_CHARACTERS) -> str:
    """Return all of it in Markdown, the verdict first, in about *most* characters.

    A change of a plan may reach thousands of VPSs. Each section keeps an equal share of its lines,
    so that none hides what another one forbids.
    """
    forbidden = exit_code(sections)
    verdict = "This change must not be merged" if forbidden else "This change can be merged"
    parts = [f"### {verdict}"]
    for one in sections:
        sign = "🛑 " if one.exit_code else ""
        parts += [f"#### {sign}{one.title}", _shortened(one.text, most // len(sections))]
    return "\n\n".join(parts) + "\n"


def fenced(text: str) -> str:
    """Return *text* so that Markdown shows it as it is, whatever is in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    lines, kept, length = text.splitlines(), [], 0
    for line in lines:
        length += len(line) + 1
        if length > most:
            break
        kept.append(line)
    fence = re.match("`{3,}", text)
    end = [fence[0]] if fence else []
    left = len(lines) - len(kept)
    return "\n".join([*kept, *end, "", f"and {left} more lines: the job's output has them all"])
