"""What the toolkit asks of the real `pulumi`, on a backend of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hoster.changes import previews
from hoster.engine import pulumi_cli
from hoster.errors import ConfigurationError, ToolError
from hoster.project import Project

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

SECRET = "$6$rounds=5000$not$a-real-hash"


def test_a_stack_is_made_once_with_its_own_salt(project: Project) -> None:
    pulumi_cli.ensure_stack(project, "acme")
    first = project.declaration("acme").read_text()
    pulumi_cli.ensure_stack(project, "acme")
    assert "encryptionsalt: v1:" in first
    assert project.declaration("acme").read_text() == first


def test_a_declaration_without_salt_gets_one_and_keeps_what_ops_wrote(
    project: Project, tmp_path: Path
) -> None:
    pulumi_cli.ensure_stack(project, "acme")
    written = "# kept by hand\nconfig:\n  hoster:vps: {}\n"
    project.declaration("acme").write_text(written)
    pulumi_cli.ensure_stack(project, "acme")
    text = project.declaration("acme").read_text()
    assert text.startswith(written)
    assert "encryptionsalt: v1:" in text
    assert opened(project, pulumi_cli.encrypt(project, "acme", SECRET), tmp_path) == SECRET


def test_a_lost_declaration_gets_the_salt_of_its_stack(project: Project, tmp_path: Path) -> None:
    pulumi_cli.ensure_stack(project, "acme")
    sealed = pulumi_cli.encrypt(project, "acme", SECRET)
    project.declaration("acme").unlink()
    pulumi_cli.ensure_stack(project, "acme")
    assert opened(project, sealed, tmp_path) == SECRET


def opened(project: Project, sealed: str, folder: Path) -> str:
    """Decrypt as the stack's own program would."""
    document = yaml.safe_load(project.declaration("acme").read_text())
    copy = folder / "Pulumi.acme.yaml"
    copy.write_text(yaml.safe_dump(document | {"config": {"hoster:opened": {"secure": sealed}}}))
    return pulumi_cli._pulumi(
        project, "config", "get", "hoster:opened", "--stack", "acme", "--config-file", str(copy)
    ).strip()


def test_a_secret_is_sealed_for_its_stack_and_the_declaration_is_left_alone(
    project: Project, tmp_path: Path
) -> None:
    pulumi_cli.ensure_stack(project, "acme")
    before = project.declaration("acme").read_text()
    sealed = pulumi_cli.encrypt(project, "acme", SECRET)
    assert project.declaration("acme").read_text() == before
    assert opened(project, sealed, tmp_path) == SECRET


def test_a_client_without_a_stack_has_no_outputs(project: Project) -> None:
    assert pulumi_cli.stack_outputs(project, "nobody") == {}
    pulumi_cli.ensure_stack(project, "acme")
    assert pulumi_cli.stack_outputs(project, "acme") == {}


def test_a_missing_pulumi_is_said_with_its_remedy(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError, match=r"pulumi is not on PATH(?s:.*)scripts/setup"):
        pulumi_cli.stack_outputs(project, "acme")


def test_a_missing_passphrase_is_said_with_its_remedy(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    with pytest.raises(ConfigurationError, match="PULUMI_CONFIG_PASSPHRASE_FILE"):
        pulumi_cli.ensure_stack(project, "acme")


COMPONENT = """
import pulumi
pulumi.ComponentResource("test:index:Thing", "thing")
"""


def locks(tmp_path: Path) -> Path:
    """Where Pulumi keeps the locks of the stack."""
    return tmp_path / "state" / ".pulumi" / "locks" / "organization" / "hoster" / "acme"


def locked(project: Project, tmp_path: Path, name: str = "l", **holder: Any) -> Path:
    """Lock the stack as a run that did not end would have; return the lock."""
    lock = locks(tmp_path) / f"{name}.json"
    content = {"username": "ops", "timestamp": "2026-03-01T09:30:00Z"} | holder
    lock.write_text(json.dumps(content))
    assert project.declaration("acme").exists()
    return lock


def a_process_that_ended() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_what_is_so_already_is_no_change(deployable: Project) -> None:
    assert pulumi_cli.deploy(deployable, "acme")
    assert not pulumi_cli.deploy(deployable, "acme")


def test_the_lock_of_a_run_that_was_killed_here_is_taken_away(
    deployable: Project, tmp_path: Path
) -> None:
    lock = locked(deployable, tmp_path, hostname=socket.gethostname(), pid=a_process_that_ended())
    assert pulumi_cli.deploy(deployable, "acme")
    assert not lock.exists()


@pytest.mark.parametrize("here", [True, False])
def test_the_lock_of_somebody_who_may_be_at_work_stays(
    deployable: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    """A process that runs, or one of another machine, of which nothing is known here."""
    monkeypatch.setattr(pulumi_cli, "LOCKED_SECONDS", 1)
    host = socket.gethostname() if here else "another-host"
    pid = os.getpid() if here else a_process_that_ended()
    lock = locked(deployable, tmp_path, hostname=host, pid=pid)
    with pytest.raises(ToolError, match="currently locked"):
        pulumi_cli.deploy(deployable, "acme")
    assert lock.exists()


def test_who_locks_after_one_that_ended_keeps_the_lock(
    deployable: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first refusal names a process that is gone; meanwhile another took the stack."""
    monkeypatch.setattr(pulumi_cli, "LOCKED_SECONDS", 5)
    here = socket.gethostname()
    left_behind = pulumi_cli._left_behind

    def a_while_later(refusal: str) -> Collection[str]:
        left = left_behind(refusal)
        locked(deployable, tmp_path, hostname=here, pid=gone).unlink()
        locked(deployable, tmp_path, name="next", hostname=here, pid=os.getpid())
        return left

    gone = a_process_that_ended()
    locked(deployable, tmp_path, hostname=here, pid=gone)
    monkeypatch.setattr(pulumi_cli, "_left_behind", a_while_later)
    with pytest.raises(ToolError, match="currently locked"):
        pulumi_cli.deploy(deployable, "acme")
    assert (locks(tmp_path) / "next.json").exists()


def test_of_two_who_find_the_same_lock_left_neither_takes_that_of_the_other(
    deployable: Project, tmp_path: Path, lingering: str
) -> None:
    (deployable.program / "__main__.py").write_text(lingering + COMPONENT)
    locked(deployable, tmp_path, hostname=socket.gethostname(), pid=a_process_that_ended())
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(pulumi_cli.deploy, deployable, "acme") for _ in range(2)]
        assert [False, True] == sorted(one.result() for one in both)


def test_a_lock_that_goes_while_it_is_read_is_no_failure(
    deployable: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to nothing is listed and cannot be read: what the reader meets at that moment."""
    lock = locks(tmp_path) / "l.json"
    lock.symlink_to("nowhere")
    ran = pulumi_cli._ran

    def and_then_it_is_gone(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        done = ran(*arguments, **options)
        said.append(done.stderr)
        lock.unlink(missing_ok=True)
        return done

    said: list[str] = []
    monkeypatch.setattr(pulumi_cli, "_ran", and_then_it_is_gone)
    assert pulumi_cli.deploy(deployable, "acme")
    assert ["NotFound" in one for one in said] == [True, False]


def test_a_lock_that_cannot_be_read_for_long_is_said(
    deployable: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi_cli, "VANISHED_ATTEMPTS", 2)
    lock = locks(tmp_path) / "l.json"
    lock.symlink_to("nowhere")
    with pytest.raises(ToolError, match="NotFound"):
        pulumi_cli.deploy(deployable, "acme")


def test_a_failed_update_says_what_went_wrong(deployable: Project) -> None:
    (deployable.program / "__main__.py").write_text("raise ValueError('no such plan')")
    with pytest.raises(ToolError, match="no such plan"):
        pulumi_cli.deploy(deployable, "acme")


def test_a_stack_that_holds_something_is_not_removed(deployable: Project) -> None:
    (deployable.program / "__main__.py").write_text(COMPONENT)
    pulumi_cli.deploy(deployable, "acme")
    with pytest.raises(ToolError, match=r"still holds 1 resources: test:index:Thing"):
        pulumi_cli.remove_stack(deployable, "acme")
    (deployable.program / "__main__.py").write_text("")
    pulumi_cli.deploy(deployable, "acme")
    assert pulumi_cli.remove_stack(deployable, "acme")
    assert not deployable.declaration("acme").exists()
    assert not pulumi_cli.remove_stack(deployable, "acme")
    assert pulumi_cli.stack_outputs(deployable, "acme") == {}


def test_only_what_is_meant_loses_its_protection(deployable: Project) -> None:
    """C6.3: the disk of one installation, or all of a VPS; never what is another one's."""
    pulumi_cli.deploy(deployable, "acme")
    stack = ("--stack", "acme")
    state = json.loads(pulumi_cli._pulumi(deployable, "stack", "export", *stack))
    prefix = "urn:pulumi:acme::hoster::"
    component = "hoster:vps:VirtualServer"
    for vps in ("web", "web-2"):
        parent = f"{prefix}{component}::{vps}"
        state["deployment"]["resources"].append({"urn": parent, "type": component, "custom": False})
        for name in (f"{vps}-disk", f"{vps}-disk.2"):
            urn = f"{prefix}{component}${pulumi_cli.VOLUME}::{name}"
            state["deployment"]["resources"].append(
                {"urn": urn, "id": name, "type": pulumi_cli.VOLUME, "custom": True}
                | {"parent": parent, "protect": True}
            )
        urn = f"{prefix}{component}$libvirt:index/domain:Domain::{vps}"
        state["deployment"]["resources"].append(
            {"urn": urn, "id": vps, "type": "libvirt:index/domain:Domain", "custom": True}
            | {"parent": parent, "protect": True}
        )
    pulumi_cli._pulumi(deployable, "stack", "import", *stack, text=json.dumps(state))

    def protected() -> set[str]:
        resources = pulumi_cli._resources(deployable, "acme")
        return {urn.rpartition("::")[2] for urn, one in resources.items() if one.get("protect")}

    assert pulumi_cli.unprotect(deployable, "acme", "web", 2)
    others = {"web-2", "web-2-disk", "web-2-disk.2"}
    assert protected() == {"web", "web-disk"} | others
    assert not pulumi_cli.unprotect(deployable, "acme", "web", 2)
    assert pulumi_cli.unprotect(deployable, "acme", "web")
    assert protected() == others


VPS = """
import pulumi
pulumi.ComponentResource("hoster:vps:VirtualServer", "web")
"""


def test_a_preview_is_read_as_the_engine_writes_it(deployable: Project) -> None:
    """C15.2: also where it is refused."""
    program = deployable.program / "__main__.py"
    program.write_text(VPS)
    new = previews.read("acme", pulumi_cli.preview(deployable, "acme"))
    assert ({"acme/web": ["create web"]}, ()) == (new.changes, new.errors)
    pulumi_cli.deploy(deployable, "acme")
    assert previews.read("acme", pulumi_cli.preview(deployable, "acme")).changes == {}

    program.write_text("")
    gone = previews.read("acme", pulumi_cli.preview(deployable, "acme"))
    [text] = previews.judge(gone, ())
    assert "acme/web: its VPS web would be lost (delete)" in text
    assert previews.judge(gone, {"acme/web"}) == []

    program.write_text("from hoster.errors import RuleError\nraise RuleError('that is final')")
    refused = previews.read("acme", pulumi_cli.preview(deployable, "acme"))
    assert previews.judge(refused, ()) == ["acme: that is final"]


def test_a_stack_that_nobody_knows_cannot_be_previewed(deployable: Project) -> None:
    shutil.copy(deployable.declaration("acme"), deployable.declaration("beta"))
    with pytest.raises(ToolError, match="no stack named 'beta'"):
        pulumi_cli.preview(deployable, "beta")


def test_what_was_left_half_done_is_settled(deployable: Project, tmp_path: Path) -> None:
    """A run that was killed while it made something; said once, and gone."""
    pulumi_cli.deploy(deployable, "acme")
    checkpoint = tmp_path / "state" / ".pulumi" / "stacks" / "hoster" / "acme.json"
    state = json.loads(checkpoint.read_text())
    urn = f"urn:pulumi:acme::hoster::{pulumi_cli.VOLUME}::web-disk"
    resource = {"urn": urn, "type": pulumi_cli.VOLUME, "custom": True}
    pending = [{"resource": resource, "type": "creating"}]
    state["checkpoint"]["latest"]["pending_operations"] = pending
    checkpoint.write_text(json.dumps(state))

    assert pulumi_cli.repair(deployable, "acme") == 1
    assert pulumi_cli.repair(deployable, "acme") == 0
