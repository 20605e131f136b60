"""What the toolkit asks of the real `pulumi`, on a backend of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from hoster import pulumi_cli
from hoster.errors import ConfigurationError, ToolError
from hoster.project import Project

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "$6$rounds=5000$not$a-real-hash"


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
