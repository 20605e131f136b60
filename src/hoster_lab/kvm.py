"""Whether guests really run under KVM here: decided by starting one.

`/dev/kvm` may be there, even make a virtual machine, and the guest hang all the same.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hoster_lab import cache
from hoster_lab.commands import run

if TYPE_CHECKING:
    from hoster_lab.os_image import OsImage
    from hoster_lab.progress import Progress

DEVICE = Path("/dev/kvm")
BOUND_SECONDS = 20.0


@dataclass(frozen=True)
class Finding:
    """How guests run on this machine (libvirt's domain type), and why."""

    domain_type: str
    reason: str

    def __str__(self) -> str:
        """For people."""
        kind = {"kvm": "KVM", "qemu": "TCG (emulation, slow)"}[self.domain_type]
        return f"guests run under {kind}: {self.reason}"


def find(image: OsImage, progress: Progress) -> Finding:
    """Return how guests run here; tried once a boot of this machine, then remembered."""
    if not DEVICE.exists():
        return Finding("qemu", f"this machine has no {DEVICE}")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Finding("qemu", f"{DEVICE} may not be opened here")
    memory = cache.folder() / "kvm.json"
    key = _key(image)
    if memory.exists():
        kept = json.loads(memory.read_text())
        if kept.pop("key", None) == key:
            return Finding(**kept)
    with progress.step("Try to start a guest under KVM (a few seconds)"):
        finding = _try(image)
    memory.write_text(json.dumps({"key": key, **asdict(finding)}))
    return finding


def _key(image: OsImage) -> list[str]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    version = run(["qemu-system-x86_64", "--version"]).stdout.splitlines()[0]
    return [boot, version, image.kernel]


def _try(image: OsImage) -> Finding:
    """Start the image's kernel, whose first program switches the guest off."""
    argv = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults"]
    argv += ["-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"]
    argv += ["-kernel", image.kernel, "-initrd", image.initrd]
    argv += ["-append", "console=ttyS0 quiet panic=-1 rdinit=/bin/poweroff"]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=BOUND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("qemu", f"a guest under KVM did not boot within {BOUND_SECONDS:.0f} s")
    if done.returncode != 0 or b"Kernel panic" in done.stdout:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else "no reason given"
        return Finding("qemu", f"a guest does not start under KVM: {reason}")
    return Finding("kvm", "a guest was started with it and went through its boot")
