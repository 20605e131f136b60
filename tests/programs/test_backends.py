"""The same commands with stacks in a folder, on S3-compatible storage and on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hoster.changes import previews
from hoster.engine import pulumi_cli
from hoster.project import Project

VPS = """
import pulumi
pulumi.ComponentResource("hoster:vps:VirtualServer", "web")
"""
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-the-test", "AWS_SECRET_ACCESS_KEY": "secret-of-the-test"}


@pytest.fixture(scope="module")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server with the bucket ``states``."""
    if shutil.which("versitygw") is None:
        pytest.skip("no versitygw, and no Go to build it")
    folder = tmp_path_factory.mktemp("s3")
    for name in ("buckets/states", "sidecar"):
        (folder / name).mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    keys = {
        "ROOT_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"],
        "ROOT_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"],
    }
    argv = ["versitygw", "--port", f"127.0.0.1:{port}", "posix"]
    argv += ["--sidecar", str(folder / "sidecar"), str(folder / "buckets")]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(argv, env=os.environ | keys, stdout=log, stderr=log) as server,
    ):
        _until_it_listens(port)
        yield port
        server.terminate()


@retry(stop=stop_after_delay(20), wait=wait_fixed(0.1), reraise=True)
def _until_it_listens(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=1).close()


@pytest.fixture(params=["folder", "S3", "PostgreSQL"])
def place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, project: Project
) -> Iterator[str]:
    """The URL of where stacks can be; the keys to it are in the environment."""
    if request.param == "S3":
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        server = f"http://127.0.0.1:{request.getfixturevalue('s3_port')}"
        options = f"endpoint={server}&region=us-east-1&s3ForcePathStyle=true"
        # A prefix for each test, as of a company with one bucket for several things.
        yield f"s3://states/{project.root.parent.name}?{options}"
    elif request.param == "PostgreSQL":
        with request.getfixturevalue("postgresql").database() as url:
            yield f"{url.replace('postgresql://', 'postgres://')}&sslmode=disable"
    else:
        folder = project.root.parent / "other-state"
        folder.mkdir()
        yield f"file://{folder}"


@pytest.fixture
def stored(place: str, monkeypatch: pytest.MonkeyPatch, stackless: Project) -> Project:
    """A project whose stacks are there; its program declares nothing yet."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", place)
    pulumi_cli.ensure_stack(stackless, "acme")
    return stackless


def program(project: Project, text: str) -> None:
    (project.program / "__main__.py").write_text(text)


def test_a_stack_lives_there_from_its_first_day_to_its_last(stored: Project) -> None:
    program(stored, VPS + "pulumi.export('vps', {'web': {}})")

    new = previews.read("acme", pulumi_cli.preview(stored, "acme"))
    assert {"acme/web": ["create web"]} == new.changes
    assert pulumi_cli.deploy(stored, "acme")
    assert not pulumi_cli.deploy(stored, "acme")
    assert [] == list((stored.root.parent / "state").iterdir())
    assert {"vps": {"web": {}}} == pulumi_cli.stack_outputs(stored, "acme")
    assert 0 == pulumi_cli.repair(stored, "acme")

    salt = stored.declaration("acme").read_text()
    pulumi_cli.ensure_stack(stored, "acme")
    assert salt == stored.declaration("acme").read_text()

    program(stored, "")
    gone = previews.read("acme", pulumi_cli.preview(stored, "acme"))
    assert "would be lost" in previews.judge(gone, ())[0]
    assert pulumi_cli.deploy(stored, "acme")
    assert pulumi_cli.remove_stack(stored, "acme")
    assert not pulumi_cli.remove_stack(stored, "acme")
    assert {} == pulumi_cli.stack_outputs(stored, "acme")


def test_two_who_apply_the_same_stack_take_turns(stored: Project, lingering: str) -> None:
    """Nobody's update is lost: the second waits for the lock of the first."""
    program(stored, lingering + VPS)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(pulumi_cli.deploy, stored, "acme") for _ in range(2)]
        changed = sorted(one.result() for one in both)
    assert [False, True] == changed


def test_who_was_killed_holds_nobody_up(stored: Project) -> None:
    """Power that failed in the middle: what was begun is settled, and the next run goes on."""
    began = stored.root / "began"
    program(stored, f"import pathlib, time\npathlib.Path({str(began)!r}).touch()\ntime.sleep(60)\n")
    argv = ["pulumi", "--cwd", str(stored.program), "up", "--yes", "--skip-preview"]
    argv += ["--stack", "acme", "--non-interactive"]
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, start_new_session=True, **quiet) as run:
        _until_it_is_there(began)
        os.killpg(run.pid, signal.SIGKILL)
    program(stored, VPS)

    pulumi_cli.repair(stored, "acme")

    assert pulumi_cli.deploy(stored, "acme")
    assert not pulumi_cli.deploy(stored, "acme")


@retry(stop=stop_after_delay(60), wait=wait_fixed(0.1), reraise=True)
def _until_it_is_there(file: Path) -> None:
    file.stat()


def test_a_stack_moves_with_its_secrets(
    deployable: Project, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C4.2, C6.3: as docs/state.md tells; what was sealed is read there, nothing is made anew."""

    def pulumi(*arguments: str, text: str | None = None) -> str:
        return pulumi_cli._pulumi(deployable, *arguments, "--stack", "acme", text=text)

    program(deployable, VPS + "pulumi.export('code', pulumi.Output.secret('sealed'))")
    assert pulumi_cli.deploy(deployable, "acme")
    state, declaration = pulumi("stack", "export"), deployable.declaration("acme").read_text()
    assert "sealed" not in state

    monkeypatch.setenv("PULUMI_BACKEND_URL", place)
    pulumi_cli._pulumi(deployable, "stack", "init", "acme", "--no-select")
    pulumi("stack", "import", text=state)

    assert declaration == deployable.declaration("acme").read_text()
    assert "sealed" == pulumi("stack", "output", "code", "--show-secrets").strip()
    pulumi("preview", "--expect-no-changes")
