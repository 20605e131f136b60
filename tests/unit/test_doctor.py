"""`hoster doctor`: what is missing is named, each with its fix."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from hoster.acts import doctor
from hoster.catalogue import Node, NodeCapacity, Smtp
from hoster.cli import cli
from hoster.project import Project


@pytest.mark.parametrize(
    ("engine", "sdk", "ok"),
    [
        ("v3.259.0", "3.259.0", True),
        ("v3.259.7", "3.259.0", True),
        ("v3.260.0", "3.259.0", False),
        (None, "3.259.0", False),
        ("v3.259.0", None, False),
    ],
)
def test_engine_and_sdk_have_the_same_minor(engine: str | None, sdk: str | None, ok: bool) -> None:
    assert ok == doctor.pulumi(engine, sdk).ok


@pytest.mark.parametrize(
    ("found", "ok"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 14), True)]
)
def test_python_is_new_enough(found: tuple[int, ...], ok: bool) -> None:
    assert ok == doctor.python(found).ok


@pytest.mark.parametrize(("said", "ok"), [("yes", True), ("no", False), (None, False)])
def test_a_clock_that_nobody_keeps_is_advised_against(said: str | None, ok: bool) -> None:
    judged = doctor.clock(said)

    assert (ok, False) == (judged.ok, judged.required)


def test_the_providers_launcher_has_to_be_executable(tmp_path: Path) -> None:
    assert not doctor.plugin(tmp_path).ok
    launcher = tmp_path / "plugin" / "pulumi-resource-libvirt"
    launcher.parent.mkdir()
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o644)
    assert not doctor.plugin(tmp_path).ok
    launcher.chmod(0o755)

    assert doctor.plugin(tmp_path).ok


def test_a_mail_server_that_listens_is_found_and_one_that_does_not_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert doctor.smtp(Smtp(host="127.0.0.1", port=port)).ok

    silent = doctor.smtp(Smtp(host="127.0.0.1", port=port))
    assert not silent.ok
    assert "company.yml" in silent.fix


def test_looking_at_a_ledger_makes_none(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"

    assert doctor.ledger(f"sqlite:///{file}").ok
    assert not file.exists()


def test_a_ledger_out_of_reach_is_told_without_its_password() -> None:
    # The discard port: nothing listens there.
    judged = doctor.ledger("postgresql+psycopg://hoster:the-secret@127.0.0.1:9/ledger")

    assert not judged.ok
    assert "the-secret" not in judged.found


def test_a_node_is_asked_and_a_silent_one_is_named() -> None:
    capacity = NodeCapacity(disk_gib=1, memory_mib=1, vcpus=1, uplink_mbit_s=1)

    def node(uri: str) -> Node:
        return Node(name="paris-1", location="paris", libvirt_uri=uri, capacity=capacity)

    assert doctor.node(node("test:///default")).ok
    silent = doctor.node(node("qemu+unix:///system?socket=/nonexistent/libvirt-sock"))
    assert (False, "node paris-1") == (silent.ok, silent.name)


def test_what_is_required_and_missing_makes_the_exit_code(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    result = CliRunner().invoke(cli, ["--project", str(project.root), "doctor", "--json"])

    assert 1 == result.exit_code
    found = {each["name"]: each for each in json.loads(result.stdout)}
    assert found["inventory"]["ok"]
    assert not found["pulumi"]["ok"]
    assert all(each["fix"] for each in found.values() if not each["ok"])
