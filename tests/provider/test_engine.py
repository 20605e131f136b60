"""Through the real engine: `pulumi up` and its like against a real QEMU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Qemu

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
SECRET = "correct-horse-battery"
PROJECT = """
name: demo
runtime: python
plugins:
  providers:
    - {name: libvirt, path: plugin, version: 0.5.4}
"""
PROGRAM = """
import json, os, pulumi, pulumi_libvirt as libvirt
say = json.loads(os.environ["DEMO"])
on = pulumi.ResourceOptions(provider=libvirt.Provider("node", uri=os.environ["DEMO_URI"]))
disk = libvirt.Volume("disk", name=say.get("name", "acme.web.qcow2"), pool="vps",
    size=say["size"], format="qcow2", opts=on)
seed = libvirt.CloudInitDisk("seed", name="acme.web.seed.iso", pool="vps", opts=on,
    user_data=pulumi.Output.secret(say["user_data"]), meta_data="instance-id: a")
domain = libvirt.Domain("vm", name="acme.web", type="qemu", machine="q35", opts=on,
    memory=say["memory"], vcpu=say["vcpu"], cloudinit=seed.id,
    disks=[libvirt.DomainDiskArgs(volume_id=disk.id)],
    network_interfaces=[libvirt.DomainNetworkInterfaceArgs(bridge="br-public")],
    xml=libvirt.DomainXmlArgs(xslt=open(os.environ["DEMO_XSLT"]).read()))
pulumi.export("uuid", domain.id)
"""
POLL_SECONDS = 0.002
"""Short against every step of a run, yet the run has the processor meanwhile."""
SMALL = {"size": 2**24, "memory": 256, "vcpu": 1, "user_data": SECRET}
LARGE = {**SMALL, "size": 2**25, "memory": 512, "vcpu": 2}


@dataclass(frozen=True)
class Stack:
    """A program with its state, run by the real engine."""

    folder: Path
    environment: dict[str, str]

    def start(self, declared: dict[str, object], *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["pulumi", *command, "--stack", "t", "--non-interactive"],
            cwd=self.folder,
            env={**self.environment, "DEMO": json.dumps(declared)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, declared: dict[str, object], *command: str) -> tuple[int, str]:
        process = self.start(declared, *command)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def up(self, declared: dict[str, object]) -> str:
        code, output = self.run(declared, "up", "--yes", "--skip-preview")
        assert 0 == code, output
        return output

    @property
    def state(self) -> str:
        files = self.folder.rglob(".pulumi/**/*")
        return "".join(path.read_text() for path in files if path.is_file())


@pytest.fixture(scope="module")
def stack_as_made(
    tmp_path_factory: pytest.TempPathFactory, engine_environment: dict[str, str]
) -> Stack:
    """The project with an empty stack; made once and copied."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "Pulumi.yaml").write_text(PROJECT)
    (folder / "__main__.py").write_text(PROGRAM)
    (folder / "plugin").symlink_to(ROOT / "pulumi/plugin")
    environment = {
        **engine_environment,
        "PULUMI_BACKEND_URL": f"file://{folder}",
        "DEMO_XSLT": str(HERE / "vps.xslt"),
    }
    assert shutil.which("pulumi", path=environment["PATH"]), "run scripts/setup first"
    new = Stack(folder, environment)
    assert 0 == new.run({}, "stack", "init")[0]
    return new


@pytest.fixture
def stack(qemu: Qemu, tmp_path: Path, stack_as_made: Stack) -> Stack:
    shutil.copytree(stack_as_made.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    place = {"PULUMI_BACKEND_URL": f"file://{tmp_path}", "DEMO_URI": qemu.uri}
    return Stack(tmp_path, {**stack_as_made.environment, **place})


def files(qemu: Qemu) -> set[str]:
    return {path.name for path in qemu.folder.iterdir()}


def test_from_nothing_to_a_guest_resized_live_and_back_to_nothing(qemu: Qemu, stack: Stack) -> None:
    assert "5 created" in stack.up(SMALL)
    guest = qemu.connection.lookupByName("acme.web")
    number = guest.ID()
    assert {"acme.web.qcow2", "acme.web.seed.iso"} == files(qemu)

    code, preview = stack.run(LARGE, "preview")
    assert 0 == code
    assert "memory 256 -> 512 MiB: live, no reboot" in preview
    assert "vcpu 1 -> 2: live, no reboot" in preview
    assert "replace" not in preview

    assert "2 updated" in stack.up(LARGE)
    assert number == guest.ID()
    assert 2**25 == guest.blockInfo("vda")[0]
    assert "5 unchanged" in stack.up(LARGE)

    guest.setVcpusFlags(3, 1)
    assert "1 updated" in stack.run(LARGE, "refresh", "--yes", "--skip-preview")[1]
    assert SECRET not in stack.state

    code, output = stack.run(LARGE, "destroy", "--yes", "--skip-preview")
    assert 0 == code, output
    assert set() == files(qemu)
    assert [] == qemu.connection.listAllDomains()


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({**SMALL, "size": 2**23}, "cannot shrink"),
        ({**SMALL, "name": "other.qcow2"}, "would replace the disk and lose its data"),
    ],
)
def test_a_preview_fails_where_data_would_be_lost(
    stack: Stack, declared: dict[str, object], text: str
) -> None:
    stack.up(SMALL)

    code, output = stack.run(declared, "preview")

    assert 0 != code
    assert text in output


def recorded(stack: Stack) -> dict[str, object]:
    exported = json.loads(stack.run(SMALL, "stack", "export")[1])
    resources = exported["deployment"]["resources"]
    return {
        it["id"]: {key: value for key, value in it["outputs"].items() if key != "userData"}
        for it in resources
        if it["type"].startswith("libvirt:")
    }


def test_a_host_that_is_gone_does_not_hinder_a_run_without_changes(stack: Stack) -> None:
    stack.up(SMALL)
    gone = Stack(stack.folder, {**stack.environment, "DEMO_URI": "qemu+tcp://127.0.0.1:1/system"})
    before = recorded(stack)

    assert 0 == gone.run(SMALL, "up", "--yes", "--skip-preview")[0]
    code, output = gone.run(LARGE, "up", "--yes", "--skip-preview")

    assert 0 != code
    assert "cannot reach libvirt at qemu+tcp://127.0.0.1:1/system" in output
    assert before == recorded(stack)


def seen(pattern: str) -> Callable[[Qemu], bool]:
    return lambda qemu: any(path.match(pattern) for path in qemu.folder.iterdir())


@pytest.mark.parametrize(
    "reached",
    [
        pytest.param(seen("*.qcow2.*.made"), id="before the disk"),
        pytest.param(seen("*.qcow2"), id="after the disk"),
        pytest.param(seen("*.iso"), id="after the seed's volume"),
        pytest.param(lambda qemu: bool(qemu.connection.listAllDomains()), id="domain defined"),
        pytest.param(lambda qemu: bool(qemu.connection.listAllDomains(1)), id="domain started"),
    ],
)
def test_a_run_killed_at_any_step_is_ended_by_the_next(
    qemu: Qemu, stack: Stack, reached: Callable[[Qemu], bool]
) -> None:
    process = stack.start(SMALL, "up", "--yes", "--skip-preview")
    deadline = time.monotonic() + 60
    while not reached(qemu):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)
    _kill_all_of(process)
    _mend_cut_state(stack.folder)

    output = stack.run(SMALL, "cancel", "--yes")[1] + stack.up(SMALL)
    again = stack.up(SMALL)

    assert "5 unchanged" in again, output
    assert {"acme.web.qcow2", "acme.web.seed.iso"} == {
        name for name in files(qemu) if not name.endswith(".made")
    }
    assert 1 == len(qemu.connection.listAllDomains(1))


def _mend_cut_state(folder: Path) -> None:
    """Do as docs/ordering.md says where Pulumi was killed while it wrote the stack's state."""
    for state in folder.rglob(".pulumi/stacks/**/*.json"):
        try:
            json.loads(state.read_text())
        except json.JSONDecodeError:
            shutil.copyfile(f"{state}.bak", state)


def _kill_all_of(process: subprocess.Popen[str]) -> None:
    # The engine, the program and every plugin: they are one session.
    session = process.pid
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session:
            os.kill(int(entry.parent.name), signal.SIGKILL)
    process.communicate()
