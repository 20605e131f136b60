"""Reads what the parts of ``scripts/test`` recorded and sums it up; used by ``scripts/test`` only.

Each line of ``parts.tsv`` is a part: its name, its exit code (or ``skipped``), how many seconds it
took, why it was skipped, and the JUnit file with its tests where it has any.
"""

from __future__ import annotations

import csv
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

NO_TEST_SELECTED = 5  # exit code of pytest
STOPPED = 124  # exit code of timeout


@dataclass(frozen=True)
class Outcome:
    """What became of one part: how many passed, failed, were skipped, and remarks on them."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: int
    remark: str


def outcome(name: str, code: str, seconds: str, reason: str, junit: str) -> Outcome:
    """Judge one recorded part."""
    if code == "skipped":
        return Outcome(name, 0, 0, 1, 0, reason)
    if junit:
        return _outcome_of_tests(name, int(code), int(seconds), Path(junit))
    failed = int(code != "0")
    return Outcome(name, 1 - failed, failed, 0, int(seconds), _exit_remark(int(code)))


def _outcome_of_tests(name: str, code: int, seconds: int, junit: Path) -> Outcome:
    if not junit.is_file():
        return Outcome(name, 0, 1, 0, seconds, f"no result file; {_exit_remark(code)}")
    cases = list(ET.parse(junit).iter("testcase"))  # noqa: S314 - pytest wrote it a moment ago
    failed = sum(_is_failed(case) for case in cases)
    reasons = Counter(
        skipped.get("message", "no reason given")
        for case in cases
        for skipped in case.findall("skipped")
    )
    skips = reasons.total()
    remarks = [f"{count} skipped: {reason}" for reason, count in reasons.items()]
    if code == NO_TEST_SELECTED and not cases:
        return Outcome(name, 0, 0, 1, seconds, "no test is selected")
    if code != 0 and failed == 0:
        failed = 1
        remarks.append(_exit_remark(code))
    passed = sum(not _is_failed(case) and case.find("skipped") is None for case in cases)
    return Outcome(name, passed, failed, skips, seconds, "; ".join(remarks))


def _is_failed(case: ET.Element) -> bool:
    return case.find("failure") is not None or case.find("error") is not None


def _exit_remark(code: int) -> str:
    if code == 0:
        return ""
    return "stopped: it took too long" if code == STOPPED else f"exit code {code}"


def _print(outcomes: list[Outcome]) -> None:
    table = Table(title="Tests", title_justify="left")
    table.add_column("part")
    for heading in ("passed", "failed", "skipped", "time"):
        table.add_column(heading, justify="right")
    table.add_column("remark", overflow="fold")
    for each in outcomes:
        style = "red" if each.failed else "yellow" if each.skipped else "green"
        numbers = (str(each.passed), str(each.failed), str(each.skipped), f"{each.seconds} s")
        table.add_row(each.name, *numbers, each.remark, style=style)
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def main(folder: str) -> int:
    """Print the table and the sum; 1 where something failed or nothing ran."""
    records = Path(folder, "parts.tsv")
    with records.open(newline="") as lines:
        outcomes = [outcome(*line) for line in csv.reader(lines, delimiter="\t")]
    _print(outcomes)
    passed, failed, skipped = (
        sum(getattr(each, kind) for each in outcomes) for kind in ("passed", "failed", "skipped")
    )
    sys.stdout.write(f"{passed} passed, {failed} failed, {skipped} skipped\n")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
