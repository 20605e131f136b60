"""Every program in `scripts/` tells how it is used."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_help_exits_well_and_shows_an_example(script: Path) -> None:
    asked = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)

    assert (asked.returncode, asked.stderr) == (0, "")
    assert "example" in asked.stdout.lower()
    assert f"scripts/{script.name}" in asked.stdout


# What scripts/test does not know is pytest's.
@pytest.mark.parametrize(
    "script",
    [script for script in SCRIPTS if script.name != "test"],
    ids=lambda script: script.name,
)
def test_an_unknown_option_is_a_usage_error(script: Path) -> None:
    asked = subprocess.run(
        [script, "--no-such-option"], capture_output=True, text=True, check=False
    )

    assert 2 == asked.returncode


def test_ci_runs_what_a_person_runs_from_anywhere(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name, text in {"scripts/test": 'echo "ran with $# arguments"; cat'}.items():
        (checkout / name).parent.mkdir(parents=True)
        (checkout / name).write_text(f"#!/bin/sh\n{text}\n")
        (checkout / name).chmod(0o755)
    (checkout / ".ci").mkdir()
    (checkout / ".ci/run").write_bytes((ROOT / ".ci/run").read_bytes())

    done = subprocess.run(
        ["bash", checkout / ".ci/run"],
        cwd="/",
        input="not read",
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "ran with 0 arguments\n"


def setup(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PATH": path} if path else {})
    return subprocess.run(
        [ROOT / "scripts/setup", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_a_second_setup_does_nothing() -> None:
    assert (
        (done := setup("--for", "test")).returncode,
        done.stdout,
        done.stderr,
    ) == (0, "", "")


def test_a_dry_run_tells_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    without_pulumi = ":".join(
        folder
        for folder in os.environ["PATH"].split(":")
        if not Path(folder, "pulumi-language-python").exists()
    )

    done = setup("--dry-run", path=without_pulumi)

    assert done.returncode == 0, done.stderr
    assert "would: " in done.stderr
    assert [] == [path for path in tmp_path.rglob("*") if path.name.startswith("pulumi-")]


def test_an_unknown_purpose_is_a_usage_error() -> None:
    assert 2 == setup("--for", "fun").returncode
