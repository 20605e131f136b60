"""The Pulumi that `scripts/setup` chose runs a Python program from end to end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PROGRAM = """
import pulumi
import sys
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

class Note(ResourceProvider):
    def create(self, props):
        return CreateResult(id_="note", outs={"text": props["text"].upper()})

class Kept(Resource):
    text: pulumi.Output[str]

    def __init__(self, name, text):
        super().__init__(Note(), name, {"text": text})

pulumi.export("text", Kept("kept", pulumi.Config().require("text")).text)
pulumi.export("prefix", sys.prefix)
"""
Pulumi = "Callable[..., subprocess.CompletedProcess[str]]"


@pytest.fixture
def pulumi(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run pulumi as scripts/lib/env.sh finds it, on a program and a state of its own."""
    program, state = tmp_path / "program", tmp_path / "state"
    program.mkdir()
    state.mkdir()
    (program / "__main__.py").write_text(PROGRAM)
    (program / "Pulumi.yaml").write_text("name: trial\nruntime: python\n")
    environment = os.environ | {
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "only for this trial",
        "PULUMI_HOME": str(tmp_path / "home"),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = 'source "$1"; shift; exec pulumi "$@"'
        return subprocess.run(
            ["bash", "-c", command, "-", ROOT / "scripts/lib/env.sh", *arguments],
            cwd=program,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_a_python_program_is_deployed(
    pulumi: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    pulumi("stack", "init", "one").check_returncode()
    pulumi("config", "set", "text", "hello").check_returncode()

    up = pulumi("up", "--yes", "--skip-preview", "--non-interactive")
    outputs = json.loads(pulumi("stack", "output", "--json").stdout)

    assert up.returncode == 0, up.stdout + up.stderr
    assert {"text": "HELLO", "prefix": str(ROOT / ".venv")} == outputs


def test_a_failing_program_fails_the_command(
    pulumi: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    pulumi("stack", "init", "one").check_returncode()

    up = pulumi("up", "--yes", "--skip-preview", "--non-interactive")

    assert up.returncode != 0
    assert "Missing required configuration variable 'trial:text'" in up.stdout + up.stderr


def test_engine_and_language_host_come_from_one_place() -> None:
    found = subprocess.run(
        ["bash", "-c", 'source "$1"; type -P pulumi pulumi-language-python', "-",
         ROOT / "scripts/lib/env.sh"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip

    assert 1 == len({Path(path).parent for path in found})
    assert 2 == len(found)
    assert shutil.which("python3", path=f"{ROOT}/.venv/bin") is not None
