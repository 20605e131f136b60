"""A single bare host node for a molecule scenario, beside the lab or without it.

Its links go straight to this machine: one to manage it, and an uplink that leads nowhere.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

from hoster_lab import network, node_image, nodes
from hoster_lab.commands import missing_programs, run
from hoster_lab.errors import LabError
from hoster_lab.lab import MANAGEMENT_INTERFACE, UPLINK_INTERFACE
from hoster_lab.nodes import Location, Node
from hoster_lab.progress import Progress
from hoster_lab.ssh import Ssh

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOWHERE = Location("nowhere", IPv4Interface("203.0.113.1/25"))
_CHECKOUT = Path(__file__).resolve().parents[2]
TINY_IMAGE_MIB = 8


@dataclass(frozen=True)
class Scenario:
    """A scenario's node: this machine is the address before the node's."""

    name: str
    address: IPv4Address

    @property
    def node(self) -> Node:
        """The node as the rest of the lab knows nodes."""
        return Node(f"molecule-{self.name}", _NOWHERE, self.address)

    @property
    def folder(self) -> Path:
        """Where its keys and disks are."""
        return _CHECKOUT / ".lab" / "molecule" / self.name

    @property
    def ssh(self) -> Ssh:
        """How it is reached."""
        return Ssh(self.folder / "ssh")

    def create(self) -> None:
        """Start the node, reachable by SSH, and make a small OS image for it."""
        if os.geteuid() != 0 or missing_programs():
            raise LabError("\n".join(["a scenario's node needs root", *missing_programs()]))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ssh.write([self.node])
        image = node_image.ensure(Progress())
        nodes.create(
            self.node.container,
            self.node.name,
            image=image,
            kept=self.folder / "disk",
            host_key=self.ssh.host_key(self.node.name),
            authorized=self.ssh.key.with_suffix(".pub"),
            owner=str(self.folder),
        )
        tiny = str(self.folder / "tiny.qcow2")
        run(["qemu-img", "create", "-q", "-f", "qcow2", tiny, f"{TINY_IMAGE_MIB}M"])
        self._start()

    def restart(self) -> None:
        """Reboot the node."""
        run(["podman", "stop", self.node.container])
        self._start()

    def destroy(self) -> None:
        """Leave nothing behind."""
        nodes.remove(self.node.container, in_order=False)  # its disk goes with it
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        def plug(running: nodes.State) -> None:
            ours = IPv4Interface(f"{self.address - 1}/32")
            link = f"hoster-{self.name}"
            network.connect(running.netns, UPLINK_INTERFACE, f"hoster-{self.name[:6]}u")
            network.connect(running.netns, MANAGEMENT_INTERFACE, link, ours, self.address)

        nodes.start(self.node.container, plug)
        self.ssh.wait(self.node)


SCENARIOS = {
    "default": Scenario("default", IPv4Address("198.51.100.230")),
    "changed": Scenario("changed", IPv4Address("198.51.100.234")),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Create, restart or destroy the node of a scenario."""
    parser = argparse.ArgumentParser(prog="python -m hoster_lab.scenario", description=__doc__)
    parser.add_argument("act", choices=["create", "restart", "destroy"])
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    asked = parser.parse_args(arguments)
    try:
        getattr(SCENARIOS[asked.scenario], asked.act)()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)  # noqa: T201 - the command line
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
