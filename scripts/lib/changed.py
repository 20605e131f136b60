"""Says which tests a change can reach; used by ``scripts/test --changed`` only.

A test reaches what it uses: what it and its conftest files import, as do those modules in turn;
modules that a text in them names, as for a process; and files that ``changed.toml`` says. A changed
file that no test reaches is not understood, and then every test is meant.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoster.project import imports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING, MOLECULE = "everything", "molecule"
_MODULE = re.compile(r"\b(?:hoster|hoster_lab|libvirt_provider)(?:\.\w+)*")


def reaching(
    changed: Collection[str], tests: Iterable[str], uses: Mapping[str, Collection[str]]
) -> tuple[set[str], set[str]]:
    """Return the tests that reach one of *changed*, and those of *changed* that no test reaches.

    Files are paths in the repository; *uses* says of each which files it uses itself.
    """
    reached = {test: imports.reached([test], uses) for test in tests}
    found = {test for test, files in reached.items() if not files.isdisjoint(changed)}
    return found, set(changed).difference(*reached.values())


def uses_of(
    root: Path, files: Collection[str], declared: Mapping[str, Collection[str]]
) -> dict[str, set[str]]:
    """Return for each of *files* those of them that it uses itself.

    *declared* says so of some beyond what they import: patterns of users, and of what they use.
    """
    modules = {
        name: str(path.relative_to(root)) for name, path in imports.modules(root / "src").items()
    }
    uses = {file: _by_python(root, file, files, modules) for file in files if file.endswith(".py")}
    for users, used in declared.items():
        those = {file for file in files if _fits(file, used)}
        for user in [file for file in files if fnmatchcase(file, users)] or [users]:
            uses.setdefault(user, set()).update(those)
    return uses


def _by_python(
    root: Path, file: str, files: Collection[str], modules: Mapping[str, str]
) -> set[str]:
    path = root / file
    names = {one.name for one in imports.imports(path) if not one.for_types}
    said = {name for text in _texts(path) for name in _MODULE.findall(text)}
    names |= said | {f"{name}.__main__" for name in said}  # python -m
    found = {modules[part] for name in names for part in _with_packages(name) if part in modules}
    above = (folder / "conftest.py" for folder in Path(file).parents)
    return found | {str(conftest) for conftest in above if str(conftest) in files}


def _texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _with_packages(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _fits(file: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(file, pattern) for pattern in patterns)


def changed_since(root: Path, ref: str) -> set[str]:
    """Return what differs from *ref*, by default from where this branch left main, or is new."""
    ref = ref or _git(root, "merge-base", "HEAD", "main")[0]
    differing = _git(root, "diff", "--name-only", "--no-renames", ref, "--")
    return {*differing, *_git(root, "ls-files", "--others", "--exclude-standard")}


def _git(root: Path, *arguments: str) -> list[str]:
    argv = ["git", "-C", str(root), "-c", "core.quotePath=false", *arguments]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


@dataclass(frozen=True)
class Repository:
    """Its files that are in Git or would be added; ``known`` is what ``changed.toml`` says."""

    root: Path
    files: frozenset[str]
    known: Mapping[str, Any]

    @classmethod
    def at(cls, root: Path, known: Mapping[str, Any]) -> Repository:
        """Return the checkout's."""
        listed = _git(root, "ls-files", "--cached", "--others", "--exclude-standard")
        return cls(root, frozenset(file for file in listed if (root / file).is_file()), known)

    @property
    def tests(self) -> list[str]:
        """What can be run: files with tests, and `molecule`."""
        return [*(file for file in self.files if fnmatchcase(file, "tests/*test_*.py")), MOLECULE]

    def reached(self, changed: Collection[str]) -> tuple[set[str], set[str]]:
        """Return the tests that *changed* reaches, and the files for which all are meant."""
        uses = uses_of(self.root, self.files, self.known["uses"])
        found, unknown = reaching(changed, self.tests, uses)
        all_meant = {file for file in changed if _fits(file, self.known["everything"]["files"])}
        return found.union(self.known["always"]["tests"]), unknown | all_meant


def main(ref: str = "") -> int:
    """Print the tests that are reached, a line each, or `EVERYTHING`."""
    known = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    found, unknown = Repository.at(ROOT, known).reached(changed_since(ROOT, ref))
    for file in sorted(unknown):
        sys.stderr.write(f"{file}: nothing says what it reaches, so everything runs\n")
    sys.stdout.writelines(f"{each}\n" for each in ([EVERYTHING] if unknown else sorted(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
