"""`docs/contract.md` tells of every requirement where it is done and what shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Requirements by article: the highest number of each.
ARTICLES = {2: 1, 4: 11, 5: 2, 6: 3, 7: 7, 8: 4, 9: 4, 10: 2, 11: 6, 12: 5, 13: 3, 14: 1, 15: 3}
IDS = [
    f"C{article}.{number}" for article, last in ARTICLES.items() for number in range(1, last + 1)
]
NOT_YET = "not yet"


@pytest.fixture(scope="module")
def rows(root: Path) -> list[list[str]]:
    lines = (root / "docs/contract.md").read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if re.match(r"\| *C\d+\.\d+ ", line)
    ]


def test_every_requirement_has_one_row(rows: list[list[str]]) -> None:
    # C2.1 is the only requirement of article 2, and so on: the numbering has no gap.
    assert [row[0] for row in rows] == IDS


def test_every_row_is_complete(rows: list[list[str]]) -> None:
    assert [] == [row for row in rows if len(row) != 4 or not all(row)]


def test_every_place_named_exists(root: Path, rows: list[list[str]]) -> None:
    named = [(row[0], place) for row in rows for place in re.findall(r"`([^`]+/[^`]*)`", row[2])]

    assert [] == [(name, place) for name, place in named if not (root / place).exists()]


def test_every_test_named_exists_and_nothing_else_counts(root: Path, rows: list[list[str]]) -> None:
    shown = [(row[0], re.findall(r"`([^`]+)`", row[3]), row[3]) for row in rows]

    assert [] == [name for name, tests, cell in shown if not tests and cell != NOT_YET]
    assert [] == [
        (name, test)
        for name, tests, _ in shown
        for test in tests
        if not test.startswith(("tests/", "molecule/")) or not (root / test).exists()
    ]
