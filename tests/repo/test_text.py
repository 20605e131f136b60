"""What no file of the repository may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

# In pieces, so that this file does not find itself.
_SYSTEM_PATH = r"(?<![\w.~}])(?<!}:)/"
_HOMES = _SYSTEM_PATH + "(?:ro" + r"ot/(?!\.ssh\b)|wo" + r"rk/|home/(?!debian\b|ubuntu\b)[a-z])"
_REGISTRIES = (
    r"py" + r"pi\.org|python" + r"hosted\.org|(?:pro" + r"xy|sum)\.golang\.org|npm" + r"js\.org"
)
_KEYS = r"-----BEGIN [A-Z ]*PRIV" + r"ATE KEY-----|AKI" + r"A[0-9A-Z]{16}|gh[pousr]_\w{36}"
_LATER = r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"

FORBIDDEN = {
    "the path of one person's machine": _HOMES,
    "the host of a package registry (each site has its own mirror)": _REGISTRIES,
    "a private key or a token": _KEYS,
    "a note to do something later (do it, or open an issue)": _LATER,
}
# Checksums and generated pins: long random words, and not ours.
GENERATED = "tools/*/go.sum"


def lines_with(pattern: str, texts: Mapping[Path, str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts.items()
        if not path.match(GENERATED)
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str, texts: dict[Path, str]) -> None:
    assert [] == lines_with(FORBIDDEN[what], texts)


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("the path of one person's machine", "cd /ho" + "me/ada/hoster"),
        ("the path of one person's machine", 'open("/ro' + 'ot/notes")'),
        (
            "the host of a package registry (each site has its own mirror)",
            "https://py" + "pi.org/x",
        ),
        ("a private key or a token", "-----BEGIN OPENSSH PRIV" + "ATE KEY-----"),
        ("a note to do something later (do it, or open an issue)", "# TO" + "DO: later"),
    ],
)
def test_the_patterns_find_what_they_are_for(what: str, line: str) -> None:
    assert [f"a.txt:1: {line}"] == lines_with(FORBIDDEN[what], {Path("a.txt"): line})


def test_a_nodes_own_paths_are_no_persons_machine() -> None:
    harmless = {Path("a.yml"): "path: /root/.ssh/authorized_keys\nhome: /home/debian\n"}

    assert [] == lines_with(_HOMES, harmless)


def test_every_relative_link_of_a_page_leads_somewhere(root: Path, texts: dict[Path, str]) -> None:
    links = [
        (path, target)
        for path, text in texts.items()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if not re.match(r"[a-z]+:|#", target)
    ]

    assert [] == [
        f"{path}: {target}"
        for path, target in links
        if not (root / path.parent / target.partition("#")[0]).exists()
    ]
