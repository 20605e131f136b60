"""The way of a VPS from the order to the client's login, step by step, as ops and client go it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from hoster_lab import client as client_side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hoster_lab.client import AccessCodes, Client

COMMAND_SECONDS = 300


class StepError(Exception):
    """A step of the journey failed; the message holds what the command said."""


class Company:
    """Ops at the control machine: their commands, in the company's environment."""

    def __init__(self, environment: Mapping[str, str], program: Path) -> None:
        self._environment = dict(environment)
        self._program = program

    def run(self, *argv: str) -> str:
        """Run a command as ops do and return its standard output.

        Raises:
            StepError: it failed, or took longer than `COMMAND_SECONDS`.
        """
        try:
            done = subprocess.run(
                argv,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StepError(f"`{' '.join(argv)}` took over {COMMAND_SECONDS} s") from error
        if done.returncode != 0:
            raise StepError(f"`{' '.join(argv)}` failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def hoster(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the command prints
        """Run ``hoster`` and return its JSON."""
        return json.loads(self.run("hoster", *arguments, "--json"))

    def pulumi(self, *arguments: str) -> str:
        """Run ``pulumi`` in the program's folder."""
        return self.run("pulumi", "--cwd", str(self._program), "--non-interactive", *arguments)

    def up(self, stack: str) -> str:
        """Run ``pulumi up`` for one client."""
        return self.pulumi("up", "--yes", "--stack", stack)


def delivered_codes(mail_dir: Path, recipient: str) -> AccessCodes:
    """Return the access codes of the delivery mail that *recipient* got.

    Raises:
        StepError: there is not exactly one such mail.
    """
    kept = client_side.mails(mail_dir, recipient)
    if len(kept) != 1:
        raise StepError(f"{recipient} has {len(kept)} mails, and one delivery mail was due")
    return client_side.access_codes(kept[0])


def leave_a_file(client: Client, *, mebibytes: int) -> str:
    """Write random bytes on the VPS, once, and return their SHA-256."""
    return client.run(
        "test -f precious || "
        f"head -c {mebibytes}M /dev/urandom > precious; sync; sha256sum < precious | cut -c1-64"
    )


def size_seen_inside(client: Client) -> dict[str, int]:
    """Return what the guest itself sees: vCPUs, memory and root disk in MiB."""
    seen = client.run(
        "nproc; grep -oP 'MemTotal: *\\K\\d+' /proc/meminfo; lsblk -bdno SIZE /dev/vda; "
        "cut -d. -f1 /proc/uptime"
    )
    vcpus, memory_kib, disk_bytes, uptime = (int(line) for line in seen.split())
    return {
        "vcpus": vcpus,
        "memory_mib": memory_kib // 1024,
        "disk_gib": disk_bytes // 2**30,
        "uptime_seconds": uptime,
    }


def outside_command(namespace: str) -> Sequence[str]:
    """Return the start of a command line that runs the rest on the outside host."""
    return ("ip", "netns", "exec", namespace)
