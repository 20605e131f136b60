"""Host nodes are asked by real SSH, through a login shell, as in the field (C4.9)."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
import yaml

from hoster.errors import ConfigurationError, ToolError
from hoster.fleet import events, ssh
from hoster.fleet.events import Answer
from hoster.fleet.ssh import NoAnswerError, NodeSsh
from hoster.node.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hoster.project import Project

AT = datetime(2026, 3, 15, 10, tzinfo=UTC)
LOGIN = """#!/bin/sh
PATH={bin}:/usr/bin:/bin exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""
AGENT = 'exec {python} -m hoster.node --state {state} "$@"'
MADE_ANEW = """
{python} -m hoster.node --state {state} "$@"
rm -f {state}*
exec {python} -c '
from datetime import datetime, UTC
from pathlib import Path
from hoster.node.store import Store
store = Store(Path("{state}"))
with store.hold():
    store.append(datetime.now(UTC), "vps-new", "acme/web")
'
"""
SUDO = '[ "$1" = -n ] && shift && echo became root >>{said} && exec "$@"'


def nothing(_stream: str) -> int:
    """What is known of a stream, where nothing is."""
    return 0


@dataclass
class Servers:
    """A server of its own for each node; ``hoster-node`` there is what a test says it is."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    _running: list[Any] = field(default_factory=list)
    _tasks: set[Any] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for name in ("key", "host_key"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(argv, check=True)

    def start(self, name: str, hoster_node: str = AGENT) -> NodeSsh:
        """Serve a node whose ``hoster-node`` is that shell script."""
        here = self.folder / name
        (here / "bin").mkdir(parents=True)
        self.script(name, "login", LOGIN.format(bin=here / "bin"))
        self.script(name, "bin/sudo", SUDO.format(said=here / "sudo.log"))
        if hoster_node:
            agent = {"python": sys.executable, "state": self.state(name), "here": here}
            self.script(name, "bin/hoster-node", hoster_node.format(**agent))
        serving = asyncio.run_coroutine_threadsafe(self._serve(here), self._loop)
        self._running.append(server := serving.result(20))
        port = self.ports[name] = server.sockets[0].getsockname()[1]
        with (self.folder / "known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{port} {(self.folder / 'host_key.pub').read_text()}")
        return self.reach(name)

    async def _serve(self, here: Path) -> Any:
        async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
            self._tasks.add(task := asyncio.current_task())
            run = await asyncio.create_subprocess_exec(
                str(here / "login"),
                env=os.environ | {"SSH_ORIGINAL_COMMAND": process.command or ""},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            try:
                out, err = await run.communicate()
            finally:
                if run.returncode is None:
                    run.kill()
                    await run.wait()
                self._tasks.discard(task)
            process.stdout.write(out)
            process.stderr.write(err)
            process.exit(255 if run.returncode is None or run.returncode < 0 else run.returncode)

        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(self.folder / "host_key")],
            authorized_client_keys=str(self.folder / "key.pub"),
            process_factory=handle,
            encoding=None,
        )

    def script(self, name: str, path: str, content: str) -> None:
        """Write a program of a node."""
        file = self.folder / name / path
        file.write_text(content if content.startswith("#!") else f"#!/bin/sh\n{content}\n")
        file.chmod(0o755)

    def state(self, name: str) -> Path:
        """The file of a node's agent."""
        return self.folder / name / "state" / "node.sqlite"

    def happens(self, name: str, times: int = 1) -> None:
        """Something happens on a node."""
        with closing(Store(self.state(name))) as store, store.hold():
            for _ in range(times):
                store.append(AT, "throttle", "acme/web", rate="1 Mbit/s, «à l'heure»")

    @property
    def arguments(self) -> list[str]:
        """What ``ssh`` needs to know of all of them."""
        known = f"UserKnownHostsFile={self.folder / 'known_hosts'}"
        return ["-F", "none", "-o", known, "-o", "IdentitiesOnly=yes"]

    def reach(self, name: str, *, becomes_root: bool = False) -> NodeSsh:
        """How a node is reached."""
        key, port = str(self.folder / "key"), str(self.ports[name])
        place = ("-i", key, "-p", port, "127.0.0.1")
        return NodeSsh(name, (*self.arguments, *place), becomes_root)

    def stop(self) -> None:
        for file in self.folder.glob("*/hangs.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)

        async def close() -> None:
            for server in self._running:
                server.close()
                await server.wait_closed()
            left = list(self._tasks)
            for task in left:  # of a node that somebody waited for no longer
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    folder = tmp_path / "ssh"
    folder.mkdir()
    served = Servers(folder)
    try:
        yield served
    finally:
        served.stop()


def collected(*asked: NodeSsh, seconds: float = 20) -> dict[str, Answer]:
    by_name = {node.name: node for node in asked}
    answers = events.collect(by_name, {}, known=nothing, seconds=seconds, at_once=8)
    return {answer.node: answer for answer in answers}


def test_who_answers_and_who_does_not_is_told_of_each(servers: Servers) -> None:
    """C4.10: one node's trouble hinders no other."""
    for name in ("paris-1", "paris-2"):
        servers.happens(name, 2)
    broken = {
        "hangs": "echo $$ >{here}/hangs.pid; exec sleep 60",
        "chatters": "echo Welcome; exit 0",
        "has-no-agent": "",
        "fails": "echo 'a warning' >&2; echo 'hoster-node: the disk is full' >&2; exit 1",
        "ends": "exit 3",
        "dies": "kill -9 $$",
    }
    asked = [servers.start(name) for name in ("paris-1", "paris-2")]
    asked += [servers.start(name, script) for name, script in broken.items()]
    with socket.create_server(("127.0.0.1", 0)) as free:
        servers.ports["refuses"] = free.getsockname()[1]
    asked.append(servers.reach("refuses"))

    answers = collected(*asked, seconds=6)

    assert sorted(node.name for node in asked) == sorted(answers)
    assert [2, 2] == [len(answers[name].events) for name in ("paris-1", "paris-2")]
    details = {"rate": "1 Mbit/s, «à l'heure»"}
    assert [details] * 2 == [one.details for one in answers["paris-1"].events]
    troubles = {name: one.trouble for name, one in answers.items() if one.trouble}
    assert "refused" in troubles.pop("refuses")
    assert "no answer within 6 s" == troubles.pop("hangs")
    assert "line 1 is no event: 'Welcome'" in troubles.pop("chatters")
    assert "hoster-node is not installed" in troubles["has-no-agent"]
    assert "configure-nodes.yml" in troubles.pop("has-no-agent")
    assert "hoster-node: the disk is full" == troubles.pop("fails")
    assert "ended with 3" == troubles.pop("ends")
    assert troubles.pop("dies")
    assert {} == troubles


def test_a_host_key_that_nobody_knows_is_no_node(servers: Servers) -> None:
    node = servers.start("paris-1")
    (servers.folder / "known_hosts").write_text("")

    with pytest.raises(NoAnswerError, match="verification failed"):
        node.run("hoster-node", "events", seconds=10)


def test_a_command_reaches_the_node_word_for_word(servers: Servers) -> None:
    node = servers.start("paris-1", 'for word in "$@"; do echo "<$word>"; done')
    words = ("two words", "it's", "$HOME", "a;b", "*", "")

    assert "".join(f"<{word}>\n" for word in words) == node.run("hoster-node", *words, seconds=20)


def test_who_is_not_root_there_becomes_root(servers: Servers) -> None:
    servers.start("paris-1")
    servers.happens("paris-1")

    [answer] = collected(servers.reach("paris-1", becomes_root=True)).values()

    assert ("", 1) == (answer.trouble, len(answer.events))
    assert "became root\n" == (servers.folder / "paris-1" / "sudo.log").read_text()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 7])
def test_all_pages_are_asked_for(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(events, "PAGE", 3)
    servers.happens("paris-1", count)

    [answer] = collected(servers.start("paris-1")).values()

    assert list(range(1, count + 1)) == [event.number for event in answer.events]


def test_a_state_made_anew_between_two_pages_mixes_no_streams(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is of the old one is kept; the next run asks for the new one."""
    monkeypatch.setattr(events, "PAGE", 2)
    node = servers.start("paris-1", MADE_ANEW)
    servers.happens("paris-1", 5)
    first = Store(servers.state("paris-1")).events()[0].stream

    [answer] = collected(node).values()
    [again] = collected(node).values()

    assert [(first, 1), (first, 2)] == [(one.stream, one.number) for one in answer.events]
    assert [1] == [one.number for one in again.events]
    assert first != again.events[0].stream


def test_a_node_of_another_name_is_asked_for_what_is_not_known(servers: Servers) -> None:
    """Its stream says what was collected of it, whatever it was called then."""
    node = servers.start("paris-9")
    servers.happens("paris-9", 5)
    stream = Store(servers.state("paris-9")).events()[0].stream
    asked = {"paris-9": node}

    [answer] = events.collect(asked, {}, known={stream: 3}.__getitem__, seconds=20, at_once=1)

    assert [4, 5] == [one.number for one in answer.events]


def write_hosts(project: Project, servers: Servers, **variables: object) -> None:
    file = project.inventory / "hosts.yml"
    content = yaml.safe_load(file.read_text())
    group = content["all"]["children"]["host_nodes"]
    group["vars"] = {
        "ansible_private_key_file": str(servers.folder / "key"),
        "ansible_ssh_common_args": shlex.join(servers.arguments),
        **variables,
    }
    for location in group["children"].values():
        for name, node in location["hosts"].items():
            node |= {"ansible_host": "127.0.0.1", "ansible_port": servers.ports[name]}
    file.write_text(yaml.safe_dump(content))


def test_the_inventory_that_ansible_reaches_a_node_by_is_enough(
    servers: Servers, project: Project
) -> None:
    """The same variables, the same nodes, the same words from them."""
    for name in ("paris-1", "roubaix-1"):
        servers.start(name)
        servers.happens(name, 2)
    write_hosts(project, servers)
    ansible = [
        *(str(Path(sys.executable).with_name("ansible")), "host_nodes"),
        *("--inventory", str(project.inventory / "hosts.yml")),
        *("--module-name", "ansible.builtin.raw", "--args", "hoster-node events --json"),
        *("--tree", str(servers.folder / "said")),
    ]
    subprocess.run(ansible, cwd=project.root, check=True, capture_output=True)
    by_ansible = {
        file.name: len(yaml.safe_load(file.read_text())["stdout_lines"])
        for file in (servers.folder / "said").iterdir()
    }

    answers = collected(*ssh.nodes(project).values())

    assert {"paris-1": 2, "roubaix-1": 2} == by_ansible
    assert by_ansible == {name: len(answer.events) for name, answer in answers.items()}


def test_an_inventory_that_ansible_refuses_is_told(project: Project) -> None:
    (project.inventory / "hosts.yml").write_text("all: [")

    with pytest.raises(ToolError, match="ansible-inventory failed"):
        ssh.nodes(project)


@pytest.mark.parametrize(
    "variable",
    ["ansible_host", "ansible_port", "ansible_user", "ansible_become", "ansible_ssh_extra_args"],
)
def test_a_value_that_only_ansible_reads_is_refused_with_a_remedy(
    project: Project, variable: str
) -> None:
    file = project.inventory / "hosts.yml"
    content = yaml.safe_load(file.read_text())
    paris = content["all"]["children"]["host_nodes"]["children"]["paris"]
    paris["hosts"]["paris-1"][variable] = "{{ somewhere }}"
    file.write_text(yaml.safe_dump(content))

    with pytest.raises(ConfigurationError, match=f"paris-1: {variable} is a template") as caught:
        ssh.nodes(project)
    assert "Write its value." == caught.value.remedy
