"""A guest for tests whose disk is a volume group, with a libvirt that serves it.

Device-mapper is the kernel's, so that LVM cannot run in a container on a machine without it; the
guest brings a kernel that has it. Everything is in its initramfs: nothing of it is ever written.
"""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster_lab import cache, debian
from hoster_lab.commands import run
from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hoster_lab.progress import Progress

NAME = "volume-group"
BOOT_SECONDS = 120.0
"""Enough under emulation on a busy machine; alone it takes 10."""
BY_HAND_SECONDS = 60.0
"""How long a command on the guest may take."""
EXTENT_BYTES = 2 * 2**20
LIBVIRT_PORT = 16509
READY = "volume-group: ready"
"""What the console says when libvirt answers."""
_KERNEL_OPTIONS = (
    "console=ttyS0 quiet rdinit=/init nokaslr mitigations=off audit=0 cryptomgr.notests "
    "no_timer_check panic=-1"
)

RECIPE = cache.Recipe(
    name=NAME,
    suite="bookworm",
    packages=(
        *("linux-image-cloud-amd64", "busybox-static", "dash", "util-linux"),
        *("libvirt-daemon", "libvirt-clients", "lvm2", "qemu-utils"),
    ),
)


@dataclass(frozen=True)
class Guest:
    """What QEMU boots directly."""

    kernel: Path
    initrd: Path


def ensure(progress: Progress) -> Guest:
    """Return the guest that the recipe makes; build it where it is missing.

    Raises:
        LabError: a program that it is built with failed.
    """
    said = "Build the guest with a volume group (half a minute, once)"
    kept = cache.kept(RECIPE, said, _build, progress)
    return Guest(kept / "vmlinuz", kept / "initrd.img")


class Host:
    """A running guest: ``uri`` of its libvirt, and a shell on it."""

    def __init__(self, uri: str, line: socket.socket) -> None:
        self.uri = uri
        self._line = line
        self._answers = line.makefile("r")

    def by_hand(self, command: str) -> str:
        """Run a line of shell on the guest and return what it printed.

        Raises:
            LabError: it failed; with what it printed.
        """
        self._line.sendall(f"{command}\n".encode())
        code, _, packed = self._answers.readline().strip().partition(" ")
        said = base64.b64decode(packed).decode(errors="replace")
        if code != "0":
            raise LabError(f"`{command}` failed with code {code}: {said}")
        return said


@contextmanager
def booted(guest: Guest, disk: Path, folder: Path) -> Iterator[Host]:
    """Boot *guest* with a volume group ``vg`` on the raw *disk*, whose bytes stay as they are.

    Raises:
        LabError: it did not boot; with the end of its console.
    """
    console, shell, port = folder / "console", folder / "shell", _free_port()
    argv = [
        *("setpriv", "--pdeathsig", "KILL"),  # where the test is killed, too
        *("qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "Nehalem", "-m", "768"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", str(guest.kernel), "-initrd", str(guest.initrd), "-append", _KERNEL_OPTIONS),
        *("-chardev", f"file,id=console,path={console}", "-device", "isa-serial,chardev=console"),
        *("-chardev", f"socket,id=shell,path={shell},server=on,wait=off"),
        *("-device", "isa-serial,chardev=shell"),
        *("-drive", f"file={disk},if=virtio,format=raw"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{LIBVIRT_PORT}"),
        *("-device", "virtio-net-pci,netdev=net"),
    ]
    errors = folder / "qemu-errors"
    with errors.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=output)
    try:
        _wait_until_ready(process, console, errors)
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(BY_HAND_SECONDS)
            line.connect(str(shell))
            yield Host(f"qemu+tcp://127.0.0.1:{port}/system", line)
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], *logs: Path) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    said = ""
    while READY not in said:
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"the guest {NAME} did not boot:\n{said[-2000:]}")
        time.sleep(0.1)
        said = "".join(log.read_text(errors="replace") for log in logs if log.exists())


def _build(place: Path) -> Path:
    root = place / "root"
    debian.extract(RECIPE, root)
    shutil.copytree(RECIPE.overlay, root, dirs_exist_ok=True)
    run([str(RECIPE.finish), str(root)])
    return root / "result"
