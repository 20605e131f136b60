"""Imports go one way, from floor to floor; a module's floor is its folder (docs/development.md)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from hoster.project.imports import graph, imports, modules, reached
from hoster.structure import ABOVE_ALL, FLOORS, floor_of, room_of

OURS = ("hoster", "hoster_lab", "libvirt_provider")
# What each floor may import of the floors: its own and those below.
BELOW: dict[str, set[str]] = {
    "faces": {"faces", "acts", "adapters", "wire", "rules", "base"},
    "acts": {"acts", "adapters", "wire", "rules", "base"},
    "adapters": {"adapters", "wire", "rules", "base"},
    "node": {"node", "wire", "rules", "base"},
    "rules": {"rules", "wire", "base"},
    "wire": {"wire", "base"},
    "base": {"base"},
}
# Libraries that touch something outside: no rule, and nothing that both machines say, knows them.
OUTSIDE = {
    *("ansible", "pulumi", "pulumi_libvirt", "libvirt", "sqlalchemy", "alembic", "psycopg"),
    *("smtplib", "subprocess", "socket", "click", "rich", "rich_click", "ruamel", "filelock"),
}
NODE_NEEDS = {"click", "dateutil", "dpkt", "libvirt"}


@pytest.fixture(scope="module")
def known(root: Path) -> dict[str, Path]:
    return modules(root / "src")


@pytest.fixture(scope="module")
def imported(known: dict[str, Path]) -> dict[str, frozenset[str]]:
    return graph(known)


def outside(path: Path) -> set[str]:
    """The libraries that a module imports: neither Python's nor ours."""
    heads = {one.name.partition(".")[0] for one in imports(path) if not one.for_types}
    return heads - sys.stdlib_module_names - set(OURS)


def called(path: Path) -> set[str]:
    """The plain names that a module calls."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def circle(among: Mapping[str, frozenset[str]]) -> list[str]:
    """One circle of imports, or nothing."""
    try:
        TopologicalSorter(among).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def upward(known: Mapping[str, Path], imported: Mapping[str, frozenset[str]]) -> set[str]:
    """Every import of a floor that is not below, or that no folder names."""
    return {
        f"{module} imports {other}"
        for module in known
        if module.startswith("hoster.")
        for other in imported[module]
        if other.startswith("hoster.") and floor_of(other) not in BELOW[floor_of(module)]
    }


def test_every_module_is_on_a_floor(known: dict[str, Path]) -> None:
    rooms = {room_of(module) for module in known if module.startswith("hoster.")}

    assert set() == rooms - {room for floor in FLOORS for room in floor.rooms}
    assert set() == {room for floor in FLOORS for room in floor.rooms} - rooms


def test_no_import_goes_up(known: dict[str, Path], imported: dict[str, frozenset[str]]) -> None:
    assert set() == upward(known, imported)


def test_no_modules_import_each_other_in_a_circle(imported: dict[str, frozenset[str]]) -> None:
    # A package that hands on what its modules hold is imported by them where they meet it.
    direct = {
        module: frozenset(name for name in names if not module.startswith(f"{name}."))
        for module, names in imported.items()
    }

    assert [] == circle(direct)


def test_no_rooms_import_each_other_in_a_circle(imported: dict[str, frozenset[str]]) -> None:
    rooms: dict[str, set[str]] = {}
    for module, names in imported.items():
        if module.startswith("hoster."):
            mine = rooms.setdefault(room_of(module), set())
            mine |= {room_of(name) for name in names if name.startswith("hoster.")}

    assert [] == circle({room: frozenset(others - {room}) for room, others in rooms.items()})


def test_what_is_judged_touches_nothing_outside(known: dict[str, Path]) -> None:
    """Rules, and what both machines say: values in, values out."""
    pure = {
        module: path
        for module, path in known.items()
        if module.startswith("hoster.") and floor_of(module) in {"rules", "wire", "base"}
    }
    touching = {
        (module, one.name)
        for module, path in pure.items()
        for one in imports(path)
        if one.name.partition(".")[0] in OUTSIDE and not one.for_types
    }

    assert pure
    assert set() == touching


def test_acts_print_nothing(known: dict[str, Path]) -> None:
    acts = [path for module, path in known.items() if module.startswith("hoster.acts.")]

    assert acts
    assert set() == {name for path in acts for name in outside(path) & {"click", "rich_click"}}
    assert set() == {path.name for path in acts for name in called(path) if name == "print"}


def test_a_node_needs_little(known: dict[str, Path], imported: dict[str, frozenset[str]]) -> None:
    """Whatever the agent loads: Python, dpkt, and nothing of the control side."""
    agent = [module for module in known if module.startswith("hoster.node")]
    loaded = reached(agent, imported)

    assert set() == {name for module in loaded for name in outside(known[module])} - NODE_NEEDS
    assert {"node", "wire", "rules", "base"} >= {
        floor_of(module) for module in loaded if module != "hoster"
    }


def test_the_packages_that_a_node_loads_load_nothing_themselves(
    known: dict[str, Path], imported: dict[str, frozenset[str]]
) -> None:
    agent = [module for module in known if module.startswith("hoster.node")]
    packages = {module for module in reached(agent, imported) if known[module].stem == "__init__"}

    assert [] == [
        (module, one.name)
        for module in sorted(packages - {"hoster.node"})
        for one in imports(known[module])
        if one.name.startswith(OURS)
    ]


def test_the_provider_knows_nothing_of_the_business(imported: dict[str, frozenset[str]]) -> None:
    provider = {name: others for name, others in imported.items() if "libvirt_provider" in name}

    assert provider
    assert set() == {
        (name, other)
        for name, others in provider.items()
        for other in others
        if not other.startswith("libvirt_provider")
    }


def test_what_ships_does_not_need_the_lab(imported: dict[str, frozenset[str]]) -> None:
    assert set() == {
        (name, other)
        for name, others in imported.items()
        if not name.startswith("hoster_lab")
        for other in others
        if other.startswith("hoster_lab")
    }


def test_the_python_of_ansible_is_for_its_plugins_alone(known: dict[str, Path]) -> None:
    ships = {name: path for name, path in known.items() if not name.startswith("hoster_lab")}

    assert ships
    assert [] == [name for name, path in ships.items() if "ansible" in outside(path)]


def test_a_plugin_of_ansible_wraps_the_toolkit_and_nothing_else(root: Path) -> None:
    sources = sorted((root / "plugins").rglob("*.py"))

    assert sources
    assert set() == {name for path in sources for name in outside(path)} - {"ansible"}


def test_no_import_is_above_all(imported: dict[str, frozenset[str]]) -> None:
    """What nothing imports is a face of its own kind: a program, named as one."""
    used = {other for others in imported.values() for other in others}

    assert set() == {f"hoster.{name}" for name in ABOVE_ALL} & used


def test_an_upward_import_is_seen(tmp_path: Path) -> None:
    for name, text in {
        "orders/placement.py": "def judge():\n    from hoster import ledger\n",
        "ledger/__init__.py": "",
        "orders/__init__.py": "",
        "__init__.py": "",
    }.items():
        path = tmp_path / "hoster" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    known = modules(tmp_path)

    assert {"hoster.orders.placement imports hoster.ledger"} == upward(known, graph(known))


def test_an_import_for_types_alone_is_no_import(tmp_path: Path) -> None:
    path = tmp_path / "placement.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlalchemy\nimport lxml\n"
    )

    assert {"lxml"} == outside(path)


def test_a_circle_is_seen() -> None:
    among = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"})}

    assert {"a", "b", "c"} == set(circle(among))
