"""What Git knows of the project: which files differ from a ref, and what the ref says."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hoster.changes.since import Before
from hoster.errors import ConfigurationError, ToolError
from hoster.project import Project, declarations
from hoster.project.inventory import load_catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SECONDS = 60
_MOST_FILES = 1000
"""More than these are not named to git one by one."""
_DECLARATION = re.compile(r"pulumi/Pulumi\.([^/]+)\.yaml")


def files_since(project: Project, ref: str) -> list[str]:
    """Return the project's files that differ from *ref*, new ones included, relative to it.

    Raises:
        ConfigurationError: there is no such ref, or the project is in no Git repository.
        ToolError: git is missing.
    """
    _git(project, "rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}", ref=ref)
    changed = _git(
        project, "diff", "--name-only", "--no-renames", "--relative", "-z", ref, "--", ".", ref=ref
    )
    new = _git(project, "ls-files", "--others", "--exclude-standard", "-z", "--", ".", ref=ref)
    return sorted({name for name in (changed + new).split("\0") if name})


@contextmanager
def at(project: Project, ref: str, files: Sequence[str]) -> Iterator[Project]:
    """Yield the project as *ref* has it, in a folder of its own: the inventory, and *files*.

    Raises:
        ConfigurationError: there is no such ref, or it has no such project.
    """
    with tempfile.TemporaryDirectory(prefix="hoster-") as folder:
        archive = Path(folder) / "ref.tar"
        wanted = ["inventory", *(file for file in files if _DECLARATION.fullmatch(file))]
        if len(wanted) > _MOST_FILES:
            wanted = ["inventory", "pulumi"]
        listed = _git(project, "ls-tree", "--name-only", "-z", ref, "--", *wanted, ref=ref)
        there = [name for name in listed.split("\0") if name]
        into = ("--format=tar", "--output", str(archive))
        _git(project, "archive", *into, ref, "--", *there, ref=ref)
        with tarfile.open(archive) as tar:
            # Not "data", which refuses a link out of the project: what Git does not keep is on both
            # sides as it is now.
            tar.extractall(folder, filter="tar")
        yield Project(Path(folder))


def before(project: Project, ref: str, files: Sequence[str]) -> Before:
    """Return what *ref* says, where *files* differ: of declarations only these are read there.

    Raises:
        ConfigurationError: there is no such ref, or what it has is not valid.
    """
    differing = frozenset(declared_in(files))
    with at(project, ref, files) as old:
        return Before(
            load_catalogue(old.inventory),
            {
                client: replace(
                    declarations.read(old.declaration(client)),
                    file=project.declaration(client),
                )
                for client in sorted(differing)
                if old.declaration(client).exists()
            },
            differing,
        )


def declared_in(files: Iterable[str]) -> set[str]:
    """Return the clients whose declarations are among *files*."""
    return {match[1] for file in files if (match := _DECLARATION.fullmatch(file))}


def _git(project: Project, *arguments: str, ref: str) -> str:
    if shutil.which("git") is None:
        raise ToolError("git is not on PATH; it knows what changed", remedy="Install git.")
    done = subprocess.run(
        ["git", "-C", str(project.root), *arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip() or f"there is no commit {ref}"
        raise ConfigurationError(
            f"git knows nothing of {ref!r} in {project.root}: {reason}",
            remedy="Name a branch, tag or commit; fetch it where the clone is shallow: "
            "git fetch --depth 1 origin main",
        )
    return done.stdout
