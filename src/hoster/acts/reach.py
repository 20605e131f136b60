"""Whom a change reaches, and what every stack is made from: its program, templates, provider."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import hoster
from hoster import templates
from hoster.changes.impact import redeployed
from hoster.errors import ConfigurationError
from hoster.problems import near
from hoster.project import declarations, git, imports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from hoster.acts.change import Change
    from hoster.project import Project

PROGRAM = "hoster.stack.program"
"""What ``pulumi/__main__.py`` imports."""
PROVIDER = "libvirt_provider"
"""What the launcher in ``pulumi/plugin`` runs; it imports its resources by name, when asked."""
_INVENTORY = "inventory/"


def named(project: Project, names: Sequence[str]) -> list[str]:
    """Return the clients of those *names*, each once; all that there are where none is named.

    Raises:
        ConfigurationError: nothing is declared for one of them; near names are told.
    """
    known = declarations.clients(project)
    for name in names:
        if name not in known:
            raise ConfigurationError(f"nothing is declared for a client {name}{near(name, known)}")
    return list(dict.fromkeys(names)) or known


def clients_since(change: Change) -> list[str]:
    """Return the clients whose stacks *change* can reach.

    Their declarations differ, or what the catalogue says of their VPSs does, or what every stack
    is made from. A client whose declaration is gone is among them.

    Raises:
        ConfigurationError: there is no such ref, or the inventory of today is not valid.
    """
    files, known = change.files, declarations.clients(change.project)
    found = git.declared_in(files)
    if reaches_everybody(change.project, files):
        return sorted(found.union(known))
    if any(file.startswith(_INVENTORY) for file in files):
        found |= _by_catalogue(change, known)
    return sorted(found)


def _by_catalogue(change: Change, known: Collection[str]) -> set[str]:
    """Return whom another catalogue reaches: everybody, where the ref's could not be read."""
    new = change.catalogue
    try:
        before = change.before
    except ConfigurationError:
        return set(known)
    if before is None:
        return set()
    unsound = {client.client for client in change.declared.clients if client.problems}
    return unsound | redeployed(before.catalogue, new, change.declared)


def reaches_everybody(project: Project, files: Iterable[str]) -> bool:
    """Whether one of *files*, relative to the project, is what every stack is made from."""
    program = f"{project.program.name}/"
    made_from = ingredients(project)
    # A file of the program's folder that is gone is among them, too. Of the toolkit's code it is
    # not needed: what imported it differs as well.
    return any(
        file in made_from or (file.startswith(program) and not git.declared_in([file]))
        for file in files
    )


def digests(project: Project, clients: Iterable[str]) -> dict[str, str]:
    """Return for each client the digest of all that its stack is made from.

    That is its declaration, the inventory, and what every stack is made from.
    """
    shared = _shared_digest(project)

    def digest(client: str) -> str:
        file = project.declaration(client)
        own = file.read_bytes() if file.exists() else b""
        return hashlib.sha256(shared + own).hexdigest()

    return {client: digest(client) for client in clients}


def _shared_digest(project: Project) -> bytes:
    found = hashlib.sha256(hoster.__version__.encode())
    inventory = {str(file): file for file in project.inventory.rglob("*.yml")}
    for name, file in sorted((ingredients(project) | inventory).items()):
        found.update(f"{name}\0{file.stat().st_size}\0".encode())
        found.update(file.read_bytes())
    return found.digest()


def ingredients(project: Project) -> dict[str, Path]:
    """Return the files that every stack is made from, by their names in a checkout.

    The project's Pulumi program, the toolkit's modules that it imports, the templates that these
    render, and the libvirt provider; neither declarations nor the inventory. Code and templates
    are those of the toolkit that runs, wherever that is installed.
    """
    folder = project.program
    program = {
        f"{folder.name}/{file.relative_to(folder)}": file
        for file in folder.rglob("*")
        if file.is_file() and not _is_made_meanwhile(file.relative_to(folder))
    }
    own = {name: file for name, file in program.items() if not git.declared_in([name])}
    return own | _code() | {f"templates/{name}": templates.folder() / name for name in rendered()}


def _is_made_meanwhile(file: Path) -> bool:
    """Whether *file* is bytecode, or in a folder such as Pulumi's own for its state."""
    return any(part.startswith((".", "__pycache__")) for part in file.parts)


@functools.cache
def _code() -> dict[str, Path]:
    """Return the modules of program and provider as ``src/hoster/...``."""
    modules = _modules_of_program()
    provider = _modules(PROVIDER)
    source = Path(hoster.__file__).parents[1]
    return {f"src/{path.relative_to(source)}": path for path in (*modules, *provider.values())}


def _modules_of_program() -> list[Path]:
    known = _modules("hoster")
    return [known[name] for name in imports.reached([PROGRAM], imports.graph(known))]


def _modules(package: str) -> dict[str, Path]:
    folder = Path(hoster.__file__).parents[1] / package
    found = imports.modules(folder).items()
    return {f"{package}.{name}".rstrip("."): path for name, path in found}


@functools.cache
def rendered() -> Mapping[str, None]:
    """Return the templates that the program renders."""
    return dict.fromkeys(name for path in _modules_of_program() for name in _rendered_by(path))


def _rendered_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"render", "templates.render"}:
            yield ast.literal_eval(node.args[0])
