"""Imports go one way: rules, then adapters, then entry points."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

RULES = [
    "access",
    "addresses",
    "announcements",
    "audit",
    "catalogue",
    "clients",
    "change_rules",
    "declarations",
    "deployed",
    "drift",
    "previews",
    "proofs",
    "errors",
    "geofeed",
    "impact",
    "incidents",
    "node_events",
    "ordering",
    "placement",
    "problems",
    "rules",
    "ssh_keys",
]
ADAPTERS = {"ansible", "pulumi", "pulumi_libvirt", "sqlalchemy", "alembic", "smtplib", "subprocess"}
OUR_ADAPTERS = {"hoster.cli", "hoster.ledger", "hoster.mail", "hoster.outbox", "hoster.stack"}


def imports(path: Path) -> set[str]:
    """Every module that *path* imports, with the names taken out of it as modules too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def upward(path: Path, forbidden: set[str]) -> set[str]:
    return {
        name
        for name in imports(path)
        for module in forbidden
        if name == module or name.startswith(f"{module}.")
    }


@pytest.mark.parametrize("module", RULES)
def test_the_rules_of_the_business_know_no_adapter(root: Path, module: str) -> None:
    sources = [root / f"src/hoster/{module}.py", *(root / f"src/hoster/{module}").rglob("*.py")]
    existing = [path for path in sources if path.is_file()]

    assert existing, f"no module hoster.{module}"
    assert [] == [
        (path.name, name) for path in existing for name in upward(path, ADAPTERS | OUR_ADAPTERS)
    ]


def test_the_provider_knows_nothing_of_the_business(root: Path) -> None:
    sources = sorted((root / "src/libvirt_provider").rglob("*.py"))

    assert [] == [
        (path.name, name) for path in sources for name in upward(path, {"hoster", "hoster_lab"})
    ]


def test_the_node_agent_stands_on_little(root: Path) -> None:
    """A node has the distribution's Python and dpkt, and nothing of the control machine."""
    ours = {"hoster.addresses", "hoster.errors", "hoster.node"}
    theirs = {"click", "dateutil", "dpkt", "libvirt"}
    used = {
        name
        for path in sorted((root / "src/hoster/node").rglob("*.py"))
        for name in imports(path)
        if name.partition(".")[0] not in sys.stdlib_module_names | theirs
        and not any(name == one or name.startswith(f"{one}.") for one in ours)
        and name != "hoster"
    }

    assert set() == used


def test_what_ships_does_not_need_the_lab(root: Path) -> None:
    sources = sorted((root / "src/hoster").rglob("*.py"))

    assert [] == [(path.name, name) for path in sources for name in upward(path, {"hoster_lab"})]


def test_the_python_of_ansible_is_for_its_plugins_alone(root: Path) -> None:
    sources = sorted((root / "src").rglob("*.py"))

    assert [] == [(path.name, name) for path in sources for name in upward(path, {"ansible"})]


def test_a_plugin_of_ansible_wraps_the_toolkit_and_nothing_else(root: Path) -> None:
    sources = sorted((root / "plugins").rglob("*.py"))
    modules = {path: {name.partition(".")[0] for name in imports(path)} for path in sources}

    assert sources
    assert [] == [
        (path.name, names - sys.stdlib_module_names - {"ansible", "hoster"})
        for path, names in modules.items()
        if names - sys.stdlib_module_names - {"ansible", "hoster"}
    ]


def test_an_upward_import_is_seen(tmp_path: Path) -> None:
    source = tmp_path / "placement.py"
    source.write_text("from hoster import ledger\nimport pulumi.runtime\nimport json\n")

    assert {"hoster.ledger", "pulumi.runtime"} == upward(source, ADAPTERS | OUR_ADAPTERS)
