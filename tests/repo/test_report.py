"""The sum at the end of `scripts/test` counts what happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPORT = Path(__file__).parents[2] / "scripts/lib/report.py"
CASES = """<testsuites><testsuite>
  <testcase name="a"/>
  <testcase name="b"><failure message="no">trace</failure></testcase>
  <testcase name="c"><error message="broken">trace</error></testcase>
  <testcase name="d"><skipped message="no KVM"/></testcase>
</testsuite></testsuites>"""


def report(folder: Path, *parts: str) -> tuple[int, list[str]]:
    (folder / "parts.tsv").write_text("".join(f"{part}\n" for part in parts))
    done = subprocess.run(
        [sys.executable, REPORT, folder], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()


def test_a_command_counts_as_one(tmp_path: Path) -> None:
    code, lines = report(tmp_path, "ruff\t0\t1\t\t", "mypy\t0\t9\t\t")

    assert (code, lines[-1]) == (0, "2 passed, 0 failed, 0 skipped")


def test_a_failed_command_fails_the_whole(tmp_path: Path) -> None:
    code, lines = report(tmp_path, "ruff\t0\t1\t\t", "mypy\t1\t9\t\t")

    assert (code, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")


def test_a_skipped_part_says_why(tmp_path: Path) -> None:
    code, lines = report(tmp_path, "ruff\t0\t1\t\t", "molecule\tskipped\t0\t--fast\t")

    assert (code, lines[-1]) == (0, "1 passed, 0 failed, 1 skipped")
    assert any("molecule" in line and "--fast" in line for line in lines)


def test_tests_count_one_by_one(tmp_path: Path) -> None:
    junit = tmp_path / "tests.xml"
    junit.write_text(CASES)

    code, lines = report(tmp_path, f"tests\t1\t3\t\t{junit}")

    assert (code, lines[-1]) == (1, "1 passed, 2 failed, 1 skipped")
    assert any("no KVM" in line for line in lines)


def test_a_run_that_broke_off_is_a_failure(tmp_path: Path) -> None:
    code, lines = report(tmp_path, f"tests\t124\t1500\t\t{tmp_path / 'missing.xml'}")

    assert (code, lines[-1]) == (1, "0 passed, 1 failed, 0 skipped")
    assert any("too long" in line for line in lines)


def test_it_tells_how_long_a_part_took_what_was_worked_for_it_and_what_nobody_used(
    tmp_path: Path,
) -> None:
    _, lines = report(tmp_path, "mypy\t0\t9\t\t\t\t7\t41")

    assert ["9 s", "7 s", "41 %"] == [cell.strip() for cell in lines[4].split("│")[5:8]]


def test_the_end_of_a_failed_parts_log_is_shown_and_no_others(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / f"{name}.log").write_text(f"{name} begins\n" + f"{name} goes on\n" * 30)

    _, lines = report(
        tmp_path, *(f"{name}\t{code}\t1\t\t\t{tmp_path / name}.log"
                    for name, code in {"good": 0, "bad": 1}.items())
    )  # fmt: skip

    assert (30, 0) == (lines.count("bad goes on"), lines.count("bad begins"))
    assert not any("good goes on" in line for line in lines)


def test_the_slowest_tests_of_all_parts_are_kept_slowest_first(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.xml").write_text(
            "<testsuites><testsuite>"
            + "".join(
                f'<testcase classname="c" name="t{each}" time="{each}.{number}"/>'
                for each in range(20)
            )
            + "</testsuite></testsuites>"
        )

    report(tmp_path, *(f"p\t0\t1\t\t{tmp_path / str(number)}.xml" for number in range(2)))

    kept = (tmp_path / "slowest.txt").read_text().splitlines()
    assert ["19.1 s  c::t19", "19.0 s  c::t19", "18.1 s  c::t18"] == [
        line.strip() for line in kept[:3]
    ]
    assert 30 == len(kept)


def test_a_bad_exit_without_a_failed_test_is_a_failure(tmp_path: Path) -> None:
    junit = tmp_path / "tests.xml"
    junit.write_text('<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>')

    code, lines = report(tmp_path, f"tests\t3\t1\t\t{junit}")

    assert (code, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")


def test_nothing_that_passed_is_no_success(tmp_path: Path) -> None:
    code, lines = report(tmp_path, "molecule\tskipped\t0\t--fast\t")

    assert (code, lines[-1]) == (1, "0 passed, 0 failed, 1 skipped")
