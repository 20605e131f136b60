"""A guest for tests whose disk is a volume group, with a libvirt that serves it.

Device-mapper is the kernel's, so that LVM cannot run in a container on a machine without it; the
guest brings a kernel that has it. Everything is in its initramfs: nothing of it is ever written.
It boots once: what it was then is kept, and goes on from there each time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoster_lab import cache, debian
from hoster_lab.commands import run
from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hoster_lab.progress import Progress

NAME = "volume-group"
BOOT_SECONDS = 120.0
"""Enough under emulation on a busy machine; alone it takes 10."""
BY_HAND_SECONDS = 60.0
"""How long a command on the guest may take."""
EXTENT_BYTES = 2 * 2**20
LVM_BYTES = 2**20
"""What LVM keeps for itself at the beginning of the disk."""
DISK_BYTES = LVM_BYTES + 16 * EXTENT_BYTES
LIBVIRT_PORT = 16509
READY = "volume-group: ready"
"""What the console says when libvirt answers."""
_KERNEL_OPTIONS = (
    "console=ttyS0 quiet rdinit=/init nokaslr mitigations=off audit=0 cryptomgr.notests "
    "no_timer_check panic=-1 init_on_free=1"  # what is zero takes no room where it is kept
)
_MACHINE = (
    *("qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "Nehalem", "-m", "768"),
    *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
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
class Image:
    """What QEMU boots directly."""

    kernel: Path
    initrd: Path


@dataclass(frozen=True)
class Guest:
    """An image that has booted: its memory then, and its raw disk with the volume group ``vg``."""

    image: Image
    memory: Path
    disk: Path


def ensure(progress: Progress) -> Guest:
    """Return the guest that the recipe makes; build and boot it where it is missing.

    Raises:
        LabError: a program that it is built with failed, or it did not boot.
    """
    image = _ensure_image(progress)
    kept = cache.folder() / f"{NAME}-booted-{_digest()}"

    def boot_and_keep(place: Path) -> None:
        with progress.step("Boot the guest with a volume group (ten seconds, once)"):
            _boot(image, place).rename(kept)

    cache.build_once(f"{NAME}-booted", kept.is_dir, boot_and_keep)
    return Guest(image, kept / "memory", kept / "disk.raw")


def _ensure_image(progress: Progress) -> Image:
    said = "Build the guest with a volume group (half a minute, once)"
    kept = cache.kept(RECIPE, said, _build, progress)
    return Image(kept / "vmlinuz", kept / "initrd.img")


def _digest() -> str:
    """Return a short hash of all that another QEMU could not go on from."""
    version = run([_MACHINE[0], "--version"]).stdout
    known = (RECIPE.digest(), version, _MACHINE, _KERNEL_OPTIONS, DISK_BYTES)
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


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


class _Monitor:
    """QEMU's own commands."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._answers = line, line.makefile("r")

    def execute(self, command: str, **arguments: str) -> Any:
        """Run a command and return its answer.

        Raises:
            LabError: it failed, or QEMU ended.
        """
        asked = {"execute": command, "arguments": arguments}
        self._line.sendall(f"{json.dumps(asked)}\n".encode())
        answer: dict[str, Any] = {}
        while not {"return", "error"} & set(answer):  # a greeting and events come between
            answer = json.loads(self._answers.readline() or '{"error": "it ended"}')
        if "error" in answer:
            raise LabError(f"QEMU of the guest {NAME}: {command}: {answer['error']}")
        return answer["return"]


class _Machine:
    """A QEMU of its own in *folder*; a new one, or one that goes on from a kept *memory*."""

    def __init__(self, image: Image, disk: Path, folder: Path, memory: Path | None = None) -> None:
        self.shell, self._monitor = folder / "shell", folder / "monitor"
        self._logs = folder / "console", folder / "qemu-errors"
        self.port = _free_port()
        argv = [*self._argv(image, disk), *_incoming(memory)]
        with self._logs[1].open("wb") as errors:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=errors)

    def _argv(self, image: Image, disk: Path) -> list[str]:
        forwarded = f"hostfwd=tcp:127.0.0.1:{self.port}-:{LIBVIRT_PORT}"
        return [
            *("setpriv", "--pdeathsig", "KILL"),  # where the test is killed, too
            *_MACHINE,
            *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
            *("-append", _KERNEL_OPTIONS, "-qmp", f"unix:{self._monitor},server=on,wait=off"),
            *("-chardev", f"file,id=console,path={self._logs[0]}"),
            *("-device", "isa-serial,chardev=console"),
            *("-chardev", f"socket,id=shell,path={self.shell},server=on,wait=off"),
            *("-device", "isa-serial,chardev=shell"),
            *("-drive", f"file={disk},if=virtio,format=raw"),
            *("-netdev", f"user,id=net,restrict=on,{forwarded}"),
            *("-device", "virtio-net-pci,netdev=net"),
        ]

    def said(self) -> str:
        return "".join(log.read_text(errors="replace") for log in self._logs if log.exists())

    def wait_until(self, so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while not so():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the guest {NAME} did not come up:\n{self.said()[-2000:]}")
            time.sleep(0.1)

    @contextmanager
    def monitor(self) -> Iterator[_Monitor]:
        with socket.socket(socket.AF_UNIX) as line:
            self.wait_until(lambda: line.connect_ex(str(self._monitor)) == 0)
            line.settimeout(BY_HAND_SECONDS)
            monitor = _Monitor(line)
            monitor.execute("qmp_capabilities")
            yield monitor

    def end(self, patience: float = 0) -> None:
        """End it, or wait for its own end as long as *patience* in seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        self._process.wait()


def _incoming(memory: Path | None) -> list[str]:
    return ["-incoming", f"exec:exec cat {shlex.quote(str(memory))}"] if memory else []


def _boot(image: Image, place: Path) -> Path:
    kept = place / "kept"
    kept.mkdir()
    with (kept / "disk.raw").open("wb") as raw:
        raw.truncate(DISK_BYTES)
    machine = _Machine(image, kept / "disk.raw", place)
    try:
        machine.wait_until(lambda: READY in machine.said())
        with machine.monitor() as qemu:
            qemu.execute("migrate", uri=f"exec:exec cat >{shlex.quote(str(kept / 'memory'))}")
            machine.wait_until(lambda: qemu.execute("query-migrate").get("status") == "completed")
            qemu.execute("quit")  # what its disk has to hold is written before
            machine.end(patience=BY_HAND_SECONDS)
    finally:
        machine.end()
    return kept


@contextmanager
def running(guest: Guest, disk: Path, folder: Path) -> Iterator[Host]:
    """Let *guest* go on from where it had booted, with a copy of its disk at *disk*.

    Raises:
        LabError: it did not; with the end of its console.
    """
    shutil.copyfile(guest.disk, disk)
    machine = _Machine(guest.image, disk, folder, guest.memory)
    try:
        with machine.monitor() as qemu:
            # What is typed before is lost: the ports are not yet what they were.
            machine.wait_until(lambda: qemu.execute("query-status")["running"])
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(BY_HAND_SECONDS)
            line.connect(str(machine.shell))
            yield Host(f"qemu+tcp://127.0.0.1:{machine.port}/system", line)
    finally:
        machine.end()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _build(place: Path) -> Path:
    root = place / "root"
    debian.extract(RECIPE, root)
    shutil.copytree(RECIPE.overlay, root, dirs_exist_ok=True)
    run([str(RECIPE.finish), str(root)])
    return root / "result"
