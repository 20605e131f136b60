"""Reads the catalogue out of ``inventory/``, and says everything that is wrong with it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hoster import catalogue as model
from hoster.catalogue import Catalogue
from hoster.errors import ConfigurationError
from hoster.problems import Problem, near, problems_of
from hoster.project import yaml_files

if TYPE_CHECKING:
    from pathlib import Path

VARIABLES = ("plans", "images", "locations", "policy", "network", "company")
_HOST_KEYS = ("libvirt_uri", "domain_type", "node_capacity")
_OPEN_PREFIXES = ("ansible_", "host_node_", "packet_filter_", "bandwidth_", "node_agent_")
_KNOWN_KEYS = sorted(
    {
        field
        for value in vars(model).values()
        if isinstance(value, type) and issubclass(value, model.Value)
        for field in value.model_fields
    }
)


class InventoryError(ConfigurationError):
    """The inventory is not valid; ``problems`` holds every reason, and the message says them."""

    def __init__(self, root: Path, problems: list[Problem]) -> None:
        self.problems = problems
        lines = [
            f"{problem.file.relative_to(root)}:{yaml_files.line_of(problem.file, problem.keys)}: "
            f"{problem.key}: {problem.text}"
            for problem in problems
        ]
        super().__init__("\n".join(lines), remedy=f"{len(lines)} to mend, in {root}.")


def load_catalogue(folder: Path) -> Catalogue:
    """Read and validate *folder* (an ``inventory/``).

    Raises:
        InventoryError: with every problem: file, line, key, what is wrong, what is allowed.
        ConfigurationError: a file is no YAML, or has a key twice.
    """
    found: dict[str, tuple[Path, Any]] = {}
    problems: list[Problem] = []
    for file in sorted((folder / "group_vars" / "all").glob("*.yml")):
        for name, value in _mapping(file).items():
            if name in VARIABLES:
                found[name] = (file, value)
    hosts = folder / "hosts.yml"
    nodes, node_keys = _nodes(hosts, problems)
    data = {name: value for name, (_, value) in found.items()} | {"nodes": nodes}
    try:
        catalogue = Catalogue.model_validate(data)
    except ValidationError as error:
        problems += _placed(error, found, hosts, node_keys, folder)
        raise InventoryError(folder, problems) from error
    problems += [
        _contradiction(keys, text, found, hosts, node_keys)
        for keys, text in catalogue.contradictions()
    ]
    if problems:
        raise InventoryError(folder, problems)
    return catalogue


def _mapping(file: Path) -> dict[str, Any]:
    data = yaml_files.load(file)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigurationError(f"{file}:1: a mapping of variables is wanted here")
    return data


def _nodes(
    hosts: Path, problems: list[Problem]
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Return what each host says of itself, and the path of its keys in the file."""
    above = ("all", "children", "host_nodes", "children")
    group: Any = _mapping(hosts)
    for key in above:
        group = group.get(key) if isinstance(group, dict) else None
    if not isinstance(group, dict):
        raise ConfigurationError(f"{hosts}: the locations belong under {'.'.join(above)}")
    nodes: dict[str, Any] = {}
    places: dict[str, tuple[str, ...]] = {}
    for location, content in group.items():
        for name, variables in ((content or {}).get("hosts") or {}).items():
            path = (*above, location, "hosts", name)
            if name in nodes:
                problems.append(Problem(hosts, path, f"is at {nodes[name]['location']} already"))
            problems += _unknown(hosts, path, variables or {})
            nodes[name], places[name] = _node(name, location, variables or {}), path
    return nodes, places


def _unknown(hosts: Path, path: tuple[str, ...], variables: dict[str, Any]) -> list[Problem]:
    return [
        Problem(hosts, (*path, key), f"unknown key{near(key, (*_HOST_KEYS, 'ansible_host'))}")
        for key in variables
        if key not in _HOST_KEYS and not key.startswith(_OPEN_PREFIXES)
    ]


def _node(name: str, location: str, variables: dict[str, Any]) -> dict[str, Any]:
    address = variables.get("ansible_host", name)
    node = {
        "name": name,
        "location": location,
        "libvirt_uri": variables.get("libvirt_uri", f"qemu+ssh://root@{address}/system"),
    }
    optional = {"domain_type": "domain_type", "node_capacity": "capacity"}
    return node | {field: variables[key] for key, field in optional.items() if key in variables}


def _placed(
    error: ValidationError,
    found: dict[str, tuple[Path, Any]],
    hosts: Path,
    node_keys: dict[str, tuple[str, ...]],
    folder: Path,
) -> list[Problem]:
    placed = []
    for problem in problems_of(folder, (), error, _KNOWN_KEYS):
        section, *rest = problem.keys
        if section == "nodes":
            placed.append(_in_hosts(hosts, node_keys, rest, problem.text))
        elif section in found:
            placed.append(Problem(found[section][0], problem.keys, problem.text))
        else:
            file = folder / "hosts.yml"
            placed.append(Problem(file, (), f"no file in group_vars/all says «{section}»"))
    return placed


def _in_hosts(
    hosts: Path, node_keys: dict[str, tuple[str, ...]], rest: list[str], text: str
) -> Problem:
    name, *keys = rest
    translated = ["node_capacity" if key == "capacity" else key for key in keys]
    return Problem(hosts, (*node_keys.get(name, ()), *translated), text)


def _contradiction(
    keys: tuple[str, ...],
    text: str,
    found: dict[str, tuple[Path, Any]],
    hosts: Path,
    node_keys: dict[str, tuple[str, ...]],
) -> Problem:
    if keys[0] == "hosts":
        return Problem(hosts, node_keys[keys[1]], text)
    return Problem(found[keys[0]][0], keys, text)
