"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoster.reference import pages

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["policy.md", "roles.md"])
def test_a_page_is_as_new_as_the_code(page: str) -> None:
    # After a change: python -m hoster.reference .
    assert pages(ROOT)[page] == (ROOT / "docs" / page).read_text()


def test_every_key_of_the_policy_is_explained() -> None:
    rows = [line for line in pages(ROOT)["policy.md"].splitlines() if line.startswith("| `")]

    assert len(rows) > 20
    assert [] == [row for row in rows if row.split(" | ")[1].strip() == ""]
