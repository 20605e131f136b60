"""`scripts/test --changed` runs what a change can reach, and everything where it cannot tell."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "scripts/lib/changed.py"
# A small repository: what it has, and what its table says.
FILES = {
    "src/hoster/__init__.py": "",
    "src/hoster/rule.py": "",
    "src/hoster/act.py": "from hoster import rule",
    "src/hoster/cli/__init__.py": "COMMANDS = {'act': 'hoster.act:act'}",
    "src/hoster/node/__init__.py": "",
    "src/hoster/node/__main__.py": "import hoster.node.agent",
    "src/hoster/node/agent.py": "",
    "src/hoster/letters.py": "",
    "tests/conftest.py": "",
    "tests/unit/conftest.py": "import hoster.letters",
    "tests/unit/test_rule.py": "def test_it():\n    from hoster.rule import rule",
    "tests/unit/test_cli.py": "from hoster.cli import cli",
    "tests/node/test_node.py": "import sys\nARGV = [sys.executable, '-m', 'hoster.node']",
    "tests/repo/test_text.py": "",
    "templates/letter.j2": "",
    "docs/page.md": "",
    "roles/node/tasks/main.yml": "",
    "requirements.txt": "",
    "odd.cfg": "",
}
KNOWN: dict[str, Any] = {
    "always": {"tests": ["tests/repo/test_text.py"]},
    "everything": {"files": ["requirements.txt"]},
    "uses": {
        "src/hoster/letters.py": ["templates/*"],
        "tests/repo/test_text.py": ["*.md"],
        "molecule": ["roles/*"],
    },
}


@pytest.fixture(scope="module")
def changed() -> ModuleType:
    spec = importlib.util.spec_from_file_location("changed", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["changed"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        pytest.param("src/hoster/rule.py", {"unit/test_rule", "unit/test_cli"}, id="by import"),
        pytest.param("src/hoster/act.py", {"unit/test_cli"}, id="by a name in a text"),
        pytest.param("src/hoster/node/agent.py", {"node/test_node"}, id="by python -m"),
        pytest.param("templates/letter.j2", {"unit/test_rule", "unit/test_cli"}, id="by the table"),
        pytest.param("tests/unit/conftest.py", {"unit/test_rule", "unit/test_cli"}, id="conftest"),
        pytest.param("tests/unit/test_cli.py", {"unit/test_cli"}, id="a test itself"),
        pytest.param("docs/page.md", set(), id="by what looks at everything"),
    ],
)
def test_what_can_be_reached_is_run(
    changed: ModuleType, small: Path, file: str, tests: set[str]
) -> None:
    found, unknown = changed.Repository(small, frozenset(FILES), KNOWN).reached([file])

    assert {f"tests/{name}.py" for name in tests} | {"tests/repo/test_text.py"} == found
    assert set() == unknown


def test_scenarios_of_molecule_are_run_as_one(changed: ModuleType, small: Path) -> None:
    repository = changed.Repository(small, frozenset(FILES), KNOWN)

    found, _ = repository.reached(["roles/node/tasks/main.yml"])

    assert {"molecule", "tests/repo/test_text.py"} == found


@pytest.mark.parametrize("file", ["odd.cfg", "src/hoster/gone.py", "requirements.txt"])
def test_what_nobody_explains_is_for_everything(
    changed: ModuleType, small: Path, file: str
) -> None:
    repository = changed.Repository(small, frozenset(FILES), KNOWN)

    _, unknown = repository.reached(["docs/page.md", file])

    assert {file} == unknown


def test_a_change_is_what_differs_and_what_is_new(changed: ModuleType, small: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=ops", "-c", "user.email=ops@example.org")
        argv = ["git", "-C", str(small), *who, *arguments]
        subprocess.run(argv, check=True, capture_output=True)

    git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all")
    git("commit", "--quiet", "--message", "Begin")
    git("checkout", "--quiet", "-b", "branch")
    git("mv", "src/hoster/rule.py", "src/hoster/law.py")
    git("commit", "--quiet", "--message", "Rename")
    (small / "docs/page.md").write_text("Read me.")
    (small / "docs/été.md").write_text("New.")

    assert {"src/hoster/rule.py", "src/hoster/law.py", "docs/page.md", "docs/été.md"} == (
        changed.changed_since(small, "")
    )
    assert {"docs/page.md", "docs/été.md"} == changed.changed_since(small, "HEAD")


# --- the table of this repository ---


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return tomllib.loads(SOURCE.with_suffix(".toml").read_text())


def test_the_table_explains_each_file_or_has_it_reach_everything(
    changed: ModuleType, known: dict[str, Any], root: Path
) -> None:
    repository = changed.Repository.at(root, known)

    _, unknown = repository.reached(repository.files)

    wide: Collection[str] = known["everything"]["files"]
    assert [] == [file for file in sorted(unknown) if not any(fnmatchcase(file, w) for w in wide)]


def test_the_table_names_nothing_that_is_gone(known: dict[str, Any], files: list[Path]) -> None:
    patterns = {*known["always"]["tests"], *known["everything"]["files"], *known["uses"]}
    patterns |= {pattern for used in known["uses"].values() for pattern in used}

    there = [str(file) for file in files] + ["molecule"]
    assert [] == sorted(p for p in patterns if not any(fnmatchcase(file, p) for file in there))
