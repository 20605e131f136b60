"""A role's `meta/argument_specs.yml` is its interface; its defaults say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).parents[2] / "roles").glob("*") if path.is_dir())


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {} if path.is_file() else {}


def all_options(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by their path, those inside others too."""
    found = {}
    for name, spec in options.items():
        found[prefix + name] = spec
        found |= all_options(spec.get("options") or {}, f"{prefix}{name}.")
    return found


def problems(role: Path) -> list[str]:
    """How *role*'s defaults and its specification disagree."""
    spec = load(role / "meta/argument_specs.yml").get("argument_specs", {})
    defaults = load(role / "defaults/main.yml")
    options: dict[str, Any] = {}
    for entry in spec.values():
        options |= entry.get("options") or {}
    declared = {name: option["default"] for name, option in options.items() if "default" in option}
    return [
        *(["no argument_specs of an entry point main"] if "main" not in spec else []),
        *(f"entry point {name} has no short_description" for name, entry in spec.items()
          if not entry.get("short_description")),
        *(f"default {name} is not in the spec" for name in defaults.keys() - options.keys()),
        *(f"spec default of {name} is not in defaults"
          for name in declared.keys() - defaults.keys()),
        *(f"default {name}: {defaults[name]!r}, in the spec {declared.get(name)!r}"
          for name in defaults.keys() & options.keys() if defaults[name] != declared.get(name)),
        *(f"{name} is required and has a default" for name, option in options.items()
          if option.get("required") and name in defaults),
        *(f"{name} has not the prefix {role.name}_" for name in defaults.keys() | options.keys()
          if not name.startswith(f"{role.name}_")),
        *(f"{name} has no description" for name, option in all_options(options).items()
          if not option.get("description")),
    ]  # fmt: skip


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_specification_agree(role: Path) -> None:
    assert [] == problems(role)


def test_every_way_to_disagree_is_seen(tmp_path: Path) -> None:
    role = tmp_path / "node"
    (role / "meta").mkdir(parents=True)
    (role / "defaults").mkdir()
    (role / "meta/argument_specs.yml").write_text(
        yaml.safe_dump({"argument_specs": {"main": {"options": {
            "node_pool": {"description": "Pool", "default": "vps"},
            "node_bridge": {"default": "br0", "options": {"mtu": {}}},
            "node_name": {"description": "Name", "required": True},
        }}}})
    )  # fmt: skip
    (role / "defaults/main.yml").write_text("node_pool: other\nnode_name: n\npool: x\n")

    assert {
        "entry point main has no short_description",
        "default pool is not in the spec",
        "spec default of node_bridge is not in defaults",
        "default node_pool: 'other', in the spec 'vps'",
        "default node_name: 'n', in the spec None",
        "node_name is required and has a default",
        "pool has not the prefix node_",
        "node_bridge has no description",
        "node_bridge.mtu has no description",
    } == set(problems(role))
