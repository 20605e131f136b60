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
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulumi_path: str) -> Project:
    (tmp_path / "company" / "inventory").mkdir(parents=True)
    program = tmp_path / "company" / "pulumi"
    program.mkdir()
    (program / "Pulumi.yaml").write_text("name: hoster\nruntime: python\n")
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("PATH", pulumi_path)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path / 'state'}")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "a passphrase of the test")
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "1")
    return Project(tmp_path / "company")


@pytest.fixture
def deployable(project: Project) -> Project:
    """A stack whose program declares nothing yet."""
    settings = project.program / "Pulumi.yaml"
    settings.write_text("name: hoster\nruntime: {name: python, options: {toolchain: pip}}\n")
    (project.program / "__main__.py").write_text("")
    pulumi_cli.ensure_stack(project, "acme")
    return project
