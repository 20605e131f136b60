"""The wheel that host nodes get: built once for each content of the project, whoever asks."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "roles/node_agent/files/wheel.py"
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "hoster"
version = "1"
requires-python = ">=3.11"
[tool.hatch.build.targets.wheel]
packages = ["src/hoster"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "project/src/hoster/__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("WORD = 'first'\n")
    (tmp_path / "project/pyproject.toml").write_text(PROJECT)
    return tmp_path / "project"


def ask(project: Path, folder: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, SCRIPT, project, folder]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_two_runs_at_once_get_the_same_whole_wheel(project: Path, tmp_path: Path) -> None:
    both = [ask(project, tmp_path / "wheels") for _ in range(2)]
    said = {run.communicate()[0].strip() for run in both}
    assert [0, 0] == [run.returncode for run in both]
    (found,) = said
    assert "hoster-1-py3-none-any.whl" == Path(found).name
    assert 1 == len(list((tmp_path / "wheels").glob("*/*.whl")))


def test_two_checkouts_do_not_take_each_others_wheel(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(project, other)
    (other / "src/hoster/__init__.py").write_text("WORD = 'second'\n")
    digest: Any = runpy.run_path(str(SCRIPT))["digest"]
    before = digest(project)
    assert before != digest(other)
    cache = project / "src/hoster/__pycache__"
    cache.mkdir()
    (cache / "__init__.pyc").touch()
    assert before == digest(project)


def test_only_the_wheels_of_the_last_contents_are_kept(project: Path, tmp_path: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    wheel: Any = script["wheel"]
    folder = tmp_path / "wheels"
    for number in range(script["KEPT"] + 5):
        (folder / f"{number:016}").mkdir(parents=True)
    found = wheel(project, folder)
    assert found.is_file()
    assert script["KEPT"] == len([path for path in folder.iterdir() if path.is_dir()])
