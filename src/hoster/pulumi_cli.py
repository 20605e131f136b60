"""The three things that the toolkit asks of the ``pulumi`` command itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hoster.declaration_files import write
from hoster.errors import ConfigurationError, ToolError

if TYPE_CHECKING:
    from hoster.project import Project

TIMEOUT_SECONDS = 120


class _ExistsError(ToolError):
    """A stack of that name is there already."""


class _UnknownError(ToolError):
    """There is no stack of that name."""


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


def _pulumi(project: Project, *arguments: str, text: str | None = None) -> str:
    if shutil.which("pulumi") is None:
        raise ToolError(
            "pulumi is not on PATH; it deploys and encrypts declarations",
            remedy="Run scripts/setup, then `source .lab/env` or put its bin folder on PATH.",
        )
    argv = ["pulumi", "--cwd", str(project.program), *arguments]
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"`{' '.join(argv)}` gave no answer in {TIMEOUT_SECONDS} s",
            remedy="Look for a lock: `pulumi cancel`, or a backend that is out of reach.",
        ) from error
    if done.returncode != 0:
        raise _refusal(arguments, done.stderr)
    return done.stdout


def _refusal(arguments: tuple[str, ...], stderr: str) -> Exception:
    reason = stderr.strip() or "no reason given"
    if "passphrase" in reason:
        return ConfigurationError(
            f"pulumi {arguments[0]}: {reason}",
            remedy="Set PULUMI_CONFIG_PASSPHRASE_FILE to the file with the company's passphrase.",
        )
    kinds = {"already exists": _ExistsError, "no stack named": _UnknownError}
    kind = next((kinds[text] for text in kinds if text in reason), ToolError)
    return kind(f"pulumi {' '.join(arguments[:2])}: {reason}")
