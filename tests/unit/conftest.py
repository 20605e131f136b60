"""A company's folder to try things in, and a maker of declarations."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml

from hoster.catalogue import Catalogue
from hoster.orders.declarations import VpsDeclaration, parse_vps
from hoster.project import Project
from hoster.project.inventory import load_catalogue

CHECKOUT = Path(__file__).parents[2]
RELEASE = "debian-12@20250703-2162"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with the inventory that ships, and no client yet."""
    shutil.copytree(CHECKOUT / "inventory", tmp_path / "inventory")
    (tmp_path / "pulumi").mkdir()
    shutil.copy(CHECKOUT / "pulumi" / "Pulumi.yaml", tmp_path / "pulumi")
    return Project(tmp_path)


@pytest.fixture
def with_ledger(project: Project, empty_ledger: Path) -> Project:
    """The same project, with a ledger that holds nothing."""
    project.state.mkdir(mode=0o700)
    shutil.copy(empty_ledger, project.state / "ledger.sqlite3")
    return project


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The catalogue that ships."""
    return load_catalogue(CHECKOUT / "inventory")


@pytest.fixture(scope="session")
def declared() -> Callable[..., VpsDeclaration]:
    """Make a declaration; what is not said is the same for all."""

    def make(full_name: str = "acme/web", **fields: Any) -> VpsDeclaration:
        client, _, name = full_name.partition("/")
        usual = {
            "plan": "kvm-2",
            "image": RELEASE,
            "location": "paris",
            "node": "paris-1",
            "ipv4": IPv4Address("203.0.113.17"),
        }
        return parse_vps(client, name, usual | fields)

    return make


@pytest.fixture
def git(project: Project) -> Callable[..., None]:
    """Run git in the project."""
    who = ("-c", "user.name=ops", "-c", "user.email=ops@example.org")

    def run(*arguments: str) -> None:
        command = ["git", "-C", str(project.root), *who, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    return run


@pytest.fixture
def repository(
    project: Project, declared: Callable[..., VpsDeclaration], git: Callable[..., None]
) -> Project:
    """The project with two clients of a VPS each, committed on the branch main."""
    for client, ipv4 in {"acme": "203.0.113.17", "beta": "203.0.113.18"}.items():
        some = {"web": declared(f"{client}/web", ipv4=ipv4).fields_written()}
        access = {"web": {"secure": "v1:sealed"}}
        content = {"config": {"hoster:vps": some, "hoster:access": access}}
        project.declaration(client).write_text(yaml.safe_dump(content))
    git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all")
    git("commit", "--quiet", "--message", "Begin")
    return project
