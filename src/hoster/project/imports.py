"""Which Python modules import which, read from their text: nothing is run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Import:
    """One name that a module imports; ``for_types`` where only a type checker ever sees it."""

    name: str
    line: int
    for_types: bool


def modules(folder: Path) -> dict[str, Path]:
    """Return every module below *folder* by its dotted name; a package by its own."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> list[Import]:
    """Return what a module imports, inside functions too, with each name out of it as a module.

    ``from a import b`` is both ``a`` and ``a.b``: the text does not tell whether ``b`` is one.
    """
    tree = ast.parse(path.read_bytes())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    return [
        Import(name, node.lineno, id(node) in for_types)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _names(node)
    ]


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif node.module and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph(known: Mapping[str, Path]) -> dict[str, frozenset[str]]:
    """Return for each module of *known* those of them that it imports when it runs.

    A module inside a package imports that package, too: its ``__init__`` runs first.
    """
    return {
        module: frozenset(
            name
            for one in imports(path)
            if not one.for_types
            for name in _with_packages(one.name)
            if name in known and name != module
        )
        for module, path in known.items()
    }


def _with_packages(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def reached(start: Iterable[str], imported: Mapping[str, Iterable[str]]) -> set[str]:
    """Return *start* and whatever it imports, directly or by way of others."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imported.get(module, ())
    return found
