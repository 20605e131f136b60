"""Which stacks a change reaches, in a real Git repository."""

from __future__ import annotations

import subprocess

import pytest

from hoster import touched
from hoster.errors import ConfigurationError
from hoster.project import Project

KNOWN = ["acme", "beta"]


def git(project: Project, *arguments: str) -> None:
    who = ("-c", "user.name=ops", "-c", "user.email=ops@example.org")
    subprocess.run(["git", "-C", str(project.root), *who, *arguments], check=True)


@pytest.fixture
def versioned(project: Project) -> Project:
    """The project as a folder of a repository, all of it committed."""
    for client in KNOWN:
        project.declaration(client).write_text("config: {}\n")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Begin")
    return project


def reached(project: Project, ref: str = "HEAD") -> list[str]:
    return touched.clients_of(touched.files_since(project, ref), KNOWN)


def test_nothing_changed_reaches_nobody(versioned: Project) -> None:
    assert [] == reached(versioned)


def test_a_declaration_reaches_its_client_committed_or_not(versioned: Project) -> None:
    versioned.declaration("acme").write_text("config: {a: 1}\n")
    versioned.declaration("new").write_text("config: {}\n")
    assert ["acme", "new"] == reached(versioned)

    git(versioned, "add", "--all")
    git(versioned, "commit", "--quiet", "--message", "Change")
    assert [] == reached(versioned)
    assert ["acme", "new"] == reached(versioned, "HEAD~1")


def test_a_declaration_that_is_gone_reaches_its_client(versioned: Project) -> None:
    versioned.declaration("beta").unlink()
    assert ["beta"] == reached(versioned)


@pytest.mark.parametrize("file", ["inventory/group_vars/all/plans.yml", "pulumi/Pulumi.yaml"])
def test_what_all_are_made_from_reaches_all(versioned: Project, file: str) -> None:
    path = versioned.root / file
    path.write_text(path.read_text() + "# another\n")
    assert KNOWN == reached(versioned)


def test_what_no_stack_is_made_from_reaches_nobody(versioned: Project) -> None:
    (versioned.root / "README.md").write_text("Read me.\n")
    assert [] == reached(versioned)


def test_only_the_projects_own_files_count(versioned: Project) -> None:
    """A company's folder may be a part of a larger repository."""
    inner = versioned.root / "company"
    (inner / "pulumi").mkdir(parents=True)
    (inner / "inventory").mkdir()
    (inner / "pulumi" / "Pulumi.acme.yaml").write_text("config: {}\n")
    versioned.declaration("beta").unlink()

    assert ["acme"] == reached(Project(inner))


def test_a_ref_that_is_not_there_is_named_with_the_remedy(versioned: Project) -> None:
    with pytest.raises(ConfigurationError, match=r"origin/main(?s:.*)git fetch"):
        reached(versioned, "origin/main")


def test_a_folder_without_git_is_said(project: Project) -> None:
    with pytest.raises(ConfigurationError, match="not a git repository"):
        reached(project)
