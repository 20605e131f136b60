"""`scripts/test` goes on after a failure, and leaves no lab behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def shell(script: str, *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run *script* with the functions that scripts/test is made of."""
    sources = "".join(f"source {ROOT}/scripts/lib/{name}.sh\n" for name in ("env", "say", "parts"))
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{sources}{script}"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_failed_part_stops_nothing() -> None:
    done = shell(
        "start_report; trap end_report EXIT\n"
        "part first true; part second false; skip third 'no reason to'; part fourth true"
    )

    assert 1 == done.returncode
    assert "2 passed, 1 failed, 1 skipped" == done.stdout.splitlines()[-1]


def test_a_part_that_hangs_is_stopped() -> None:
    done = shell("start_report; trap end_report EXIT\nPART_LIMIT=0.1s; part slow sleep 60")

    assert "0 passed, 1 failed, 0 skipped" == done.stdout.splitlines()[-1]
    assert "too long" in done.stdout


def test_a_part_reads_nothing_from_the_terminal() -> None:
    done = shell("start_report; trap end_report EXIT\npart asks bash -c '! read -r line'")

    assert 0 == done.returncode, done.stderr


def test_the_tests_of_pytest_are_counted_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "test_three.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "@pytest.mark.skip(reason='not here')\n"
        "def test_left_out(): pass\n"
    )

    done = shell("start_report; trap end_report EXIT\npart_pytest three", cwd=tmp_path)

    assert 1 == done.returncode
    assert "1 passed, 1 failed, 1 skipped" == done.stdout.splitlines()[-1]
    assert "1 skipped: not here" in done.stdout


def test_a_selection_that_leaves_nothing_is_skipped_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_good(): pass\n")

    done = shell(
        "start_report; trap end_report EXIT\npart first true; part_pytest one -k other",
        cwd=tmp_path,
    )

    assert (0, "1 passed, 0 failed, 1 skipped") == (done.returncode, done.stdout.splitlines()[-1])
    assert "no test is selected" in done.stdout


def test_the_lab_goes_down_only_where_there_is_one(tmp_path: Path) -> None:
    lab = tmp_path / "scripts/lab"
    lab.parent.mkdir()
    lab.write_text('#!/bin/sh\necho "$@" >>calls\n')
    lab.chmod(0o755)

    shell("lab_down", cwd=tmp_path).check_returncode()
    assert not (tmp_path / "calls").exists()

    (tmp_path / ".lab").mkdir()
    shell("lab_down", cwd=tmp_path).check_returncode()
    assert "down\n" == (tmp_path / "calls").read_text()
