"""The real engine for tests that need it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import pytest

from hoster.engine import pulumi_cli
from hoster.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator


class RecordedEngine(pulumi.runtime.Mocks):
    """Stands for the engine: answers every registration and keeps it.

    ``registered`` holds the names in order, so that a name registered twice shows. ``deployed`` is
    what the stack's last run left: outputs of the components, by name; it cannot be read the first
    ``half_written`` times, as while a checkpoint is being written.
    """

    def __init__(self) -> None:
        self.resources: dict[str, pulumi.runtime.MockResourceArgs] = {}
        self.registered: list[str] = []
        self.deployed: dict[str, dict[str, Any]] = {}
        self.half_written = 0

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.registered.append(args.name)
        self.resources[args.name] = args
        return f"{args.name}-id", args.inputs

    def call(
        self, args: pulumi.runtime.MockCallArgs
    ) -> dict[str, Any] | tuple[dict[str, Any], list[tuple[str, str]]]:
        assert args.token == "pulumi:pulumi:readStackResourceOutputs"
        if self.half_written:
            self.half_written -= 1
            return {}, [("name", "failed to load checkpoint: EOF")]
        kind = "hoster:vps:VirtualServer"
        return {
            "outputs": {
                f"urn:pulumi:acme::hoster::{kind}::{name}": {"type": kind, "outputs": outputs}
                for name, outputs in self.deployed.items()
            }
        }


@pytest.fixture
def engine() -> Iterator[RecordedEngine]:
    """The stack acme of the project hoster, on an engine that only records."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    recorded = RecordedEngine()
    pulumi.runtime.set_mocks(recorded, project="hoster", stack="acme")
    yield recorded
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def pulumi_path() -> str:
    """Return a PATH with this interpreter and the engine that scripts/setup installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hoster" / "bin"
    path = f"{Path(sys.executable).parent}:{cache}:{os.environ['PATH']}"
    if shutil.which("pulumi", path=path) is None:
        pytest.fail("no pulumi on PATH nor in the cache: run scripts/setup --for test")
    return path


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulumi_path: str, installed_once: str
) -> Project:
    return _project(tmp_path, monkeypatch, pulumi_path, installed_once)


def _project(folder: Path, environment: pytest.MonkeyPatch, path: str, installed: str) -> Project:
    (folder / "company" / "inventory").mkdir(parents=True)
    program = folder / "company" / "pulumi"
    program.mkdir()
    (program / "Pulumi.yaml").write_text("name: hoster\nruntime: python\n")
    (folder / "state").mkdir()
    environment.setenv("PATH", path)
    environment.setenv("PYTHONPATH", installed)
    environment.setenv("PULUMI_HOME", str(folder / "home"))
    environment.setenv("PULUMI_BACKEND_URL", f"file://{folder / 'state'}")
    environment.setenv("PULUMI_CONFIG_PASSPHRASE", "a passphrase of the test")
    environment.setenv("PULUMI_SKIP_UPDATE_CHECK", "1")
    return Project(folder / "company")


@pytest.fixture
def stackless(project: Project) -> Project:
    """A program that declares nothing yet, and that no stack was made of."""
    settings = project.program / "Pulumi.yaml"
    settings.write_text("name: hoster\nruntime: {name: python, options: {toolchain: pip}}\n")
    (project.program / "__main__.py").write_text("")
    return project


@pytest.fixture
def lingering(tmp_path: Path) -> str:
    """What a program begins with whose first run takes its time: a second one meets it."""
    ran = str(tmp_path / "ran")
    return f"""
import pathlib, time
ran = pathlib.Path({ran!r})
if not ran.exists():
    ran.touch()
    time.sleep(2)
"""


@pytest.fixture(scope="session")
def stack_as_made(
    tmp_path_factory: pytest.TempPathFactory, pulumi_path: str, installed_once: str
) -> Path:
    """The declaration and the state of the stack acme, as `ensure_stack` makes them."""
    folder = tmp_path_factory.mktemp("stack")
    with pytest.MonkeyPatch.context() as environment:
        project = _project(folder, environment, pulumi_path, installed_once)
        pulumi_cli.ensure_stack(project, "acme")
    return folder


@pytest.fixture
def deployable(stackless: Project, stack_as_made: Path, tmp_path: Path) -> Project:
    """A stack whose program declares nothing yet; it is made once and copied."""
    declaration = stackless.declaration("acme")
    shutil.copy(Project(stack_as_made / "company").declaration("acme"), declaration)
    shutil.copytree(stack_as_made / "state", tmp_path / "state", dirs_exist_ok=True)
    return stackless
