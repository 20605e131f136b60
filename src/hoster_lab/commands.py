"""Runs the programs that the lab is made with, and says clearly when one fails."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAST_LINES = 15

PACKAGES = {
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "podman": "podman",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "sfdisk": "fdisk",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sysctl": "procps",
}
"""Every program that the lab calls, and the Debian package that brings it."""


def missing_programs() -> list[str]:
    """Return a sentence for each program that is not on PATH."""
    return [
        f"{program} is missing: install {package}"
        for program, package in PACKAGES.items()
        if shutil.which(program) is None
    ]


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run *argv*, never through a shell, and return what it printed.

    Raises:
        LabError: the program is missing, took longer than *timeout* seconds or, unless *check*
            is false, failed; with the last lines that it printed.
    """
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=None if env is None else dict(env),
            check=False,
        )
    except FileNotFoundError as error:
        package = PACKAGES.get(argv[0], argv[0])
        raise LabError(f"{argv[0]} is missing: install {package}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(argv)}` took over {timeout} s") from error
    if check:
        refuse_failure(done)
    return done


def refuse_failure(done: subprocess.CompletedProcess[str]) -> None:
    """Refuse what came of a program that failed.

    Raises:
        LabError: it failed; with the last lines that it printed.
    """
    if done.returncode != 0:
        said = "\n".join(f"{done.stdout}{done.stderr}".strip().splitlines()[-LAST_LINES:])
        raise LabError(f"`{' '.join(done.args)}` failed with code {done.returncode}:\n{said}")
