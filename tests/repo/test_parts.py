"""`scripts/test` goes on after a failure, and leaves neither processes nor a lab behind."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def program(script: str) -> list[str]:
    """A shell program with the functions that scripts/test is made of."""
    sources = "".join(f"source {ROOT}/scripts/lib/{name}.sh\n" for name in ("env", "say", "parts"))
    return ["bash", "-c", f"set -euo pipefail\n{sources}{script}"]


def shell(script: str, *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program(script), cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def report(tmp_path: Path) -> str:
    """The start of a program: a report of its own, told at its end."""
    return f"start_report {tmp_path}/report; trap end_report EXIT\n"


def test_a_failed_part_stops_nothing(report: str) -> None:
    done = shell(
        f"{report}part first true; part second false; skip third 'no reason to'; part fourth true"
    )

    assert 1 == done.returncode
    assert "2 passed, 1 failed, 1 skipped" == done.stdout.splitlines()[-1]


def test_a_part_that_hangs_is_stopped(report: str) -> None:
    done = shell(f"{report}PART_LIMIT=0.1s; part slow sleep 60")

    assert "0 passed, 1 failed, 0 skipped" == done.stdout.splitlines()[-1]
    assert "too long" in done.stdout


def test_a_part_reads_nothing_from_the_terminal(report: str) -> None:
    done = shell(f"{report}part asks bash -c '! read -r line'")

    assert 0 == done.returncode, done.stderr


def test_a_part_leaves_no_process_behind(report: str, tmp_path: Path) -> None:
    shell(f"{report}part leaver bash -c 'sleep 60 & echo $! >{tmp_path}/left'").check_returncode()

    # A process that ended has no command line, also while nobody has buried it yet.
    command = Path("/proc", (tmp_path / "left").read_text().strip(), "cmdline")
    assert "" == (command.read_text() if command.exists() else "")


def test_a_part_that_failed_shows_the_end_of_its_own_log_before_the_table(report: str) -> None:
    done = shell(f"{report}part good seq 5; part bad bash -c 'seq 40; exit 3'")

    lines = done.stdout.splitlines()
    assert [str(number) for number in range(11, 41)] == lines[1:31]
    assert "Tests" == lines[32].strip()


def test_the_tests_of_pytest_are_counted_one_by_one(report: str, tmp_path: Path) -> None:
    (tmp_path / "test_three.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "@pytest.mark.skip(reason='not here')\n"
        "def test_left_out(): pass\n"
    )

    done = shell(f"{report}part three pytest", cwd=tmp_path)

    assert 1 == done.returncode
    assert "1 passed, 1 failed, 1 skipped" == done.stdout.splitlines()[-1]
    assert "1 skipped: not here" in done.stdout


def test_a_selection_that_leaves_nothing_is_skipped_and_says_so(
    report: str, tmp_path: Path
) -> None:
    (tmp_path / "test_one.py").write_text("def test_good(): pass\n")

    done = shell(f"{report}part first true; part one pytest -k other", cwd=tmp_path)

    assert (0, "1 passed, 0 failed, 1 skipped") == (done.returncode, done.stdout.splitlines()[-1])
    assert "no test is selected" in done.stdout


PARTS = """
each_part() {
    "$1" left first true
    "$1" left second bash -c 'touch second; until [[ -e third ]]; do sleep 0.05; done'
    "$1" right third bash -c 'until [[ -e second ]]; do sleep 0.05; done; touch third'
    "$1" end fourth bash -c '[[ -e third ]]'
}
left() { run_lane left; }
right() { run_lane right; }
end() { run_lane end; }
"""


def test_lanes_run_side_by_side_and_what_is_alone_runs_afterwards(
    report: str, tmp_path: Path
) -> None:
    done = shell(
        f"{PARTS}{report}each_part choose_part; run_lanes left right; run_lanes end", cwd=tmp_path
    )

    assert (0, "4 passed, 0 failed, 0 skipped") == (done.returncode, done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("wanted", "run"), [("left", {"first", "second"}), ("third", {"third"})])
def test_a_part_is_asked_for_by_its_name_or_its_lanes(
    tmp_path: Path, wanted: str, run: set[str]
) -> None:
    chosen = shell(f"{PARTS}WANTED=({wanted}); each_part choose_part; echo ${{!CHOSEN[@]}}")

    assert run == set(chosen.stdout.split())


def test_what_is_left_out_is_skipped_with_its_reason(report: str) -> None:
    done = shell(
        f"{PARTS}{report}each_part choose_part; leave_out 'because' left right\n"
        "part fifth true; echo ${!CHOSEN[@]}"
    )

    assert "fourth" == done.stdout.splitlines()[0]
    assert "1 passed, 0 failed, 3 skipped" == done.stdout.splitlines()[-1]
    assert 3 == done.stdout.count("because")


@pytest.mark.parametrize(
    ("reached", "options", "left"),
    [
        ("everything", "-x", {"scenario", "unit"}),
        ("molecule\ntests/test_a.py", "-x tests/test_a.py", {"scenario", "unit"}),
        ("tests/test_a.py\ntests/test_b.py", "-x tests/test_a.py tests/test_b.py", {"unit"}),
    ],
)
def test_of_a_change_only_what_it_reaches_is_run(
    report: str, reached: str, options: str, left: set[str]
) -> None:
    done = shell(
        f'{report}each_part() {{ "$1" molecule scenario true; "$1" tests unit pytest; }}\n'
        f"python() {{ [[ $1 != *changed.py ]] || printf '{reached}\\n'; }}\n"
        "PYTEST_OPTIONS=(-x); each_part choose_part; choose_changed HEAD\n"
        "echo ${PYTEST_OPTIONS[@]}; echo ${!CHOSEN[@]}"
    )

    given, chosen = done.stdout.splitlines()
    assert (options, left) == (given, set(chosen.split()))


def test_proofs_at_scale_are_run_when_they_are_asked_for() -> None:
    parts = 'each_part() { "$1" tests unit true; "$1" long long true; }\n'
    chosen = shell(
        f"{parts}each_part choose_part; echo ${{!CHOSEN[@]}}\n"
        "CHOSEN=(); WANTED=(long); each_part choose_part; echo ${!CHOSEN[@]}"
    )

    assert ["unit", "long"] == chosen.stdout.split()


WAITS = """
import pathlib, pytest, time
@pytest.fixture
def made():
    pathlib.Path("made").touch()
    yield
    pathlib.Path("taken-down").touch()
def test_waits(made): time.sleep(60)
"""


def test_who_is_stopped_ends_its_parts_in_order_and_tells_what_was(
    report: str, tmp_path: Path
) -> None:
    (tmp_path / "test_waits.py").write_text(WAITS)
    parts = """
each_part() { "$1" one waits pytest; "$1" one never touch never; "$1" two good true; }
one() { run_lane one; touch cleaned; }
two() { run_lane two; }
"""
    script = f"{parts}{report}trap 'stop_lanes TERM' TERM; each_part choose_part; run_lanes one two"
    running = subprocess.Popen(
        program(f"{script}; touch 'went on'"), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    while not (tmp_path / "made").exists():
        time.sleep(0.05)

    running.send_signal(signal.SIGTERM)

    said, _ = running.communicate(timeout=30)
    assert 1 == running.returncode
    assert said.endswith(", 1 failed, 0 skipped\n")
    assert {"taken-down", "cleaned", "went on"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "never").exists()


def test_two_runs_do_not_write_to_one_report(report: str) -> None:
    done = shell(f"{report}(exec 9>&-; {report} true)")

    assert "another run writes to" in done.stderr


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
