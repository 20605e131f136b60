"""`hoster` as a task of a playbook: what it changes, says and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from hoster.clients.contact import Client
from hoster.ledger import Ledger
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project

CHECKOUT = Path(__file__).parents[2]
Played = subprocess.CompletedProcess[str]


@pytest.fixture
def play(
    project: Project,
    ada: Client,
    declared: Callable[..., VpsDeclaration],
    now: datetime,
    tmp_path: Path,
) -> Callable[..., Played]:
    """Run one task on a project with a VPS; its result is printed as JSON."""
    web = declared()
    some = {web.name: web.fields_written()}
    project.declaration("acme").write_text(yaml.safe_dump({"config": {"hoster:vps": some}}))
    with Ledger.open(project.ledger_url) as ledger:
        ledger.clients.add(ada, now)

    def run(act: str, arguments: dict[str, Any], *options: str) -> Played:
        called = {"act": act, "arguments": arguments}
        task = {"name": "Call it", "hoster": called, "register": "called"}
        show = {"name": "Show it", "ansible.builtin.debug": {"msg": "{{ called | to_json }}"}}
        playbook = tmp_path / "playbook.yml"
        tasks = {"hosts": "localhost", "gather_facts": False, "tasks": [task, show]}
        playbook.write_text(yaml.safe_dump([tasks]))
        environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
        environment["ANSIBLE_CALLBACK_RESULT_FORMAT"] = "json"
        return subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", *options, playbook],
            capture_output=True,
            text=True,
            check=False,
            env=environment | {"HOSTER_PROJECT": str(project.root)},
            cwd=project.root,
        )

    return run


def called(done: Played) -> Any:
    assert 0 == done.returncode, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.strip().startswith('"msg": ')]
    said = json.loads(f"{{{line}}}")["msg"]
    return json.loads(said) if isinstance(said, str) else said


SUSPEND: tuple[str, dict[str, Any]] = ("suspend", {"vps": "acme/web", "reason": "unpaid"})


def test_a_task_says_what_changed_once(play: Callable[..., Played], project: Project) -> None:
    assert called(play(*SUSPEND, "--check"))["changed"]
    first, second = called(play(*SUSPEND)), called(play(*SUSPEND))

    assert (True, False) == (first["changed"], second["changed"])
    assert ["paris-1"] == [one["node"] for one in second["answer"]["nodes"]]
    with Ledger.open(project.ledger_url) as ledger:
        assert ["unpaid"] == [one.ground for one in ledger.measures.all()]


def test_an_act_whose_answer_is_a_table_has_lines(play: Callable[..., Played]) -> None:
    play(*SUSPEND)

    assert "1 not" in called(play("summary", {"measures": [1]}))["stdout_lines"][-1]


@pytest.mark.parametrize(
    ("act", "arguments", "reason"),
    [
        ("resume", {"vps": "acme/web", "reason": "unpaid"}, "nothing to resume"),
        ("suspend", {"vps": "acme/wep", "reason": "unpaid"}, "did you mean acme/web"),
        ("suspend", {"vps": "acme/web", "reason": "whim"}, "'whim' is not one of"),
        ("nothing", {}, "no such act as nothing"),
        ("suspend", {"vps": "acme/web", "reasen": "unpaid"}, "did you mean reason"),
        ("suspend", {"vps": "acme/web"}, "reason: is missing"),
        ("suspend", {"vps": "", "reason": "unpaid"}, "name VPSs"),
    ],
)
def test_what_is_refused_fails_the_task_with_the_reason(
    play: Callable[..., Played], act: str, arguments: dict[str, Any], reason: str
) -> None:
    done = play(act, arguments)

    assert 2 == done.returncode
    assert reason in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_act_that_cannot_be_tried_is_refused_in_check_mode(play: Callable[..., Played]) -> None:
    done = play("done", {"measures": [1]}, "--check")

    assert 2 == done.returncode
    assert "done knows no dry run" in done.stdout + done.stderr


def test_who_was_not_told_is_said_besides(
    play: Callable[..., Played], project: Project, declared: Callable[..., VpsDeclaration]
) -> None:
    stranger = declared("beta/app", ipv4="203.0.113.18")
    content = {"config": {"hoster:vps": {"app": stranger.fields_written()}}}
    project.declaration("beta").write_text(yaml.safe_dump(content))
    play("suspend", {"vps": ["beta/app"], "reason": "unpaid"})

    told = called(play("done", {"measures": "{{ [1] }}"}))["stderr_lines"]
    assert ["no client of beta/app is known here: nobody was told"] == told
