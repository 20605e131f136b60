"""What a pipeline says of a change, as one comment."""

from __future__ import annotations

import pytest

from hoster.changes.comment import MOST_CHARACTERS, Section, comment, exit_code, fenced
from hoster.errors import ExitCode


def test_the_first_that_forbids_a_change_says_how_it_ends() -> None:
    good, unread = Section("Rules", "none"), Section("Impact", "?", ExitCode.USAGE)
    forbidden = Section("Preview", "no", ExitCode.POLICY)

    assert ExitCode.USAGE == exit_code([good, unread, forbidden])
    assert comment([good, forbidden]) == (
        "### This change must not be merged\n\n#### Rules\n\nnone\n\n#### 🛑 Preview\n\nno\n"
    )


def test_a_change_that_reaches_thousands_hides_nothing_that_is_forbidden() -> None:
    """C4.7: GitHub refuses a comment of more than 65,536 characters."""
    rows = "\n".join(f"| client-{number}/web | kvm-2 -> kvm-4 | live |" for number in range(3000))
    last = Section("Preview", "client-7/web: its disk would be lost", ExitCode.POLICY)

    text = comment([Section("Impact", rows), last])

    assert MOST_CHARACTERS > len(text)
    assert "| client-0/web |" in text
    assert "more lines: the job's output has them all" in text
    assert "its disk would be lost" in text
    assert 3000 == text.count("| live |") + int(text.partition("and ")[2].split()[0])


@pytest.mark.parametrize("text", ["<b>@everybody</b>", "```\n# not a heading\n```", "`````"])
def test_what_somebody_wrote_is_shown_and_never_obeyed(text: str) -> None:
    shown = fenced(text)

    fence = shown.partition("text\n")[0]
    assert text in shown
    assert shown.endswith(f"\n{fence}")
    assert fence not in text


def test_what_is_cut_stays_within_its_fence() -> None:
    long = fenced("\n".join(f"line {number}" for number in range(1000)))

    text = comment([Section("Rules", long, ExitCode.POLICY)], most=500)

    assert 2 == text.count("```")
    assert text.index("more lines") > text.rindex("```")
