"""`hoster preview` and `hoster apply`: what they do to many stacks, say, and end with."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hoster.cli import cli
from hoster.engine import pulumi_cli
from hoster.errors import HosterError, ToolError
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project

VPS = "urn:pulumi:acme::hoster::hoster:vps:VirtualServer::web"


@dataclass
class PretendedStacks:
    """Stands for Pulumi: ``broken`` stacks fail; ``applied`` are those that were brought up."""

    previews: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    pending: dict[str, int] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)
    then: Callable[[str], None] = lambda _: None

    def preview(self, _: Project, client: str) -> Any:
        return self.previews.get(client, {"steps": []})

    def stack_outputs(self, _: Project, client: str) -> Any:
        return self.outputs.get(client, {})

    def repair(self, _: Project, client: str) -> int:
        return self.pending.pop(client, 0)

    def deploy(self, _: Project, client: str) -> bool:
        if client in self.broken:
            raise ToolError(f"{client} is broken")
        self.applied.append(client)
        self.then(client)
        return True


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> PretendedStacks:
    pretended = PretendedStacks()
    for name in ("preview", "stack_outputs", "repair", "deploy"):
        monkeypatch.setattr(pulumi_cli, name, getattr(pretended, name))
    return pretended


@pytest.fixture
def run(project: Project, declared: Callable[..., VpsDeclaration]) -> Callable[..., Any]:
    """Run a command in a project with three clients; return exit code, output, what was told."""
    for client in ("acme", "beta", "gamma"):
        some = {"web": declared(f"{client}/web").fields_written()}
        content = {"config": {"hoster:vps": some}}
        project.declaration(client).write_text(yaml.safe_dump(content))

    def invoke(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(cli, ["--project", str(project.root), *arguments])
        if isinstance(done.exception, HosterError):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return invoke


def a_change(op: str) -> dict[str, Any]:
    return {
        "steps": [{"op": op, "urn": VPS, "newState": {"type": "hoster:vps:VirtualServer"}}],
        "diagnostics": [{"urn": VPS, "severity": "info", "message": "memory 1 -> 2 GiB: live"}],
    }


def test_a_preview_says_what_happens_to_whom(run: Any, stacks: PretendedStacks) -> None:
    stacks.previews["acme"] = a_change("update")

    code, text, _ = run("preview", "--all")
    assert (0, ["acme/web: memory 1 -> 2 GiB: live", "3 stacks: 1 changed, 2 same"]) == (
        code,
        text.splitlines(),
    )
    _, text, _ = run("preview", "acme", "--markdown")
    assert "**1 stack: 1 changed**\n\n- acme/web: memory 1 -> 2 GiB: live\n" == text
    said = json.loads(run("preview", "acme", "--json")[1])
    assert [
        {"vps": "acme/web", "changes": ["update web"], "notes": ["memory 1 -> 2 GiB: live"]}
    ] == (said["vps"])


def test_a_preview_that_loses_anything_fails_the_pipeline(
    run: Any, stacks: PretendedStacks
) -> None:
    """C6.3, C15.2: naming client, VPS and resource; the others are told all the same."""
    stacks.previews["acme"] = a_change("delete")

    code, text, _ = run("preview", "--all", "--markdown")

    assert 5 == code
    assert "acme/web: its VPS web would be lost (delete)" in text
    assert "1 refused, 2 same" not in text
    assert "2 same, 1 refused" in text


def test_a_declaration_that_is_gone_is_refused_while_its_vpss_are_there(
    run: Any, stacks: PretendedStacks, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.declaration("beta").unlink()
    monkeypatch.setattr("hoster.cli.stacks._clients", lambda *_, **__: ["beta"])
    stacks.outputs["beta"] = {"vps": {"web": {}}}

    for command in ("preview", "apply"):
        code, text, _ = run(command, "beta")
        assert code != 0
        assert "beta/web: the declaration Pulumi.beta.yaml is gone" in text
    assert [] == stacks.applied
    stacks.outputs.clear()
    assert 0 == run("apply", "beta")[0]


def test_an_apply_goes_on_where_it_was(run: Any, stacks: PretendedStacks, project: Project) -> None:
    stacks.broken.add("beta")

    code, text, _ = run("apply", "--all", "--parallel", "1", "--max-failures", "1")
    assert 1 == code
    assert ["failed: beta is broken", "3 stacks: 1 changed, 1 failed, 1 not tried"] == (
        text.splitlines()
    )
    stacks.broken.clear()
    stacks.pending["beta"] = 2
    code, text, _ = run("apply", "--all", "--parallel", "1")
    assert 0 == code
    assert "changed: settled 2 operations that were left half done" in text
    assert "2 changed, 1 done before" in text
    assert ["acme", "beta", "gamma"] == stacks.applied

    run("apply", "--all")
    assert 6 == len(stacks.applied)  # a run that came to its end is over


@pytest.mark.parametrize("file", ["pulumi/Pulumi.acme.yaml", "inventory/group_vars/all/plans.yml"])
def test_what_changed_since_is_applied_again(
    run: Any, stacks: PretendedStacks, project: Project, file: str
) -> None:
    stacks.broken.add("beta")
    run("apply", "--all", "--parallel", "1")
    path = project.root / file
    path.write_text(path.read_text() + "# another\n")
    stacks.broken.clear()

    run("apply", "--all")

    assert 2 == stacks.applied.count("acme")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_stop_ends_what_is_under_way_and_reports(
    run: Any, stacks: PretendedStacks, project: Project, number: int
) -> None:
    stacks.then = lambda _: os.kill(os.getpid(), number)
    report = project.root / "report.json"

    code, _, told = run("apply", "--all", "--parallel", "1", "--report", str(report))

    assert 1 == code
    assert "stopping" in told
    assert {"changed": 1, "not tried": 2} == json.loads(report.read_text())["counts"]
    stacks.then = lambda _: None
    assert 0 == run("apply", "--all")[0]
    assert ["acme", "beta", "gamma"] == sorted(stacks.applied)


@pytest.mark.parametrize("arguments", [(), ("acme", "--all"), ("--all", "--against", "HEAD")])
def test_one_way_of_naming_stacks_is_wanted(run: Any, arguments: tuple[str, ...]) -> None:
    for command in ("preview", "apply"):
        assert 2 == run(command, *arguments)[0]


def test_an_unknown_client_is_named(run: Any) -> None:
    with pytest.raises(HosterError, match=r"a client acne(?s:.*)acme"):
        run("apply", "acne")
