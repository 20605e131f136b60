"""What Ansible is told of the VPSs: each host node's own, out of the declarations alone.

Its plugins (``plugins/``) are a few lines around this; nothing here knows of Ansible.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hoster.errors import ConfigurationError
from hoster.orders.declarations import CONFIG_VPS, Declarations
from hoster.problems import Problem, near
from hoster.project import Project, yaml_files
from hoster.project.declarations import read, read_all
from hoster.wire import names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from hoster.orders.declarations import VpsDeclaration

NODE_GROUP = "host_nodes"
"""The inventory's group of all host nodes."""
VARIABLE = "declared_vps"
"""The variable that each of them gets."""


def facts(vps: VpsDeclaration) -> dict[str, str]:
    """Return what an act of ops needs to know of *vps*, and nothing personal.

    ``domain`` is its name in libvirt, ``tap`` and ``mac`` its names on the wire. SSH keys stay
    out: their comments name people.
    """
    return {
        "client": vps.client,
        "name": vps.name,
        "full_name": vps.full_name,
        "domain": vps.domain,
        "plan": vps.plan,
        "image": vps.image,
        "location": vps.location,
        "ipv4": str(vps.ipv4),
        "tap": names.tap_name(vps.ipv4),
        "mac": names.mac_address(vps.ipv4),
    }


def by_node(declared: Declarations, nodes: Collection[str]) -> dict[str, list[dict[str, str]]]:
    """Return the facts of the VPSs of each of *nodes*, by full name; none of them is left out.

    Raises:
        ConfigurationError: something declared is not valid, or is on none of *nodes*. Every
            such place is told, by file and line.
    """
    nodes = frozenset(nodes)
    if not nodes and any(declared):
        raise ConfigurationError(
            "VPSs are declared, and the inventory has no host node to carry them",
            remedy=f"Give Ansible the whole folder inventory/: hosts.yml fills {NODE_GROUP}.",
        )
    problems = [problem for client in declared.clients for problem in client.problems]
    problems += _lost(declared, nodes)
    if problems:
        raise _refusal(problems)
    found: dict[str, list[dict[str, str]]] = {node: [] for node in nodes}
    for vps in declared:
        found[vps.node].append(facts(vps))
    for each in found.values():
        each.sort(key=lambda vps: vps["full_name"])
    return found


def project_of(sources: Iterable[Path]) -> Project:
    """Return the project whose inventory is one of *sources*: the folder, or a file in it.

    Neither the working directory nor ``HOSTER_PROJECT`` has a say: an inventory means the same
    from everywhere.

    Raises:
        ConfigurationError: no ``pulumi/`` lies beside any of them.
    """
    sources = tuple(sources)
    for source in sources:
        inventory = (source if source.is_dir() else source.parent).absolute()
        project = Project(inventory.parent)
        if source.exists() and project.program.is_dir():
            return project
    raise ConfigurationError(
        f"no pulumi/ lies beside the inventory ({', '.join(map(str, sources))}): "
        "nothing says what is declared",
        remedy="Keep inventory/ and pulumi/ side by side, and give Ansible the first.",
    )


def read_by_node(project: Project, nodes: Collection[str]) -> dict[str, list[dict[str, str]]]:
    """Read all declarations and return them as `by_node` does.

    Raises:
        ConfigurationError: a file is no YAML, or what `by_node` says.
    """
    with _collector_paused():
        return by_node(read_all(project), nodes)


def find(project: Project, full_name: str, nodes: Collection[str]) -> dict[str, str]:
    """Return the facts of one VPS and its ``node``; of all files, only its client's is read.

    Raises:
        ConfigurationError: it is not declared (near names are told), or its file is not valid.
    """
    client = names.client_of(full_name)
    file = project.declaration(client)
    declared = Declarations((read(file),)) if file.is_file() else Declarations()
    for node, each in by_node(declared, nodes).items():
        for vps in each:
            if vps["full_name"] == full_name:
                return {**vps, "node": node}
    known = [vps.full_name for vps in (declared if declared.clients else read_all(project))]
    raise ConfigurationError(
        f"nothing is declared as {full_name}{near(full_name, known)}",
        remedy="Name a VPS as client/vps; `hoster show` lists them.",
    )


def _lost(declared: Declarations, nodes: frozenset[str]) -> list[Problem]:
    unknown = {vps.node for vps in declared} - nodes
    hints = {node: near(node, nodes) for node in unknown}
    return [
        Problem(
            client.file,
            ("config", CONFIG_VPS, vps.name, "node"),
            f"unknown host node {vps.node}{hints[vps.node]}",
        )
        for client in declared.clients
        for vps in client.vps
        if vps.node in unknown
    ]


def _refusal(problems: Iterable[Problem]) -> ConfigurationError:
    places = sorted(
        (str(problem.file), yaml_files.line_of(problem.file, problem.keys), problem.text)
        for problem in sorted(problems, key=lambda problem: str(problem.file))
    )
    return ConfigurationError(
        "\n".join(f"{file}:{line}: {text}" for file, line, text in places),
        remedy="Mend the declarations; `hoster check` judges them by every rule.",
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Make objects by the ten thousand without searching them all for garbage again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
