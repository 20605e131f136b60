"""The way of a VPS from the order to the client's login, step by step, as ops and client go it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from hoster_lab import client as client_side

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hoster_lab.client import AccessCodes, Client
    from hoster_lab.lab import Lab

COMMAND_SECONDS = 300
BOOT_SECONDS = 600


def contact(email: str, language: str) -> tuple[str, ...]:
    """Return the options of ``hoster client add`` for somebody who does not exist."""
    return (
        *("--first-name", "Élise", "--last-name", "Dubois", "--organisation", "Essais SARL"),
        *("--street", "2 rue de l'Exemple", "--postal-code", "59100", "--city", "Roubaix"),
        *("--country", "FR", "--phone", "01 99 00 12 34"),
        *("--email", email, "--language", language),
    )


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

    def hoster(self, *arguments: str) -> Any:
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


def wait_until_answering(lab: Lab, address: str) -> None:
    """Wait until the guest at *address* greets on its SSH port, seen from the outside host.

    Raises:
        StepError: it did not within `BOOT_SECONDS`.
    """

    def greeted() -> bool:
        return bool(lab.outside(["ssh-keyscan", "-T", "3", address], check=False).stdout)

    policy = Retrying(
        retry=retry_if_result(lambda answer: not answer),
        stop=stop_after_delay(BOOT_SECONDS),
        wait=wait_fixed(1),
    )
    try:
        policy(greeted)
    except RetryError as error:
        raise StepError(f"the guest at {address} did not answer in {BOOT_SECONDS} s") from error


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
