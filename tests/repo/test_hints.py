"""What messages tell people to run or to read is there: commands, options, playbooks, files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hoster.cli import cli
from hoster.node.cli import main as node_cli

PROGRAMS: dict[str, click.Command] = {"hoster": cli, "hoster-node": node_cli}
PROSE = {"hoster project", "hoster knows", "hoster on", "hoster has", "hoster X"}
"""Where the toolkit itself is meant, or a hosting company; or nothing that can be known here."""
_FILE = re.compile(r"(?<![\w/.{-])(?:playbooks|scripts|docs|inventory)/[\w./-]*\w")
_COMMAND = re.compile(r"(?<![\w./-])(hoster(?:-node)?)((?: +[^\s`'\"|;,:)]+)+)")
_PLAYBOOK = re.compile(r"(?<![\w/.-])[a-z]+(?:-[a-z]+)+\.yml")
"""Without its folder: their names alone have hyphens."""
_VARIABLE = re.compile(r"-e [\"']?(\w+)=")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Each text of a module with its line, help and docstrings too; «X» for what is filled in."""
    tree = ast.parse(path.read_text())
    pieces = {
        id(piece)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for piece in ast.walk(node)
        if piece is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(said, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from [] if id(node) in pieces else [(node.lineno, node.value)]


def said(piece: ast.expr) -> str:
    return str(piece.value) if isinstance(piece, ast.Constant) else "X"


def missing_commands(text: str) -> Iterator[str]:
    """Commands and options that *text* names and nobody has."""
    for program, rest in _COMMAND.findall(text.replace("\\\n", " ")):
        words = [word.rstrip(".?!") for word in rest.split()]
        if f"{program} {words[0]}" in PROSE:
            continue
        command, path = PROGRAMS[program], program
        while isinstance(command, click.Group) and words:
            found = command.get_command(click.Context(command), words[0])
            if found is None:
                break
            command, path = found, f"{path} {words.pop(0)}"
        if path == program and not words[0].startswith("-"):
            yield f"{program} {words[0]}"
            continue
        options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        for word in words:
            option = word.partition("=")[0]
            if re.match("--[a-z]", option) and option not in {*options, "--help"}:
                yield f"{path} {option}"


def missing_files(text: str, root: Path) -> Iterator[str]:
    for name in _FILE.findall(text):
        if "X" not in name and not (root / name).exists():
            yield name
    for name in _PLAYBOOK.findall(text):
        if not (root / "playbooks" / name).exists():
            yield name


def missing_variables(text: str, root: Path) -> Iterator[str]:
    """Variables that *text* gives a playbook, and that neither it nor what it includes reads."""
    shared = [file.read_text() for file in (root / "playbooks").glob("*/*.yml")]
    named = [root / name for name in _FILE.findall(text) if name.startswith("playbooks/")]
    playbooks = [file for file in named if file.is_file()] or sorted(root.glob("playbooks/*.yml"))
    readers = "\n".join([*shared, *(file.read_text() for file in playbooks)])
    for name in _VARIABLE.findall(text):
        if not re.search(rf"\b{name}\b", readers):
            yield f"-e {name}="


def missing(text: str, root: Path) -> list[str]:
    return [
        *missing_commands(text),
        *missing_files(text, root),
        *missing_variables(text, root),
        *re.findall(r"\.lab/\w*", text),  # a hosting company has no lab
    ]


def test_whatever_a_message_names_is_there(root: Path) -> None:
    found = {
        f"{path.relative_to(root)}:{line}": wrong
        for path in sorted((root / "src/hoster").rglob("*.py"))
        for line, text in texts(path)
        if (wrong := missing(text, root))
    }

    assert {} == found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Look: hoster measures", ["hoster measures"]),
        ("`hoster deliver acme/web --wiat 300`", ["hoster deliver --wiat"]),
        ("hoster outbox tells why, hoster outbox send tries again.", []),
        ("on the node: hoster-node rekoncile", ["hoster-node rekoncile"]),
        ("ansible-playbook playbooks/reinstall-vps.yml -e vsp=X", ["-e vsp="]),
        ("playbooks/reinstal-vps.yml", ["playbooks/reinstal-vps.yml"]),
        ("end it with terminat-vps.yml", ["terminat-vps.yml"]),
        ("Run scripts/setup, then `source .lab/env`.", [".lab/env"]),
        ("no hoster project at X", []),
    ],
)
def test_a_hint_that_leads_nowhere_is_seen(root: Path, text: str, wrong: list[str]) -> None:
    assert wrong == missing(text, root)
