"""Where files are: what the layout's traps ask for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hoster.structure import picture


def test_every_test_file_is_named_and_collected_as_one(root: Path, files: list[Path]) -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    collected = {Path(line.partition("::")[0].partition(":")[0]) for line in listing.splitlines()}
    holding_tests = {
        path
        for path in files
        if path.parts[0] == "tests"
        and path.suffix == ".py"
        and re.search(
            r"^\s*(async )?def test_|^class Test", (root / path).read_text(), re.MULTILINE
        )
    }

    assert set() == holding_tests - collected
    assert set() == {path for path in holding_tests if not path.name.startswith("test_")}


def test_every_file_named_like_a_test_holds_one(root: Path, files: list[Path]) -> None:
    named = [path for path in files if path.parts[0] == "tests" and path.match("test_*.py")]

    assert [] == [path for path in named if "def test_" not in (root / path).read_text()]


def test_the_programs_folder_does_not_hide_the_sdk(files: list[Path]) -> None:
    # With an __init__.py, `import pulumi` from the checkout would find our folder.
    assert [] == [path for path in files if path == Path("pulumi/__init__.py")]
    assert [] == [
        path for path in files if path.parts[0] == "tests" and "pulumi" in path.parts[:-1]
    ]


def test_the_programs_folder_holds_nothing_else_to_import(files: list[Path]) -> None:
    modules = {path for path in files if path.parent == Path("pulumi") and path.suffix == ".py"}

    assert set() == modules - {Path("pulumi/__main__.py")}


def test_the_picture_of_the_rooms_is_of_today(root: Path) -> None:
    drawn = (root / "docs/structure.svg").read_text()

    assert picture(root / "src") == drawn, "python -m hoster.structure . draws it anew"
