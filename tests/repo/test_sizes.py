"""Functions and files read in one look; those that do not yet only get shorter (`sizes.yml`)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def held(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((root / "tests/repo/sizes.yml").read_text())
    return content


@pytest.fixture(scope="module")
def sources(texts: dict[Path, str]) -> dict[str, str]:
    return {str(path): text for path, text in texts.items() if path.suffix == ".py"}


def functions(text: str) -> Iterator[tuple[str, int]]:
    """The name and the lines of each function, its decorators apart."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_a_function_reads_in_one_look(sources: dict[str, str], held: dict[str, Any]) -> None:
    long = {
        f"{path} {name}": lines
        for path, text in sources.items()
        for name, lines in functions(text)
        if lines > held["limits"]["function"]
    }

    assert held["functions"] == long


def test_a_file_has_one_subject(sources: dict[str, str], held: dict[str, Any]) -> None:
    lines = {path: len(text.splitlines()) for path, text in sources.items()}

    assert held["files"] == {
        path: count for path, count in lines.items() if count > held["limits"]["file"]
    }


def test_most_functions_of_a_room_are_short(sources: dict[str, str], held: dict[str, Any]) -> None:
    for room, most in held["rooms"].items():
        lines = [
            count
            for path, text in sources.items()
            if path.startswith(f"{room}/") and "/migrations/" not in path
            for _, count in functions(text)
        ]

        assert lines
        assert median(lines) <= most["median"], room
        assert quantiles(lines, n=10)[-1] < most["nine_in_ten"], room


def test_the_lines_of_a_function_are_counted_from_its_def() -> None:
    text = "@decorated\n@twice\ndef outer():\n    def inner():\n        pass\n    return inner\n"

    assert {("outer", 4), ("inner", 2)} == set(functions(text))
