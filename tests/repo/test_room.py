"""`scripts/test` asks for room before it begins, and gives back what it took."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A machine with two file systems, and 900 MiB on each.
DF = """
df() {
    local mount=/
    [[ ${*: -1} == /sys* ]] && mount=/sys
    printf 'Avail Mounted on\\n 900M %s\\n' "$mount"
}
"""


def shell(script: str) -> subprocess.CompletedProcess[str]:
    sources = "".join(f"source {ROOT}/scripts/lib/{name}.sh\n" for name in ("env", "say", "room"))
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{sources}{script}"],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("asked", "short"),
    [
        ("500:/tmp 900:/sys", []),
        ("400:/tmp 500:/not/yet/there", []),
        ("500:/tmp 500:/not/yet/there", ["/"]),
        ("500:/tmp 901:/sys", ["/sys"]),
        ("901:/tmp 901:/sys", ["/", "/sys"]),
    ],
)
def test_a_file_system_has_to_have_all_that_is_asked_of_it(asked: str, short: list[str]) -> None:
    asked_of = shell(f"{DF}require_room {asked}")

    assert short == sorted(re.findall(r"error: (\S+) has 900 MiB free", asked_of.stderr))
    assert int(bool(short)) == asked_of.returncode
    assert bool(short) == ("make room" in asked_of.stderr)


def test_the_real_one_is_understood(tmp_path: Path) -> None:
    assert 0 == shell(f"require_room 0:{tmp_path}/not/there").returncode
    assert 1 == shell(f"require_room 999999999:{tmp_path}").returncode


def test_scratch_is_bounded_and_leaves_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    done = shell(
        f"export TMPDIR={tmp_path}; make_scratch; touch $TMPDIR/left; df --output=fstype $TMPDIR\n"
        "stat --format %a $TMPDIR; remove_scratch"
    )

    assert ["tmpfs", "1777"] == done.stdout.split()[1:], done.stderr
    assert [] == list(tmp_path.iterdir())


def test_without_memory_scratch_is_on_a_disk(tmp_path: Path) -> None:
    done = shell(
        f"export TMPDIR={tmp_path}; mount() {{ false; }}; umount() {{ false; }}\n"
        "make_scratch; touch $TMPDIR/left; echo $TMPDIR; remove_scratch"
    )

    assert Path(done.stdout.strip()).parent == tmp_path
    assert "on a disk" in done.stderr
    assert [] == list(tmp_path.iterdir())
