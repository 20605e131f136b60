"""Every dependency is pinned, with a reason."""

from __future__ import annotations

import re
from pathlib import Path

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z,]+\])?==(?P<version>[0-9][^\s;]*)")


def requirement_lines(root: Path) -> list[str]:
    lines = (root / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_pinned(root: Path) -> None:
    assert [] == [line for line in requirement_lines(root) if not PIN.match(line)]


def test_every_requirement_has_a_reason(root: Path) -> None:
    assert [] == [line for line in requirement_lines(root) if not re.search(r" # \S+", line)]


def test_the_constraints_are_resolved_from_these_requirements(root: Path) -> None:
    constraints = (root / "constraints.txt").read_text()
    pinned = {(normal(m["name"]), m["version"]) for m in PIN.finditer(constraints)}
    asked = {(normal(m["name"]), m["version"])
             for line in requirement_lines(root) if (m := PIN.match(line))}  # fmt: skip

    assert set() == asked - pinned, "see docs/development.md: resolve constraints.txt anew"


def test_engine_and_sdk_are_of_one_minor(root: Path) -> None:
    places = {
        "requirements.txt": r"^pulumi==(3\.\d+)\.",
        "tools/pulumi/go.mod": r"pulumi/pkg/v3 v(3\.\d+)\.",
        "scripts/lib/pulumi.sh": r"^PULUMI_VERSION=(3\.\d+)\.",
    }
    minors = {
        place: re.findall(pattern, (root / place).read_text(), re.MULTILINE)
        for place, pattern in places.items()
    }

    assert dict.fromkeys(places, minors["requirements.txt"]) == minors
    assert len(minors["requirements.txt"]) == 1
