"""`hoster collect` and `hoster events`, over real SSH from real agents' states (C4.9, C4.10)."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
import yaml
from click.testing import CliRunner

from hoster.cli import cli
from hoster.clients.contact import Client
from hoster.errors import ConfigurationError, ExitCode, HosterError
from hoster.fleet import events
from hoster.fleet import ssh as node_ssh
from hoster.ledger import Ledger
from hoster.node.store import Store
from hoster.project import Project

if TYPE_CHECKING:
    from conftest import MailServer

QUOTA = {
    "ipv4": "203.0.113.17",
    "timezone": "Europe/Paris",
    "bytes": 8_120_000_000_000,
    "quota_bytes": 10**13,
    "throttle_mbit_s": 1,
    "cycle_start": "2026-03-01T00:00:00+01:00",
    "cycle_end": "2026-04-01T00:00:00+02:00",
}
AT = datetime(2026, 3, 15, 10, tzinfo=UTC)


@dataclass
class Ssh:
    """An SSH server on a port of its own for each node; ``answers`` says what a node does."""

    folder: Path
    answers: dict[str, Callable[[str], list[str]]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.key = self.folder / "key"
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(self.key)
        self.key.chmod(0o600)
        self._authorized = self.folder / "authorized"
        public = asyncssh.read_private_key(self.key).export_public_key()
        self._authorized.write_bytes(public)
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._servers: list[Any] = []
        self._tasks: set[Any] = set()

    def node(self, name: str) -> None:
        """Serve one more node."""
        self.answers[name] = lambda command: self.agent(name, command)
        serving = self._serve(name)
        server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(20)
        self._servers.append(server)
        self.ports[name] = server.sockets[0].getsockname()[1]
        known = [
            f"[127.0.0.1]:{port} {self._host_key.export_public_key().decode()}"
            for port in self.ports.values()
        ]
        (self.folder / "known_hosts").write_text("".join(known))

    async def _serve(self, name: str) -> Any:
        async def handle(process: asyncssh.SSHServerProcess[str]) -> None:
            self._tasks.add(task := asyncio.current_task())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            argv = self.answers[name](process.command or "")
            run = await asyncio.create_subprocess_exec(
                *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            try:
                out, err = await run.communicate()
            finally:
                if run.returncode is None:
                    run.kill()
                    await run.wait()
                self.at_once -= 1
                self._tasks.discard(task)
            process.stdout.write(out.decode(errors="replace"))
            process.stderr.write(err.decode(errors="replace"))
            process.exit(run.returncode or 0)

        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self._host_key],
            authorized_client_keys=str(self._authorized),
            process_factory=handle,
        )

    def state(self, name: str) -> Path:
        """The file of a node's agent."""
        return self.folder / name / "node.sqlite"

    def agent(self, name: str, command: str) -> list[str]:
        """Return the command line of the real agent on the node's state."""
        program, *arguments = shlex.split(command)
        assert program == "hoster-node"
        state = ["--state", str(self.state(name))]
        return [sys.executable, "-m", "hoster.node", *state, *arguments]

    def happens(self, name: str, kind: str, subject: str = "acme/web", **details: Any) -> None:
        """Something happens on a node."""
        with closing(Store(self.state(name))) as store, store.hold():
            store.append(AT, kind, subject, **details)

    def stop(self) -> None:
        async def close() -> None:
            for server in self._servers:
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
def ssh(tmp_path: Path) -> Iterator[Ssh]:
    folder = tmp_path / "ssh"
    folder.mkdir()
    served = Ssh(folder)
    for name in ("paris-1", "roubaix-1"):
        served.node(name)
    yield served
    served.stop()


@pytest.fixture
def collecting(with_ledger: Project, ssh: Ssh, ada: Client, mail_server: MailServer) -> Project:
    """A company whose two host nodes are served, and whose mail server is the tests'."""
    project = with_ledger
    write_hosts(project, ssh)
    file = project.inventory / "group_vars" / "all" / "company.yml"
    content = yaml.safe_load(file.read_text())
    content["company"]["smtp"] = {"host": "127.0.0.1", "port": mail_server.port, "starttls": False}
    file.write_text(yaml.safe_dump(content))
    with Ledger.open(project.ledger_url) as ledger:
        ledger.clients.add(ada, AT)
    return project


def write_hosts(project: Project, ssh: Ssh) -> None:
    file = project.inventory / "hosts.yml"
    content = yaml.safe_load(file.read_text())
    group = content["all"]["children"]["host_nodes"]
    known = f"-o UserKnownHostsFile='{ssh.folder / 'known_hosts'}' -o IdentitiesOnly=yes"
    group["vars"] = {
        "ansible_user": "ops",
        "ansible_ssh_private_key_file": str(ssh.key),
        "ansible_ssh_common_args": f"-F none {known}",
    }
    for location in group["children"].values():
        for name, variables in location["hosts"].items():
            variables |= {"ansible_host": "127.0.0.1", "ansible_port": ssh.ports[name]}
    file.write_text(yaml.safe_dump(content))


def run(project: Project, *arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(cli, ["--project", str(project.root), *arguments, "--json"])
    if isinstance(done.exception, HosterError):
        raise done.exception
    assert code == done.exit_code, done.output
    return json.loads(done.stdout)


def test_events_are_collected_once_and_the_client_is_told_once(
    collecting: Project, ssh: Ssh, mail_server: MailServer
) -> None:
    """C4.9, C4.10."""
    ssh.happens("paris-1", "vps-new")
    ssh.happens("paris-1", "quota-80", **QUOTA)
    ssh.happens("roubaix-1", "unknown-tap", "tap0", packets=7)

    first = run(collecting, "collect")
    again = run(collecting, "collect")
    ssh.happens("paris-1", "quota-100", **QUOTA)
    third = run(collecting, "collect")

    assert [("paris-1", 2), ("roubaix-1", 1)] == [(n["node"], n["new"]) for n in first["nodes"]]
    assert (True, False, True) == (first["changed"], again["changed"], third["changed"])
    assert ["80 %", "Mbit/s"] == [
        next(word for word in ("80 %", "Mbit/s") if word in mail["Subject"])
        for mail in mail_server.taken
    ]
    assert "8,12 To sur les 10 To" in mail_server.taken[0].get_content()
    assert "15 mars 2026, 11:00 (Europe/Paris)" in mail_server.taken[0].get_content()
    kept = run(collecting, "events", "acme/web")["events"]
    assert ["vps-new", "quota-80", "quota-100"] == [one["kind"] for one in kept]
    [stranger] = run(collecting, "events", "--kind", "unknown-tap")["events"]
    assert ("roubaix-1", "tap0", {"packets": 7}) == tuple(
        stranger[key] for key in ("node", "subject", "details")
    )


def test_a_dry_run_tells_and_keeps_nothing(collecting: Project, ssh: Ssh) -> None:
    ssh.happens("paris-1", "quota-80", **QUOTA)

    told = run(collecting, "collect", "paris-1", "--dry-run")

    assert [1] == [len(node["mails"]) for node in told["nodes"]]
    assert [] == run(collecting, "events")["events"]
    assert [] == run(collecting, "outbox")["mails"]


def test_a_mail_server_that_is_away_loses_nothing(
    collecting: Project, ssh: Ssh, mail_server: MailServer
) -> None:
    ssh.happens("paris-1", "quota-80", **QUOTA)
    mail_server.stop()
    try:
        said = run(collecting, "collect", code=4)
    finally:
        mail_server.start()
    assert 1 == len(said["mails"]["later"])
    assert ["quota-80"] == [one["kind"] for one in run(collecting, "events")["events"]]
    run(collecting, "outbox", "retry", "1")  # its pause is over
    sent = run(collecting, "collect")
    assert (1, False) == (len(sent["mails"]["sent"]), sent["changed"])
    assert 1 == len(mail_server.taken)


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (["sleep", "30"], "no answer within 8 s"),
        (["echo", "Welcome to this node"], "line 1 is no event"),
        (["sh", "-c", "exit 127"], "hoster-node is not installed"),
        (["sh", "-c", "echo 'hoster-node: the disk is full' >&2; exit 1"], "the disk is full"),
        (["sh", "-c", "exit 3"], "ended with 3"),
    ],
)
def test_a_node_that_does_not_answer_is_named_and_hinders_no_other(
    collecting: Project, ssh: Ssh, answer: list[str], trouble: str
) -> None:
    ssh.happens("paris-1", "vps-new")
    ssh.happens("roubaix-1", "vps-new", "acme/db")
    ssh.answers["roubaix-1"] = lambda _command: answer

    said = run(collecting, "collect", "--timeout", "8", code=4)

    good, bad = said["nodes"]
    assert ("paris-1", "", 1) == (good["node"], good["trouble"], good["new"])
    assert trouble in bad["trouble"]
    ssh.answers["roubaix-1"] = lambda command: ssh.agent("roubaix-1", command)
    assert 1 == run(collecting, "collect")["nodes"][1]["new"]


def test_a_port_that_nobody_serves_and_a_stranger_in_a_nodes_place(
    collecting: Project, ssh: Ssh
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        ssh.ports["roubaix-1"] = free.getsockname()[1]
    write_hosts(collecting, ssh)
    known = ssh.folder / "known_hosts"
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known.write_text(f"[127.0.0.1]:{ssh.ports['paris-1']} {stranger}")

    said = run(collecting, "collect", "--timeout", "5", code=4)

    assert "verification failed" in said["nodes"][0]["trouble"]
    assert "refused" in said["nodes"][1]["trouble"]


def test_more_events_than_a_page_and_an_older_copy_of_the_state(
    collecting: Project, ssh: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PAGE", 4)
    for _ in range(4):
        ssh.happens("paris-1", "throttle")
    copy = ssh.state("paris-1").read_bytes()
    for _ in range(5):
        ssh.happens("paris-1", "throttle")
    assert 9 == run(collecting, "collect")["nodes"][0]["new"]

    ssh.state("paris-1").write_bytes(copy)
    for beside in ("-wal", "-shm"):
        ssh.state("paris-1").with_name(f"node.sqlite{beside}").unlink(missing_ok=True)
    ssh.happens("paris-1", "throttle")  # it has the number of one that was collected
    assert 1 == run(collecting, "collect")["nodes"][0]["new"]
    ssh.happens("paris-1", "throttle")
    assert 1 == run(collecting, "collect")["nodes"][0]["new"]
    kinds = [one["kind"] for one in run(collecting, "events")["events"]]
    assert ["state-set-back", "throttle"] == kinds[-2:]

    ssh.state("paris-1").unlink()  # made anew: all of it is new
    ssh.happens("paris-1", "vps-new")
    assert 1 == run(collecting, "collect")["nodes"][0]["new"]


def test_an_older_copy_is_noticed_also_after_a_state_made_anew(
    collecting: Project, ssh: Ssh
) -> None:
    """C4.10: a mail that is due then is not taken for one that was collected."""
    for _ in range(4):
        ssh.happens("paris-1", "throttle")
    copy = ssh.state("paris-1").read_bytes()
    for _ in range(5):
        ssh.happens("paris-1", "throttle")
    run(collecting, "collect")
    ssh.state("paris-1").unlink()
    ssh.happens("paris-1", "vps-new")
    run(collecting, "collect")

    ssh.state("paris-1").write_bytes(copy)
    for beside in ("-wal", "-shm"):
        ssh.state("paris-1").with_name(f"node.sqlite{beside}").unlink(missing_ok=True)
    run(collecting, "collect")
    ssh.happens("paris-1", "quota-100", **QUOTA)
    run(collecting, "collect")

    kinds = [one["kind"] for one in run(collecting, "events")["events"]]
    assert ["vps-new", "state-set-back", "quota-100"] == kinds[-3:]
    assert 1 == len(run(collecting, "outbox")["mails"])


def test_the_keys_for_programs_and_the_words_for_people(collecting: Project, ssh: Ssh) -> None:
    ssh.happens("paris-1", "vps-new")
    ssh.happens("paris-1", "quota-80", "nobody/web", **QUOTA)
    ssh.happens("paris-1", "quota-80", **QUOTA)
    ssh.answers["roubaix-1"] = lambda _command: ["sh", "-c", "exit 127"]

    would = told(collecting, "collect", "--dry-run", code=4)
    said = run(collecting, "collect", code=4)
    again = told(collecting, "collect", code=4)
    events = told(collecting, "events", "--limit", "2")

    assert {"nodes", "mails", "changed"} == said.keys()
    assert {"sent", "later", "failed"} == said["mails"].keys()
    answered = {"node", "trouble", "new", "mails", "unknown", "missing"}
    assert [answered, {"node", "trouble"}] == [node.keys() for node in said["nodes"]]
    assert ["nobody"] == said["nodes"][0]["unknown"]
    assert "1 of 2 host nodes answered: 3 events would be kept, 1 mails would be queued" in would
    assert "paris-1: no client nobody is known here: nobody was told" in would
    assert "roubaix-1 did not answer: hoster-node is not installed" in would
    assert "1 of 2 host nodes answered: 0 events kept, 0 mails queued" in again
    header, *rows = [line.split("\t") for line in events.splitlines()]
    assert ["at", "node", "kind", "subject", "details"] == header
    assert ["nobody/web", "acme/web"] == [row[3] for row in rows]
    assert "quota_bytes=10000000000000" in rows[0][4]


def told(project: Project, *arguments: str, code: int = 0) -> str:
    """What a person reads."""
    done = CliRunner().invoke(cli, ["--project", str(project.root), *arguments])
    assert code == done.exit_code, done.output
    return done.output


def test_what_a_node_dropped_is_told(collecting: Project, ssh: Ssh) -> None:
    for _ in range(9):
        ssh.happens("paris-1", "throttle")
    with closing(sqlite3.connect(ssh.state("paris-1"))) as state, state:
        state.execute("DELETE FROM event WHERE number <= 4")

    assert "paris-1 had dropped 4 events: ask it more often" in told(collecting, "collect")


def nothing(_stream: str) -> int:
    return 0


def test_no_more_nodes_than_asked_for_are_asked_at_once(collecting: Project, ssh: Ssh) -> None:
    asked = {f"{name}-{turn}": node for turn in range(3) for name, node in nodes(collecting)}
    answers = list(events.collect(asked, {}, known=nothing, seconds=20, at_once=2))

    assert 6 == len(answers)
    assert [""] * 6 == [one.trouble for one in answers]
    assert 2 == ssh.most_at_once


def nodes(project: Project) -> list[tuple[str, node_ssh.NodeSsh]]:
    return sorted(node_ssh.nodes(project).items())


def test_an_unknown_node_is_refused_with_one_near(collecting: Project) -> None:
    with pytest.raises(ConfigurationError, match="did you mean paris-1") as caught:
        run(collecting, "collect", "paris-11")
    assert ExitCode.USAGE == caught.value.exit_code


def test_nodes_are_reached_as_ansible_reaches_them(collecting: Project, ssh: Ssh) -> None:
    file = collecting.inventory / "hosts.yml"
    content = yaml.safe_load(file.read_text())
    group = content["all"]["children"]["host_nodes"]
    group["vars"]["ansible_become"] = True
    file.write_text(yaml.safe_dump(content))
    folder = collecting.inventory / "group_vars"
    (folder / "paris.yml").write_text("ansible_user: somebody\nansible_become: false\n")

    paris, roubaix = (node for _, node in nodes(collecting))

    assert (False, True) == (paris.becomes_root, roubaix.becomes_root)
    assert paris.arguments[paris.arguments.index("-l") + 1] == "somebody"
    assert str(ssh.ports["paris-1"]) == paris.arguments[paris.arguments.index("-p") + 1]
    assert f"UserKnownHostsFile={ssh.folder / 'known_hosts'}" in paris.arguments
    assert "127.0.0.1" == paris.arguments[-1]

    group["vars"]["ansible_user"] = "{{ whoever }}"
    file.write_text(yaml.safe_dump(content))
    (folder / "paris.yml").unlink()
    with pytest.raises(ConfigurationError, match="ansible_user is a template"):
        node_ssh.nodes(collecting)


def test_two_that_collect_at_once_keep_each_event_once(collecting: Project, ssh: Ssh) -> None:
    for _ in range(20):
        ssh.happens("paris-1", "throttle")
    ssh.happens("paris-1", "quota-80", **QUOTA)
    argv = [sys.executable, "-c", "from hoster.cli import main; main()", "collect", "--json"]
    environment = os.environ | {"HOSTER_PROJECT": str(collecting.root)}
    both = [
        subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [json.loads(process.communicate(timeout=60)[0]) for process in both]

    assert 21 == sum(one["nodes"][0]["new"] for one in said)
    assert 21 == len(run(collecting, "events")["events"])
    assert 1 == len(run(collecting, "outbox")["mails"])
