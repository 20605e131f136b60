"""What the toolkit asks of the ``pulumi`` command itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random,
)

from hoster.errors import ConfigurationError, ToolError
from hoster.project import ENDED_VARIABLE
from hoster.project.files import write

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from filelock import FileLock

    from hoster.project import Project

TIMEOUT_SECONDS = 120
DEPLOY_SECONDS = 1800
"""A disk may be copied, and a guest gets its minute to shut down."""
LOCKED_SECONDS = 300
"""How long to wait for somebody else who works on the same stack."""
VANISHED_ATTEMPTS = 5
"""So often in a row nobody lets go of a stack: there is no such bucket, say."""
VOLUME = "libvirt:index/volume:Volume"
_HOLDER = re.compile(r"/([^/\s]+): created by \S+@(\S+) \(pid (\d+)\)")
# Pulumi lists a stack's locks, then reads them. What it says, on any backend, where one was taken
# away between the two.
_VANISHED = re.compile(
    r"^error: could not list bucket: .*\(code=NotFound\)|^ *2\) NotFound$", re.MULTILINE
)
_CHANGED = re.compile(r"^\s*[+~-]+ *\d+ (created|updated|deleted|replaced)", re.MULTILINE)


class _ExistsError(ToolError):
    """A stack of that name is there already."""


class _UnknownError(ToolError):
    """There is no stack of that name."""


class _LockedError(ToolError):
    """Somebody works on the stack."""


class _VanishedError(ToolError):
    """Somebody let go of the stack at that moment."""


def ensure_stack(project: Project, client: str) -> None:
    """Make *client*'s stack and its declaration with the stack's own encryption salt, once.

    Raises:
        ToolError: Pulumi is missing or refused.
    """
    # Asked of this stack alone: with thousands of clients a list of all would cost more each time.
    with suppress(_ExistsError):
        _pulumi(project, "stack", "init", client, "--no-select", "--non-interactive")
    declaration = project.declaration(client)
    if not _has_encryption(declaration):
        # Known to the backend, but its file was lost, or written by hand.
        written = declaration.read_text(encoding="utf-8") if declaration.is_file() else ""
        write(declaration, written + yaml.safe_dump(_encryption(project, client)))


def encrypt(project: Project, client: str, value: str) -> str:
    """Return *value* as only *client*'s stack can read it, for a ``secure:`` in its declaration.

    The value travels on standard input and the work happens on a copy of the declaration, so
    that it appears in no process list and a failure leaves the declaration as it was.

    Raises:
        ToolError: Pulumi is missing or refused.
    """
    with tempfile.TemporaryDirectory(prefix="hoster-") as folder:
        copy = Path(folder) / f"Pulumi.{client}.yaml"
        shutil.copyfile(project.declaration(client), copy)
        _pulumi(
            project,
            *("config", "set", "--secret", "hoster:sealed"),
            *("--stack", client, "--config-file", str(copy)),
            text=value,
        )
        sealed = yaml.safe_load(copy.read_text())["config"]["hoster:sealed"]["secure"]
    if not isinstance(sealed, str) or value in sealed:
        raise ToolError(f"pulumi did not encrypt the secret of {client}")
    return sealed


def stack_outputs(project: Project, client: str) -> dict[str, Any]:
    """Return the outputs of *client*'s last `pulumi up`; empty where there was none.

    Raises:
        ToolError: Pulumi is missing or refused.
    """
    try:
        answer = _pulumi(project, "stack", "output", "--json", "--stack", client)
    except _UnknownError:
        return {}
    outputs: dict[str, Any] = json.loads(answer)
    return outputs


def deploy(project: Project, client: str, *, ended: Collection[str] = ()) -> bool:
    """Make *client*'s declaration so; return whether that changed anything.

    It may do without those VPSs in *ended* (``client/vps``); any other that is deployed and not
    declared is refused.

    A run that was killed leaves its lock: where its process was on this machine and is gone, the
    lock is taken away; for anybody else's it is waited.

    Raises:
        ToolError: Pulumi is missing or refused; or somebody else works on the stack for minutes.
    """
    said = _patiently(
        project,
        client,
        *("up", "--yes", "--skip-preview", "--stack", client, "--color", "never"),
        environment={ENDED_VARIABLE: " ".join(ended)},
    )
    return _CHANGED.search(said) is not None


def preview(project: Project, client: str) -> dict[str, Any]:
    """Return what `pulumi preview --json` says of *client*'s declaration, refusals included.

    Raises:
        ToolError: Pulumi is missing, or says nothing that can be read.
    """
    command = ("preview", "--json", "--stack", client, "--non-interactive")
    done = _ran(project, *command, seconds=DEPLOY_SECONDS)
    # What it refuses is told as JSON, too; what it cannot even begin is not.
    if not done.stdout.startswith("{"):
        raise _refusal(command, done.stdout + done.stderr)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def repair(project: Project, client: str) -> int:
    """Settle what an update left half done that was killed; return how many operations it was.

    Raises:
        ToolError: Pulumi is missing or refused.
    """
    exported = json.loads(_pulumi(project, "stack", "export", "--stack", client))
    pending = exported["deployment"].get("pending_operations") or []
    if pending:
        _patiently(
            project,
            client,
            *("refresh", "--yes", "--skip-preview", "--clear-pending-creates"),
            *("--stack", client),
        )
    return len(pending)


def unprotect(project: Project, client: str, vps: str, installation: int | None = None) -> bool:
    """Let the next `deploy` delete what *vps* is made of, if its declaration does not have it.

    All of it, or the volume of one *installation*. Returns whether anything was protected.

    Raises:
        ToolError: Pulumi is missing or refused.
    """
    urns = [
        urn
        for urn, resource in _resources(project, client).items()
        if resource.get("protect")
        and resource.get("parent", "").endswith(f"::{vps}")
        and (
            installation is None
            or (resource["type"] == VOLUME and _installation(resource) == installation)
        )
    ]
    if urns:
        _patiently(project, client, "state", "unprotect", *urns, "--yes", "--stack", client)
    return bool(urns)


def remove_stack(project: Project, client: str) -> bool:
    """Remove a stack that holds nothing any more, and its declaration; False where it was gone.

    Raises:
        ToolError: it still holds a resource, which stays; Pulumi is missing or refused.
    """
    try:
        left = [one["type"] for one in _resources(project, client).values()]
    except _UnknownError:
        return False
    # The stack itself, and providers, which hold nothing.
    if held := [kind for kind in left if not kind.startswith("pulumi:")]:
        raise ToolError(f"the stack {client} still holds {len(held)} resources: {held[0]}")
    stack = ("--yes", "--stack", client)
    _patiently(project, client, "destroy", "--skip-preview", *stack)
    _patiently(project, client, "stack", "rm", "--remove-backups", *stack)
    return True


def _resources(project: Project, client: str) -> dict[str, Any]:
    exported = json.loads(_pulumi(project, "stack", "export", "--stack", client))
    return {one["urn"]: one for one in exported["deployment"].get("resources") or []}


def _installation(volume: dict[str, Any]) -> int:
    number = volume["urn"].rpartition("::")[2].rpartition(".")[2]
    return int(number) if number.isdecimal() else 1


def _patiently(
    project: Project, client: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command on a stack that somebody else may be working on."""
    at_once = Retrying(
        retry=retry_if_exception_type(_VanishedError),
        stop=stop_after_attempt(VANISHED_ATTEMPTS),
        reraise=True,
    )
    command = partial(
        at_once,
        _pulumi,
        project,
        *arguments,
        "--non-interactive",
        seconds=DEPLOY_SECONDS,
        environment=environment,
    )
    with ExitStack() as alone:
        return Retrying(
            retry=retry_if_exception_type(_LockedError),
            stop=stop_after_delay(LOCKED_SECONDS),
            # Two that met would meet again and again if both waited just as long.
            wait=wait_random(0.5, 2),
            reraise=True,
        )(_Patience(project, client, alone).attempt, command)


class _Patience:
    """What was seen of a stack's lock so far; *alone* holds what keeps out a second remover."""

    def __init__(self, project: Project, client: str, alone: ExitStack) -> None:
        self._project, self._client, self._alone = project, client, alone
        self._recovery = _recovery(project, client)
        self._suspected: Collection[str] = ()

    def attempt(self, command: Callable[[], str]) -> str:
        try:
            return command()
        except _LockedError as error:
            left = _left_behind(str(error))
            # `pulumi cancel` takes away whatever lock there is then. One that was there after
            # its process had gone keeps out everybody else, so that it can be no other; who
            # ended in good order had taken theirs away.
            if left and left == self._suspected:
                _pulumi(self._project, "cancel", "--yes", "--stack", self._client)
            elif left:
                self._alone.enter_context(self._recovery)
            self._suspected = left
            raise


def _recovery(project: Project, client: str) -> FileLock:
    """Keep two from taking away the same lock: the second would take that of the first.

    Whoever holds it goes on to the end of its command, which has a time limit.
    """
    from filelock import FileLock

    project.state.mkdir(mode=0o700, exist_ok=True)
    return FileLock(project.state / f"{client}.recovery.lock")


def _left_behind(refusal: str) -> Collection[str]:
    """Return the locks on a stack, if all their processes were on this machine and are gone."""
    holders = _HOLDER.findall(refusal)
    here = socket.gethostname()
    if any(host != here or Path(f"/proc/{pid}").exists() for _, host, pid in holders):
        return ()
    return {lock for lock, _, _ in holders}


def _encryption(project: Project, client: str) -> dict[str, str]:
    """Return what the stack's file has to say of its encryption, out of the stack's state."""
    exported = json.loads(_pulumi(project, "stack", "export", "--stack", client))
    state = exported["deployment"]["secrets_providers"]["state"]
    if "salt" in state:
        return {"encryptionsalt": state["salt"]}
    return {"secretsprovider": state["url"], "encryptedkey": state["encryptedkey"]}


def _has_encryption(declaration: Path) -> bool:
    if not declaration.is_file():
        return False
    document = yaml.safe_load(declaration.read_text()) or {}
    return bool({"encryptionsalt", "encryptedkey", "secretsprovider"} & set(document))


def _pulumi(
    project: Project,
    *arguments: str,
    text: str | None = None,
    seconds: int = TIMEOUT_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> str:
    done = _ran(project, *arguments, text=text, seconds=seconds, environment=environment)
    if done.returncode != 0:
        # An update tells what went wrong among what it did, the rest on standard error.
        raise _refusal(arguments, "\n".join(filter(None, (done.stdout, done.stderr))))
    return done.stdout


def _ran(
    project: Project,
    *arguments: str,
    text: str | None = None,
    seconds: int = TIMEOUT_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    if shutil.which("pulumi") is None:
        raise ToolError(
            "pulumi is not on PATH; it deploys and encrypts declarations",
            remedy="Run scripts/setup, then `source scripts/lib/env.sh`.",
        )
    argv = ["pulumi", "--cwd", str(project.program), *arguments]
    try:
        return subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"`{' '.join(argv)}` gave no answer in {seconds} s",
            remedy="Look for a lock: `pulumi cancel`, or a backend that is out of reach.",
        ) from error


def _refusal(arguments: tuple[str, ...], said: str) -> Exception:
    reason = said.strip() or "no reason given"
    if "passphrase" in reason:
        return ConfigurationError(
            f"pulumi {arguments[0]}: {reason}",
            remedy="Set PULUMI_CONFIG_PASSPHRASE_FILE to the file with the company's passphrase.",
        )
    kinds = {
        "already exists": _ExistsError,
        "no stack named": _UnknownError,
        "currently locked": _LockedError,
    }
    kind = next((kinds[text] for text in kinds if text in reason), ToolError)
    if kind is ToolError and _VANISHED.search(reason):
        kind = _VanishedError
    return kind(f"pulumi {' '.join(arguments[:2])}: {reason}")
