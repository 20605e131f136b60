"""`hoster review`: each kind of change, to the letter of what the pipeline says of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
import yaml
from click.testing import CliRunner

from hoster.cli import cli
from hoster.engine import pulumi_cli
from hoster.errors import ConfigurationError
from hoster.project import Project, forge

CASES = sorted((Path(__file__).parent / "cases" / "reviews").glob("*.yml"))
Git = Callable[..., None]


@dataclass
class PretendedStacks:
    """Stands for Pulumi: each stack would be updated live; ``asked`` are those that were.

    They are asked side by side, in no order. Where ``first`` names one, the others answer after it.
    """

    asked: list[str] = field(default_factory=list)
    first: str | None = None
    answered: threading.Event = field(default_factory=threading.Event)

    def preview(self, _: Project, client: str) -> dict[str, Any]:
        self.asked.append(client)
        if client == self.first:
            self.answered.set()
        elif self.first:
            assert self.answered.wait(timeout=60)
        urn = f"urn:pulumi:{client}::hoster::hoster:vps:VirtualServer::web"
        return {
            "steps": [
                {"op": "update", "urn": urn, "newState": {"type": "hoster:vps:VirtualServer"}}
            ],
            "diagnostics": [{"urn": urn, "severity": "info", "message": "no reboot"}],
        }


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> PretendedStacks:
    pretended = PretendedStacks()
    monkeypatch.setattr(pulumi_cli, "preview", pretended.preview)
    return pretended


def make(project: Project, git: Git, changes: list[dict[str, str]]) -> None:
    """Commit *changes*: what a file says instead of what it said, or nothing where it is gone."""
    for change in changes:
        file = project.root / change["file"]
        if "old" in change:
            text = file.read_text()
            assert change["old"] in text, f"{file.name} does not say {change['old']}"
            file.write_text(text.replace(change["old"], change["new"]))
        elif "new" in change:
            file.write_text(change["new"])
        else:
            file.unlink()
    git("add", "--all")
    git("commit", "--quiet", "--message", "Change")


def reviewed(project: Project, *options: str) -> tuple[int, str]:
    arguments = ["--project", str(project.root), "review", "--against", "main", *options]
    done = CliRunner().invoke(cli, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_the_pipeline_says_of_a_change(
    repository: Project, git: Git, stacks: PretendedStacks, now: datetime, file: Path
) -> None:
    """C2.1, C4.2, C4.3, C4.7, C6.3, C10.1, C15.2: word for word, and how it ends."""
    case = yaml.safe_load(file.read_text())
    for number, changes in enumerate(case["branches"]):
        git("checkout", "--quiet", "-b", f"branch-{number}", "main")
        make(repository, git, changes)
    for number in range(len(case["branches"]) - 1):
        git("merge", "--quiet", "--no-edit", f"branch-{number}")

    with time_machine.travel(now, tick=False):
        code, text = reviewed(repository)

    assert file.with_suffix(".md").read_text() == text
    assert case["exit_code"] == code
    assert case.get("stacks", []) == sorted(stacks.asked)


@pytest.mark.parametrize("first", ["acme", "beta"])
def test_what_is_said_does_not_depend_on_which_stack_answers_first(
    repository: Project, git: Git, stacks: PretendedStacks, now: datetime, first: str
) -> None:
    file = next(case for case in CASES if case.stem == "upgrade-of-a-plan")
    git("checkout", "--quiet", "-b", "branch")
    make(repository, git, yaml.safe_load(file.read_text())["branches"][0])
    stacks.first = first

    with time_machine.travel(now, tick=False):
        _, text = reviewed(repository)

    assert file.with_suffix(".md").read_text() == text


UPGRADE = [{"file": "pulumi/Pulumi.acme.yaml", "old": "plan: kvm-2", "new": "plan: kvm-4"}]


def test_the_same_is_there_for_programs(
    repository: Project, git: Git, stacks: PretendedStacks
) -> None:
    git("checkout", "--quiet", "-b", "upgrade")
    make(repository, git, UPGRADE)

    code, text = reviewed(repository, "--json")

    said = json.loads(text)
    assert (0, True) == (code, said["can_be_merged"])
    assert ["Rules", "Whom it touches", "What would happen"] == [
        one["title"] for one in said["sections"]
    ]


def test_where_there_is_no_way_to_the_state_the_rest_is_judged(
    repository: Project, git: Git, stacks: PretendedStacks
) -> None:
    git("checkout", "--quiet", "-b", "upgrade")
    make(repository, git, UPGRADE)

    code, text = reviewed(repository, "--no-preview")

    assert (0, []) == (code, stacks.asked)
    assert "What would happen" not in text


def test_a_stack_that_would_lose_something_forbids_the_change(
    repository: Project, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C6.3: what no rule over files can know."""
    urn = "urn:pulumi:acme::hoster::hoster:vps:VirtualServer::web"
    step = {"op": "replace", "urn": urn, "oldState": {"type": "hoster:vps:VirtualServer"}}
    monkeypatch.setattr(pulumi_cli, "preview", lambda *_: {"steps": [step]})
    git("checkout", "--quiet", "-b", "upgrade")
    make(repository, git, UPGRADE)

    code, text = reviewed(repository)

    assert 5 == code
    assert text.startswith("### This change must not be merged\n")
    assert "#### 🛑 What would happen\n" in text
    assert "acme/web: its VPS web would be lost (replace)" in text


def test_without_a_pull_request_there_is_nothing_to_comment_on(
    repository: Project, stacks: PretendedStacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_REF", "CI_MERGE_REQUEST_IID", forge.TOKEN):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="no pull request to comment on"):
        reviewed(repository, "--comment")
