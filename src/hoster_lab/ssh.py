"""SSH from the control machine to the nodes: keys of the lab's own, hosts known beforehand."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster_lab.commands import run
from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hoster_lab.nodes import Node

READY_SECONDS = 30.0


@dataclass(frozen=True)
class Ssh:
    """The folder with the control machine's key, the known hosts and the client's settings."""

    folder: Path

    @property
    def config(self) -> Path:
        """Settings of the SSH client for the nodes, for ``ssh -F``."""
        return self.folder / "config"

    @property
    def key(self) -> Path:
        """The private key that opens the nodes."""
        return self.folder / "id_ed25519"

    @property
    def wrapper(self) -> Path:
        """A program that is ``ssh`` with these settings, for libvirt's ``command=``."""
        return self.folder / "ssh"

    def host_key(self, node: str) -> Path:
        """The private host key of a node."""
        return self.folder / node / "ssh_host_ed25519_key"

    def write(self, nodes: Iterable[Node]) -> None:
        """Make the keys that are missing, and write what is derived from them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.ensure_key(self.key, "hoster control machine")
        known = []
        for node in nodes:
            self.ensure_key(self.host_key(node.name), node.name)
            public = self.host_key(node.name).with_suffix(".pub").read_text().split()[:2]
            known.append(f"{node.name},{node.address} {' '.join(public)}\n")
        _write(self.folder / "known_hosts", "".join(known))
        _write(self.config, self._settings(nodes))
        _write(
            self.wrapper,
            f'#!/bin/sh\nexec ssh -F {shlex.quote(str(self.config))} "$@"\n',
            mode=0o700,
        )

    def ensure_key(self, path: Path, comment: str) -> None:
        """Make a key pair without passphrase where there is none."""
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])

    def argv(self, node: Node, *command: str) -> list[str]:
        """Return the command line that runs *command* on a node."""
        return ["ssh", "-F", str(self.config), f"root@{node.address}", *command]

    def wait(self, node: Node) -> None:
        """Wait until a node lets us in.

        Raises:
            LabError: it does not, within `READY_SECONDS`; with what ssh said last.
        """
        deadline = time.monotonic() + READY_SECONDS
        while True:
            tried = run(self.argv(node, "true"), check=False, timeout=READY_SECONDS)
            if tried.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise LabError(f"no SSH to {node.name} ({node.address}): {tried.stderr.strip()}")
            time.sleep(0.3)

    def _settings(self, nodes: Iterable[Node]) -> str:
        names = "".join(
            f"Host {node.name}\n    HostName {node.address}\n    User root\n\n" for node in nodes
        )
        return (
            f"{names}Host *\n"
            f'    IdentityFile "{self.key}"\n'
            "    IdentitiesOnly yes\n"
            f'    UserKnownHostsFile "{self.folder / "known_hosts"}"\n'
            "    StrictHostKeyChecking yes\n"
            "    BatchMode yes\n"
            "    ConnectTimeout 5\n"
            "    LogLevel ERROR\n"
        )


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(mode)
