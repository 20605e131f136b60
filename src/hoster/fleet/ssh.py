"""Asks the host nodes' agents over the SSH that Ansible uses, many at a time."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoster.errors import ConfigurationError, HosterError, ToolError
from hoster.project.host_vars import NODE_GROUP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hoster.project import Project

INVENTORY_SECONDS = 60
_NO_SUCH_COMMAND = 127
_NO_PART_LEFT_OUT = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
"""Otherwise an inventory that cannot be read is one without nodes, all of whom have answered."""


class NoAnswerError(HosterError):
    """A host node could not be reached, or its agent failed; the message says which."""


@dataclass(frozen=True)
class NodeSsh:
    """How Ansible reaches one host node: its address, and ``ssh``'s arguments."""

    name: str
    arguments: tuple[str, ...]
    becomes_root: bool = False

    def run(self, *command: str, seconds: float) -> str:
        """Run *command* on the node and return what it prints.

        Raises:
            NoAnswerError: the node is out of reach, took longer, or the command failed.
        """
        remote = shlex.join(("sudo", "-n", *command) if self.becomes_root else command)
        connect = max(int(seconds / 2), 1)
        argv = [
            *("ssh", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-T"),
            *("-o", f"ConnectTimeout={connect}", "-o", f"ServerAliveInterval={connect}"),
            *(*self.arguments, "--", remote),
        ]
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NoAnswerError(f"no answer within {seconds:g} s") from None
        except FileNotFoundError as error:
            raise ToolError("ssh is not installed", remedy="apt install openssh-client") from error
        if done.returncode == _NO_SUCH_COMMAND:
            raise NoAnswerError(
                f"{command[0]} is not installed: ansible-playbook playbooks/configure-nodes.yml"
            )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            raise NoAnswerError(said[-1])
        return done.stdout


def nodes(project: Project) -> dict[str, NodeSsh]:
    """Return every host node of the project's ``inventory/hosts.yml`` by name, as Ansible sees it.

    Raises:
        ToolError: ``ansible-inventory`` cannot read the inventory.
        ConfigurationError: a node is reached in a way that only Ansible knows.
    """
    # Of that file alone: with the VPSs in it, thousands of declarations would be read.
    content = _inventory(project, project.inventory / "hosts.yml")
    variables = content["_meta"]["hostvars"]
    return {name: _node(name, variables.get(name, {})) for name in _hosts(content, NODE_GROUP)}


def _inventory(project: Project, hosts: Path) -> dict[str, Any]:
    program = Path(sys.executable).with_name("ansible-inventory")
    argv = [str(program), "--inventory", str(hosts), "--list"]
    try:
        done = subprocess.run(
            argv,
            cwd=project.root,
            env=os.environ | _NO_PART_LEFT_OUT,
            capture_output=True,
            text=True,
            timeout=INVENTORY_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolError(f"{program.name} is not installed", remedy="scripts/setup") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{program.name} took over {INVENTORY_SECONDS} s") from error
    if done.returncode != 0:
        raise ToolError(
            f"{hosts}: {program.name} failed:\n{done.stderr.strip()}", remedy="hoster check"
        )
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _hosts(content: Mapping[str, Any], group: str) -> list[str]:
    here = content.get(group, {})
    found = list(here.get("hosts", ()))
    for child in here.get("children", ()):
        found += _hosts(content, child)
    return sorted(set(found))


def _node(name: str, variables: Mapping[str, Any]) -> NodeSsh:
    def said(*keys: str) -> str:
        for key in keys:
            value = variables.get(key)
            if "{{" in str(value):
                raise ConfigurationError(
                    f"inventory: {name}: {key} is a template, which only Ansible reads",
                    remedy="Write its value.",
                )
            if value is not None:
                return str(value)
        return ""

    arguments = shlex.split(said("ansible_ssh_common_args"))
    arguments += shlex.split(said("ansible_ssh_extra_args"))
    for option, value in (
        ("-i", said("ansible_private_key_file", "ansible_ssh_private_key_file")),
        ("-p", said("ansible_port", "ansible_ssh_port")),
        ("-l", said("ansible_user", "ansible_ssh_user")),
    ):
        arguments += [option, value] if value else []
    arguments.append(said("ansible_host", "ansible_ssh_host") or name)
    becomes = said("ansible_become").lower() in {"true", "yes", "1"}
    return NodeSsh(name, tuple(arguments), becomes)
