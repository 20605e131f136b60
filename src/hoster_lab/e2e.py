"""What the lab's tests see of the VPS that they follow from its order to its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from hoster_lab import traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hoster_lab.client import AccessCodes
    from hoster_lab.journey import Company
    from hoster_lab.lab import Lab

VPS = "e2e/web"
NODE = "paris-1"
"""Where it stands."""
EMAIL = "e2e@example.org"
"""Where its client gets mail."""
TOKEN = "only-this-client-wrote-this"  # noqa: S105 - no secret: it is searched for
"""What its disks are searched for."""
SPOOF = """
import socket, time
honest, spoofing = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
spoofing.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT: any source
spoofing.bind(("203.0.113.99", 0))
while True:
    for link, text in ((spoofing, b"spoofed-packet"), (honest, b"honest-packet")):
        try:
            link.sendto(text, ("192.0.2.10", 9))
        except OSError:
            pass  # no network yet
    time.sleep(0.02)
"""
"""A program that sends as its own VPS and as somebody else, for good."""
_DISK_BYTES = 50_000_000  # and more: a file that is a disk
_NODE_FILES = "/etc/libvirt /run/libvirt /var/log/libvirt"
_STATION = Path(traffic.__file__).with_name("station.py")


class ProcessListWatch:
    """Keeps every command line and environment that any process shows while it runs."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessListWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                for file in ("cmdline", "environ"):
                    try:
                        self.seen.add((process / file).read_bytes())
                    except OSError:  # it ended meanwhile
                        continue


def _content(path: Path) -> bytes:
    """Return what a file holds; nothing where it went meanwhile, is a socket, or a disk."""
    try:
        small = path.is_file() and path.stat().st_size < _DISK_BYTES
        return path.read_bytes() if small else b""
    except FileNotFoundError:
        return b""


def places_of(lab: Lab, secret: str) -> list[str]:
    """Return the files that hold *secret*, mails apart, and the nodes whose files do."""
    files = [
        Path(folder) / name
        for top in (lab.root, Path("/tmp"))  # noqa: S108 - looked into, not written to
        for folder, _, names in os.walk(top)
        for name in names
    ]
    files = [path for path in files if not path.is_symlink() and lab.mail_dir not in path.parents]
    logs = ["sh", "-c", f"cat $(find {_NODE_FILES} -type f)"]
    found = [str(path) for path in files if secret.encode() in _content(path)]
    return found + [node.name for node in lab.nodes if secret in lab.on(node, logs).stdout]


def declared(company: Company) -> dict[str, object]:
    """Return what `hoster show` says of the VPS."""
    [vps] = [vps for vps in company.hoster("show")["vps"] if vps["name"] == VPS]
    return dict(vps)


def on_its_node(lab: Lab, *argv: str, check: bool = True) -> str:
    """Run a command on the VPS's node, and return what it printed."""
    return lab.on(lab.node(NODE), argv, check=check).stdout


def status(lab: Lab) -> dict[str, object]:
    """Return what the node says of the VPS, after it counted."""
    on_its_node(lab, "systemctl", "start", "hoster-node-reconcile.service")
    [vps] = json.loads(on_its_node(lab, "hoster-node", "status", VPS, "--json"))
    return dict(vps)


def reachable(lab: Lab, codes: AccessCodes) -> bool:
    """Return whether the VPS answers a ping from the outside host."""
    ping = ["ping", "-c", "3", "-i", "0.2", "-W", "1", codes.address]
    return lab.outside(ping, check=False).returncode == 0


@contextlib.contextmanager
def captured(lab: Lab, node: str = NODE) -> Iterator[dict[str, int]]:
    """Count what leaves a node meanwhile, by what the VPS wrote into it."""
    command = [*lab.outside_prefix, sys.executable, str(_STATION), f"up-{node}"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=-1
    )
    lines: list[str] = []
    reader = threading.Thread(target=lines.extend, args=(process.stdout,))
    reader.start()
    counts = {"spoofed": 0, "honest": 0}
    try:
        yield counts
    finally:
        process.kill()
        reader.join()
        process.communicate()
        for what in counts:
            counts[what] = sum(f"{what}-packet".encode().hex() in line for line in lines)


def says_changed(output: str) -> bool:
    """Return whether a playbook that printed *output* changed anything."""
    recap = output.partition("PLAY RECAP")[2]
    return any(int(count) for count in re.findall(r"changed=(\d+)", recap))
