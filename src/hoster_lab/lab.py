"""A hosting company on one machine: host nodes, an outside world, a mail server, a project."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from hoster_lab import kvm, network, node_image, nodes, os_image
from hoster_lab.commands import missing_programs, run
from hoster_lab.company import Company
from hoster_lab.errors import LabError
from hoster_lab.mail_sink import MailSink
from hoster_lab.progress import Progress
from hoster_lab.ssh import Ssh

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from hoster_lab.kvm import Finding
    from hoster_lab.nodes import Node
    from hoster_lab.os_image import OsImage

MANAGEMENT_INTERFACE = "eth0"
UPLINK_INTERFACE = "eth1"
PLAYBOOK_SECONDS = 600.0
COMMAND_SECONDS = 600.0


@dataclass(frozen=True)
class Lab:
    """The lab of a checkout; everything it keeps is in the checkout's ``.lab/``."""

    checkout: Path

    @property
    def root(self) -> Path:
        """Where the lab keeps what outlives `down`: disks, mail, project, keys."""
        return self.checkout / ".lab"

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The host nodes."""
        return nodes.NODES

    @property
    def company(self) -> Company:
        """The company's project folder and environment."""
        return Company(self.root, self.checkout)

    @property
    def ssh(self) -> Ssh:
        """How the control machine reaches the nodes."""
        return Ssh(self.root / "ssh")

    @property
    def mail(self) -> MailSink:
        """The mail server."""
        return MailSink(self.root)

    @property
    def mail_dir(self) -> Path:
        """The Maildir with every mail that the company sent."""
        return self.mail.maildir

    def env(self) -> dict[str, str]:
        """Return the environment in which the company's commands run, as ``.lab/env`` has it."""
        path = f"{self.checkout / '.venv/bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**os.environ, **self.company.variables(), "PATH": path}

    def node(self, name: str) -> Node:
        """Return a node by name.

        Raises:
            LabError: there is none of that name.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise LabError(f"the lab has no node «{name}»; its nodes are {known}")

    def outside(
        self, argv: Sequence[str], *, check: bool = True, timeout: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the outside host, somewhere on the Internet of the lab."""
        return run([*self.outside_prefix, *argv], check=check, timeout=timeout)

    @property
    def outside_prefix(self) -> tuple[str, ...]:
        """The start of a command line that runs the rest on the outside host."""
        return network.inside(network.outside())

    def on(
        self, node: Node, argv: Sequence[str], *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a node, over SSH as ops would; *argv* is quoted for its shell."""
        return run(self.ssh.argv(node, shlex.join(argv)), check=check, timeout=COMMAND_SECONDS)

    def up(self, progress: Progress | None = None, *, configure: bool = False) -> Finding:
        """Bring everything up, or repair what is missing; return how guests run.

        With *configure* the playbook runs even when nothing changed since its last run.

        Raises:
            LabError: something is missing on this machine, or a step failed.
        """
        talk = progress or Progress()
        self._preflight()
        with self._alone():
            self.ssh.write(self.nodes)
            self.mail.start()
            network.ensure_outside(
                [(node.location.switch, node.location.gateway) for node in self.nodes],
                [node.address for node in self.nodes],
            )
            with ThreadPoolExecutor() as side_by_side:
                running = side_by_side.submit(self._run_nodes, talk)
                image = os_image.ensure(talk)
                finding = kvm.find(image, talk)
                running.result()
            talk.say(str(finding))
            self._write_company(image, finding)
            self._configure(talk, force=configure)
        return finding

    def down(self, progress: Progress | None = None, *, purge: bool = False) -> None:
        """Stop everything that `up` started; with *purge* forget disks, mail and project too."""
        talk = progress or Progress()
        self._refuse_foreign()
        with self._alone():
            with talk.step("Stop the host nodes"), ThreadPoolExecutor() as side_by_side:
                list(side_by_side.map(lambda node: nodes.remove(node.container), self.nodes))
            network.remove()
            self.mail.stop()
            (self.root / "configured").unlink(missing_ok=True)
        if purge:
            shutil.rmtree(self.root, ignore_errors=True)

    def reboot(self, node: Node) -> None:
        """Restart a node as a reboot does: in order, and without what is only in the kernel."""
        self._refuse_foreign()
        run(["podman", "stop", node.container])
        self._start(node)
        self.ssh.wait(node)

    def status(self) -> dict[str, Any]:
        """Return what is there now, with stable keys."""
        found = [self._node_status(node) for node in self.nodes]
        return {
            "up": all(node["running"] and node["wired"] for node in found) and bool(self.mail.pid),
            "root": str(self.root),
            "project": str(self.company.project),
            "environment": str(self.root / "env"),
            "domain_type": self._domain_type(),
            "nodes": found,
            "outside": {"namespace": network.OUTSIDE, "address": str(network.OUTSIDE_HOST.ip)},
            "mail": {
                "running": bool(self.mail.pid),
                "port": self.mail.port,
                "maildir": str(self.mail_dir),
            },
        }

    def _domain_type(self) -> str | None:
        """Return how guests run, as the inventory has it; nothing before the first `up`."""
        hosts = self.company.inventory / "hosts.yml"
        found = re.search(r"domain_type: (\w+)", hosts.read_text()) if hosts.exists() else None
        return found[1] if found else None

    def _node_status(self, node: Node) -> dict[str, Any]:
        state = nodes.state(node.container)
        wired = bool(state.pid) and _is_wired(state.netns)
        return {
            "name": node.name,
            "location": node.location.name,
            "address": str(node.address),
            "container": node.container,
            "running": bool(state.pid),
            "wired": wired,
        }

    def _preflight(self) -> None:
        problems = ["the lab needs root: containers, namespaces"] if os.geteuid() != 0 else []
        problems += missing_programs() + network.foreign_routes()
        if problems:
            raise LabError("\n".join(problems))
        self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        for node in self.nodes:
            owner = nodes.state(node.container).owner
            if owner not in {"", str(self.root)}:
                raise LabError(
                    f"the lab of {owner} runs on this machine, and there is room for one: "
                    f"run `{Path(owner).parent}/scripts/lab down` first"
                )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.root.mkdir(mode=0o700, exist_ok=True)
        with FileLock(self.root / "lock"):
            yield

    def _run_nodes(self, progress: Progress) -> None:
        image = node_image.ensure(progress)
        with ThreadPoolExecutor() as side_by_side:
            list(side_by_side.map(lambda node: self._run_node(node, image, progress), self.nodes))

    def _run_node(self, node: Node, image: str, progress: Progress) -> None:
        state = nodes.state(node.container)
        if not state.exists:
            nodes.create(
                node.container,
                node.name,
                image=image,
                kept=self.root / "nodes" / node.name,
                host_key=self.ssh.host_key(node.name),
                authorized=self.ssh.key.with_suffix(".pub"),
                owner=str(self.root),
            )
        if state.pid and _is_wired(state.netns):
            return
        with progress.step(f"Start the host node {node.name}"):
            self._start(node)
            self.ssh.wait(node)

    def _start(self, node: Node) -> None:
        def plug(running: nodes.State) -> None:
            management = (network.MANAGEMENT_BRIDGE, node.management_interface)
            network.attach(running.netns, UPLINK_INTERFACE, f"up-{node.name}", node.location.switch)
            network.attach(running.netns, MANAGEMENT_INTERFACE, f"mg-{node.name}", *management)

        state = nodes.state(node.container)
        if state.pid:
            plug(state)
        else:
            nodes.start(node.container, plug)

    def _write_company(self, image: OsImage, finding: Finding) -> None:
        self.company.write(
            self.nodes,
            ssh=self.ssh,
            image=image,
            domain_type=finding.domain_type,
            smtp_port=self.mail.port,
        )

    def _configure(self, progress: Progress, *, force: bool) -> None:
        done, wanted = self.root / "configured", self._configuration()
        if not force and done.exists() and done.read_text() == wanted:
            return
        with progress.step("Configure the host nodes (playbooks/configure-nodes.yml)"):
            self.playbook("configure-nodes.yml", "-e", "batch=100%")
        done.write_text(wanted)

    def playbook(self, name: str, *arguments: str) -> str:
        """Run a playbook of the checkout against the lab's nodes; return what it printed.

        Raises:
            LabError: it failed.
        """
        argv = [str(Path(sys.executable).parent / "ansible-playbook")]
        argv += [str(self.checkout / "playbooks" / name), *arguments]
        return run(argv, env=self.env(), timeout=PLAYBOOK_SECONDS).stdout

    def _configuration(self) -> str:
        """Return a hash of everything that the playbook's outcome depends on."""
        seen = hashlib.sha256()
        ours = ("node", "wire", "billing", "catalogue")
        parts = ("roles", "playbooks", "plugins", *(f"src/hoster/{room}" for room in ours))
        folders = [*(self.checkout / part for part in parts), self.company.inventory]
        for path in sorted(path for folder in folders for path in folder.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                seen.update(f"{path}\n".encode() + path.read_bytes())
        for node in self.nodes:
            seen.update(json.dumps(asdict(nodes.state(node.container))).encode())
        return seen.hexdigest()


def _is_wired(netns: Path) -> bool:
    found = network.links(netns)
    return all(
        name in found and "LOWER_UP" in found[name]["flags"]
        for name in (MANAGEMENT_INTERFACE, UPLINK_INTERFACE)
    )
