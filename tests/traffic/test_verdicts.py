"""The verdict table as real packets; and again after everything that could open the filter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hoster_lab.traffic import read_cases, wrong_verdicts

if TYPE_CHECKING:
    from hoster_lab.wire import Wire

CASES = read_cases(Path(__file__).parent / "verdicts.yml")


def test_every_packet_goes_as_the_table_says(two: Wire) -> None:
    """C4.3, C4.5, C7.2, C7.6."""
    assert [] == wrong_verdicts(two, CASES)


def test_the_table_would_fail_without_a_filter(two: Wire) -> None:
    """A table that cannot fail shows nothing."""
    two.on(two.node, "nft", "delete", "table", "bridge", "hoster")

    refused = sum(not case["passes"] for case in CASES)
    assert len(wrong_verdicts(two, CASES)) > refused / 2
