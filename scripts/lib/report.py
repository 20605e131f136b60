"""Reads what the parts of ``scripts/test`` recorded and sums it up; used by ``scripts/test`` only.

Each line of ``parts.tsv`` is a part: its name, its exit code (or ``skipped``), how many seconds it
took, why it was skipped, the JUnit file with its tests where it has any, and its log. Then how many
seconds processors worked for it, and how many percent of the machine's processor time nobody used
meanwhile: what runs in a container works, too, and is nobody's child.
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
LAST_LINES = 30
SLOWEST = 30


@dataclass(frozen=True)
class Part:
    """A line of ``parts.tsv``; ``worked`` is in seconds, ``idle`` in percent."""

    name: str
    code: str
    seconds: int
    reason: str = ""
    junit: str = ""
    log: str = ""
    worked: str = ""
    idle: str = ""

    @classmethod
    def of(cls, name: str, code: str, seconds: str, *others: str) -> Part:
        """Return the part that a line tells of."""
        return cls(name, code, int(seconds), *others)


@dataclass(frozen=True)
class Outcome:
    """What became of one part: how many passed, failed, were skipped, and remarks on them."""

    passed: int
    failed: int
    skipped: int
    remark: str


def outcome(part: Part) -> Outcome:
    """Judge one recorded part."""
    if part.code == "skipped":
        return Outcome(0, 0, 1, part.reason)
    if part.junit:
        return _outcome_of_tests(int(part.code), Path(part.junit))
    failed = int(part.code != "0")
    return Outcome(1 - failed, failed, 0, _exit_remark(int(part.code)))


def _outcome_of_tests(code: int, junit: Path) -> Outcome:
    if not junit.is_file():
        return Outcome(0, 1, 0, f"no result file; {_exit_remark(code)}")
    cases = _cases(junit)
    failed = sum(_is_failed(case) for case in cases)
    reasons = Counter(
        skipped.get("message", "no reason given")
        for case in cases
        for skipped in case.findall("skipped")
    )
    remarks = [f"{count} skipped: {reason}" for reason, count in reasons.items()]
    if code == NO_TEST_SELECTED and not cases:
        return Outcome(0, 0, 1, "no test is selected")
    if code != 0 and failed == 0:
        failed = 1
        remarks.append(_exit_remark(code))
    passed = sum(not _is_failed(case) and case.find("skipped") is None for case in cases)
    return Outcome(passed, failed, reasons.total(), "; ".join(remarks))


def _cases(junit: Path) -> list[ET.Element]:
    return list(ET.parse(junit).iter("testcase"))  # noqa: S314 - pytest wrote it a moment ago


def _is_failed(case: ET.Element) -> bool:
    return case.find("failure") is not None or case.find("error") is not None


def _exit_remark(code: int) -> str:
    if code == 0:
        return ""
    return "stopped: it took too long" if code == STOPPED else f"exit code {code}"


def slowest(parts: list[Part]) -> list[str]:
    """Return a line for each of the tests that took longest, with what their fixtures took."""
    junits = [Path(part.junit) for part in parts if part.junit and Path(part.junit).is_file()]
    took = [
        (float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}")
        for junit in junits
        for case in _cases(junit)
    ]
    return [f"{seconds:7.1f} s  {name}" for seconds, name in sorted(took, reverse=True)[:SLOWEST]]


def last_lines(part: Part) -> list[str]:
    """Return the end of what a part printed."""
    if not part.log:
        return []
    lines = Path(part.log).read_text("utf-8", errors="replace").splitlines()
    return [f"--- {part.name}: the end of {part.log}", *lines[-LAST_LINES:], ""]


def _table(outcomes: dict[Part, Outcome]) -> Table:
    table = Table(title="Tests", title_justify="left")
    table.add_column("part")
    for heading in ("passed", "failed", "skipped", "time", "worked", "idle"):
        table.add_column(heading, justify="right")
    table.add_column("remark", overflow="fold")
    for part, each in outcomes.items():
        style = "red" if each.failed else "yellow" if each.skipped else "green"
        counts = (str(each.passed), str(each.failed), str(each.skipped))
        times = (f"{part.seconds} s", part.worked and f"{part.worked} s")
        table.add_row(
            part.name, *counts, *times, part.idle and f"{part.idle} %", each.remark, style=style
        )
    return table


def main(folder: str) -> int:
    """Print the table and the sum; 1 where something failed or nothing ran."""
    records = Path(folder, "parts.tsv")
    with records.open(newline="") as lines:
        parts = [Part.of(*line) for line in csv.reader(lines, delimiter="\t")]
    outcomes = {part: outcome(part) for part in parts}
    for part, each in outcomes.items():
        if each.failed:
            sys.stdout.writelines(f"{line}\n" for line in last_lines(part))
    Path(folder, "slowest.txt").write_text("".join(f"{line}\n" for line in slowest(parts)), "utf-8")
    Console(width=None if sys.stdout.isatty() else 110).print(_table(outcomes))
    passed, failed, skipped = (
        sum(getattr(each, kind) for each in outcomes.values())
        for kind in ("passed", "failed", "skipped")
    )
    sys.stdout.write(f"{passed} passed, {failed} failed, {skipped} skipped\n")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
