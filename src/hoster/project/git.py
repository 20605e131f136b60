"""Which clients' stacks a change of the project's files can reach."""

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

from hoster.changes.impact import redeployed
from hoster.changes.since import Before
from hoster.errors import ConfigurationError, ToolError
from hoster.project import Project, declarations
from hoster.project.inventory import load_catalogue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

_SECONDS = 60
_MOST_FILES = 1000
"""More than these are not named to git one by one."""
_DECLARATION = re.compile(r"pulumi/Pulumi\.([^/]+)\.yaml")
_INVENTORY = "inventory/"
_EVERYBODYS = (
    *("pulumi/", "src/hoster/stack/", "src/libvirt_provider/"),
    *("templates/cloud-init/", "templates/domain.xslt.j2"),
)
"""What every stack is made with: the program, its components and templates, the provider."""


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


def before(project: Project, ref: str) -> Before | None:
    """Return what *ref* says, where anything differs; only files that differ are read there.

    Raises:
        ConfigurationError: there is no such ref, or what it has is not valid.
    """
    files = files_since(project, ref)
    if not files:
        return None
    differing = frozenset(_declared_in(files))
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


def clients_since(project: Project, ref: str) -> list[str]:
    """Return the clients whose stacks what changed since *ref* can reach.

    Their declarations differ, or what the catalogue says of their VPSs does, or what every stack
    is made with. A client whose declaration is gone is among them.

    Raises:
        ConfigurationError: there is no such ref, or the inventory of today is not valid.
    """
    files, known = files_since(project, ref), declarations.clients(project)
    if any(file.startswith(_EVERYBODYS) and not _DECLARATION.fullmatch(file) for file in files):
        return sorted({*known, *_declared_in(files)})
    found = _declared_in(files)
    if any(file.startswith(_INVENTORY) for file in files):
        found |= _by_catalogue(project, ref, known)
    return sorted(found)


def _by_catalogue(project: Project, ref: str, known: Collection[str]) -> set[str]:
    """Return whom another catalogue reaches: everybody, where the ref's could not be read."""
    new = load_catalogue(project.inventory)
    try:
        with at(project, ref, ()) as before:
            old = load_catalogue(before.inventory)
    except ConfigurationError:
        return set(known)
    clients = declarations.read_all(project).clients
    unsound = {client.client for client in clients if client.problems}
    return unsound | redeployed(old, new, (vps for client in clients for vps in client.vps))


def _declared_in(files: Iterable[str]) -> set[str]:
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
