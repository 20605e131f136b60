"""Host nodes: privileged systemd containers with nothing but a bare Debian inside.

What a real node keeps on its disks over a reboot is kept here in a folder of the lab, so that
it outlives the container: libvirt's definitions and the VPSs' disks.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

from hoster_lab import network
from hoster_lab.commands import run
from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

LABEL = "hoster.lab"
READY_SECONDS = 60
STOP_SECONDS = 90
_LIMITED = 4096
_KEPT_FOLDERS = ("/etc/libvirt", "/var/lib/libvirt", "/var/lib/hoster")
_CAP_SYS_RESOURCE = 24


@dataclass(frozen=True)
class Location:
    """A place of the lab's company: its switch outside, and the gateway of its pool."""

    name: str
    gateway: IPv4Interface

    @property
    def switch(self) -> str:
        """The bridge outside that stands for the location's switch."""
        return f"sw-{self.name}"


@dataclass(frozen=True)
class Node:
    """A host node: where it stands, where it is managed."""

    name: str
    location: Location
    address: IPv4Address

    @property
    def container(self) -> str:
        """The podman container's name."""
        return f"hoster-{self.name}"

    @property
    def management_interface(self) -> IPv4Interface:
        """The address of the interface by which ops reach it."""
        return IPv4Interface(f"{self.address}/{network.MANAGEMENT.network.prefixlen}")


PARIS = Location("paris", IPv4Interface("203.0.113.1/25"))
ROUBAIX = Location("roubaix", IPv4Interface("203.0.113.129/25"))
NODES = (
    Node("paris-1", PARIS, IPv4Address("198.51.100.11")),
    Node("roubaix-1", ROUBAIX, IPv4Address("198.51.100.21")),
)


@dataclass(frozen=True)
class State:
    """What podman says of a node's container; ``pid`` is 0 when it does not run."""

    exists: bool
    pid: int
    image: str
    owner: str

    @property
    def netns(self) -> Path:
        """The running node's network namespace."""
        return network.of_process(self.pid)


def state(container: str) -> State:
    """Return the state of a container, whether or not it exists."""
    found = run(["podman", "container", "inspect", container], check=False)
    if found.returncode != 0:
        return State(exists=False, pid=0, image="", owner="")
    about = json.loads(found.stdout)[0]
    running = about["State"]["Status"] == "running"
    return State(
        exists=True,
        pid=about["State"]["Pid"] if running else 0,
        image=about["ImageName"],
        owner=about["Config"]["Labels"].get(LABEL, ""),
    )


def create(
    container: str,
    hostname: str,
    *,
    image: str,
    kept: Path,
    host_key: Path,
    authorized: Path,
    owner: str,
) -> None:
    """Make a node's container, not started: *kept* is its disk, *authorized* may log in."""
    _fill_kept(image, kept)
    volumes = [f"--volume={kept / folder.lstrip('/')}:{folder}" for folder in _KEPT_FOLDERS]
    run(
        [
            "podman",
            "create",
            f"--name={container}",
            f"--hostname={hostname}",
            f"--label={LABEL}={owner}",
            "--systemd=always",
            "--privileged",
            "--network=none",
            "--log-driver=none",
            "--stop-timeout",
            str(STOP_SECONDS),
            *runtime_options(),
            *volumes,
            image,
        ]
    )
    for source in (host_key, host_key.with_suffix(".pub")):
        run(["podman", "cp", str(source), f"{container}:/etc/ssh/{source.name}"])
    login = kept / "login" / ".ssh"
    login.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy(authorized, login / "authorized_keys")
    run(["podman", "cp", str(login), f"{container}:/root/"])


def start(container: str, plug: Callable[[State], None]) -> State:
    """Start a container, *plug* its cables in, and wait until its systemd runs.

    The cables first, as with a real machine: what starts at boot finds them.

    Raises:
        LabError: it does not come up within `READY_SECONDS`.
    """
    run(["podman", "start", container])
    plug(state(container))
    deadline = time.monotonic() + READY_SECONDS
    # To ask again and again would take longer than the boot; it only refuses before D-Bus is up.
    ask = ["podman", "exec", container, "systemctl", "is-system-running", "--wait"]
    answer = ""
    while time.monotonic() < deadline:
        answer = run(ask, check=False, timeout=READY_SECONDS).stdout.strip()
        if answer in {"running", "degraded"}:
            return state(container)
        time.sleep(0.2)
    raise LabError(f"the node {container} does not come up: systemd says «{answer}»")


def remove(container: str, *, in_order: bool = True) -> None:
    """Stop a container, *in_order* or as a power cut does, and delete it."""
    if in_order:
        run(["podman", "stop", "--ignore", "--time", str(STOP_SECONDS), container])
    run(["podman", "rm", "--force", "--ignore", "--time", "0", "--volumes", container])


def runtime_options() -> list[str]:
    """Return what podman needs on this machine to start systemd."""
    options = []
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # crun refuses to start systemd on cgroup v1 and hybrid machines.
        options.append("--runtime=runc")
    if not _may_raise_limits():
        options += [f"--ulimit={name}={limit}:{limit}" for name, limit in _own_limits().items()]
    return options


def _may_raise_limits() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def _own_limits() -> dict[str, int]:
    hard = {
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "nproc": resource.getrlimit(resource.RLIMIT_NPROC)[1],
    }
    return {
        name: _LIMITED if limit == resource.RLIM_INFINITY else min(limit, _LIMITED)
        for name, limit in hard.items()
    }


def _fill_kept(image: str, kept: Path) -> None:
    """Start the kept folders with what the image has there."""
    missing = [folder for folder in _KEPT_FOLDERS if not (kept / folder.lstrip("/")).is_dir()]
    if not missing:
        return
    root = Path(run(["podman", "image", "mount", image]).stdout.strip())
    try:
        for folder in missing:
            target = kept / folder.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(f".{target.name}.copying")
            shutil.rmtree(unfinished, ignore_errors=True)
            source = root / folder.lstrip("/")
            run(
                ["cp", "-a", str(source), str(unfinished)]
                if source.is_dir()
                else ["mkdir", str(unfinished)]
            )
            os.replace(unfinished, target)  # noqa: PTH105 - a folder, all or nothing
    finally:
        run(["podman", "image", "unmount", image], check=False)
