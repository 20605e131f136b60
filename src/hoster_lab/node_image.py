"""The bare Debian system that a host node of the lab starts from, as a podman image.

A node of the lab has no way to a mirror, so the packages that the roles install are unpacked here
already; their services are off, and everything else is left to the roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoster_lab import cache, debian
from hoster_lab.commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from hoster_lab.progress import Progress

RECIPE = cache.Recipe(
    name="node",
    suite="bookworm",
    packages=(
        # The bare system, as a provider of dedicated servers installs it.
        *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "iproute2"),
        *("iputils-ping", "openssh-server", "python3", "python3-apt", "ca-certificates"),
        # What the role `host_node` asks for.
        *("libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils"),
        *("nftables",),
        # What the role `node_agent` asks for.
        *("python3-venv", "python3-click", "python3-dateutil", "python3-libvirt", "tzdata"),
    ),
)
_REPOSITORY = "localhost/hoster-lab-node"


def name() -> str:
    """Return the podman name of the image that the recipe makes today."""
    return f"{_REPOSITORY}:{RECIPE.digest()}"


def ensure(progress: Progress) -> str:
    """Return the image's name; build it where it is missing.

    Raises:
        LabError: mmdebstrap or podman failed.
    """

    def build(place: Path) -> None:
        with progress.step("Build the host nodes' system (about 1 min, once)"):
            debian.bootstrap(RECIPE, place / "node.tar")
            start = ("--change", 'CMD ["/sbin/init"]', "--change", "STOPSIGNAL SIGRTMIN+3")
            run(["podman", "import", "--quiet", *start, str(place / "node.tar"), name()])

    cache.build_once(RECIPE.name, _exists, build)
    return name()


def _exists() -> bool:
    return run(["podman", "image", "exists", name()], check=False).returncode == 0
