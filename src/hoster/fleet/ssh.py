"""Asks the host nodes' agents over the SSH that Ansible uses, many at a time."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from hoster.addresses import TAP_PREFIX
from hoster.drift import Domain, NodeFacts
from hoster.errors import ConfigurationError, HosterError, ToolError
from hoster.host_vars import NODE_GROUP
from hoster.node.errors import InvalidMetadataError
from hoster.node.vps import vps_of_domain
from hoster.node_events import NodeEvent, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hoster.project import Project

PAGE = 5_000
"""Events in one answer."""
MOST_PAGES = 100
INVENTORY_SECONDS = 60
_NO_SUCH_COMMAND = 127
_VIRSH = ("virsh", "--quiet", "--readonly", "--connect", "qemu:///system")
_MARK = "hoster:next"
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


@dataclass(frozen=True)
class Answer:
    """What one node answered: its events, or why there are none."""

    node: str
    events: list[NodeEvent]
    trouble: str = ""


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


def collect(
    asked: Mapping[str, NodeSsh],
    last: Mapping[str, tuple[str, int]],
    *,
    known: Callable[[str], int],
    seconds: float,
    at_once: int,
) -> Iterator[Answer]:
    """Yield each node's answer as it comes: its events after the *last* (stream, number) of it.

    Where its stream is another one than that, only those after the number that is *known* of this
    stream: the node has another name, or an earlier state again. At most *at_once* nodes are asked
    at a time, and each has *seconds* for an answer.
    """
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        waiting = [
            pool.submit(_ask, node, last.get(name), known, seconds) for name, node in asked.items()
        ]
        for done in as_completed(waiting):
            yield done.result()


def facts(node: NodeSsh, *, seconds: float) -> NodeFacts:
    """Return what *node* says of its domains, its agent's VPSs and its taps.

    Raises:
        NoAnswerError: the node is out of reach, or something on it failed.
    """
    listed = node.run(*_VIRSH, "list --all --name", seconds=seconds).split("\n")
    domains = []
    if names := [shlex.quote(name) for name in listed if name]:
        # One connection for all; what comes after a command that failed comes all the same, and
        # only the last one's failure counts: a domain may have no disk, or be gone by now.
        each = [f"echo {_MARK}; dumpxml {it}; domblkinfo {it} vda" for it in names]
        asked = "; ".join([*each, f"echo {_MARK}"])
        said = node.run(*_VIRSH, asked, seconds=seconds)
        domains = [domain_of(text) for text in said.split(_MARK) if "<domain" in text]
    agent = json.loads(node.run("hoster-node", "status", "--json", seconds=seconds))
    links = node.run("ls", "/sys/class/net", seconds=seconds).split()
    taps = [name for name in links if name.startswith(TAP_PREFIX)]
    return NodeFacts(node.name, domains, agent, taps)


def domain_of(text: str) -> Domain:
    """Return what `virsh` printed of a domain: its XML, and the sizes of its first disk."""
    xml, _, sizes = text.partition("</domain>")
    root = ElementTree.fromstring(f"{xml}</domain>")  # noqa: S314 - of our own node's libvirt
    try:
        vps = vps_of_domain(f"{xml}</domain>")
    except InvalidMetadataError:
        vps = None
    vcpu, tap = root.find("vcpu"), root.find("devices/interface/target")
    capacity = re.search(r"Capacity:\s+(\d+)", sizes)
    return Domain(
        name=root.findtext("name", ""),
        vps=vps.full_name if vps else "",
        plan=vps.plan if vps else "",
        ipv4=str(vps.ipv4) if vps else "",
        tap=tap.get("dev", "") if tap is not None else "",
        vcpus=int(vcpu.get("current") or vcpu.text or 0) if vcpu is not None else 0,
        memory_mib=int(root.findtext("memory", "0")) // 1024,
        disk_bytes=int(capacity[1]) if capacity else 0,
        is_running="id" in root.attrib,
    )


def _ask(
    node: NodeSsh, last: tuple[str, int] | None, known: Callable[[str], int], seconds: float
) -> Answer:
    events: list[NodeEvent] = []
    after = f"{last[0]}:{last[1]}" if last else "0"
    stream = last[0] if last else ""
    try:
        for _ in range(MOST_PAGES):
            page = parse(
                node.run(
                    *("hoster-node", "events", "--json"),
                    *("--limit", str(PAGE), "--after", after),
                    seconds=seconds,
                )
            )
            if page and page[0].stream != stream:
                if events:
                    break  # made anew between two pages: the next run asks for it
                stream = page[0].stream
                # Named, its number lets an agent with an older copy notice, and go on above it.
                if number := known(stream):
                    after = f"{stream}:{number}"
                    continue
            events += page
            if len(page) < PAGE:
                break
            after = page[-1].id
    except HosterError as error:
        return Answer(node.name, [], error.message)
    return Answer(node.name, events)
