"""A client of the lab's company: reads its mail and logs in to its VPS from outside."""

from __future__ import annotations

import json
import mailbox
import re
import secrets
from dataclasses import dataclass
from email import policy
from email.parser import BytesParser
from typing import TYPE_CHECKING

import pexpect
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage
    from pathlib import Path

LOGIN_SECONDS = 90
READY_SECONDS = 240
_PROMPT = r"[Pp]assword: ?$"
_NOT_LISTENING = ("Connection refused", "Connection reset", "Connection closed")
_SSH_OPTIONS = (
    *("-o", "PreferredAuthentications=password,keyboard-interactive"),
    *("-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"),
    *("-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=30", "-o", "LogLevel=ERROR"),
)


class LoginError(Exception):
    """The VPS did not let its client in; the message says what it answered."""


class DeniedError(LoginError):
    """The VPS answered, and did not take the password."""


class RefusedError(LoginError):
    """Nothing listens on the VPS's SSH port, though it is on the network."""


@dataclass(frozen=True)
class AccessCodes:
    """What the delivery mail says: where to log in, as whom, with which password."""

    address: str
    user: str
    password: str

    def __repr__(self) -> str:
        """Without the password."""
        return f"AccessCodes({self.user}@{self.address})"


def mails(maildir: Path, recipient: str) -> list[EmailMessage]:
    """Return the mails kept for *recipient*, in the order in which they came."""
    kept = mailbox.Maildir(maildir, create=False)
    parser = BytesParser(policy=policy.default)
    came = sorted(kept.keys(), key=lambda key: kept.get_message(key).get_date())
    messages = [parser.parsebytes(kept.get_bytes(key)) for key in came]
    return [message for message in messages if recipient in str(message["To"])]


def access_codes(message: EmailMessage) -> AccessCodes:
    """Read the codes out of a delivery mail, in French or English.

    Raises:
        LoginError: the mail holds none.
    """
    body = message.get_body(("plain",))
    text = body.get_content() if body else ""
    login = re.search(r"ssh (\S+)@(\d+\.\d+\.\d+\.\d+)", text)
    password = re.search(r"(?:Password|Mot de passe)[^:\n]*:\s*(\S+)", text, re.IGNORECASE)
    if not login or not password:
        raise LoginError(f"no access codes in the mail «{message['Subject']}»")
    return AccessCodes(address=login[2], user=login[1], password=password[1])


def _until_ready(*passing: type[LoginError]) -> Retrying:
    """Return the patience of a client that gets one of *passing* for an answer."""
    return Retrying(
        retry=retry_if_exception_type(passing),
        stop=stop_after_delay(READY_SECONDS),
        wait=wait_fixed(3),
        reraise=True,
    )


class Client:
    """A client at a terminal somewhere on the Internet of the lab.

    *outside* is the start of a command line that runs the rest outside the company's network;
    *notes* a file, private to the client, where it keeps the password that it chose.
    """

    def __init__(self, codes: AccessCodes, *, outside: Sequence[str], notes: Path) -> None:
        self._codes = codes
        self._outside = tuple(outside)
        self._notes = notes
        self._known_hosts = notes.with_suffix(".known_hosts")

    def first_login(self) -> None:
        """Log in with the initial password and choose a new one, as the system demands.

        A guest greets on its SSH port some seconds before it takes the password: a login that is
        denied is tried again, for `READY_SECONDS`.

        Raises:
            LoginError: the VPS did not let its client in, or did not take the new password.
        """
        _until_ready(DeniedError, RefusedError)(self._change_password)

    def run(self, command: str, *, timeout: float = LOGIN_SECONDS) -> str:
        """Run *command* on the VPS and return what it prints; logs in for it.

        Raises:
            LoginError: the VPS refused the login, or the command failed.
        """
        if not self._notebook().get("used"):
            self.first_login()
        # Its first boot restarts the SSH server once it has set the password.
        return _until_ready(RefusedError)(self._run, command, timeout=timeout)

    def _change_password(self) -> None:
        chosen = self._chosen()
        with self._ssh(()) as terminal:
            self._answer(terminal, self._codes.password)
            asked = [r"(?i)current.*password: ?$", "Permission denied"]
            if terminal.expect(asked, timeout=LOGIN_SECONDS) == 1:
                # Too early, or an earlier run was cut after the system took the new password.
                self._run("true", timeout=LOGIN_SECONDS)
            else:
                self._choose(terminal, chosen)
        self._remember(chosen, used=True)

    def _choose(self, terminal: pexpect.spawn[str], chosen: str) -> None:
        terminal.sendline(self._codes.password)
        for _ in ("new password", "the same again"):
            terminal.expect(r"(?i)new.*password: ?$", timeout=LOGIN_SECONDS)
            terminal.sendline(chosen)
        terminal.expect(pexpect.EOF, timeout=LOGIN_SECONDS)
        if "success" not in str(terminal.before):
            raise LoginError(f"the new password was not taken: {terminal.before!s}")

    def _run(self, command: str, *, timeout: float) -> str:
        with self._ssh((command,)) as terminal:
            self._answer(terminal, self._chosen())
            terminal.expect(pexpect.EOF, timeout=timeout)
            output = str(terminal.before).replace("\r\n", "\n").strip()
            terminal.close()
            if "Permission denied" in output:
                raise DeniedError(f"{self._codes.address} denies the login: {output}")
            if terminal.exitstatus != 0:
                raise LoginError(f"`{command}` on {self._codes.address} failed: {output}")
            return output

    def _ssh(self, command: Sequence[str]) -> pexpect.spawn[str]:
        argv = [
            *self._outside,
            "ssh",
            *_SSH_OPTIONS,
            *("-o", f"UserKnownHostsFile={self._known_hosts}"),
            f"{self._codes.user}@{self._codes.address}",
            *command,
        ]
        return pexpect.spawn(argv[0], argv[1:], encoding="utf-8", timeout=LOGIN_SECONDS)

    def _answer(self, terminal: pexpect.spawn[str], password: str) -> None:
        try:
            terminal.expect(_PROMPT)
            terminal.waitnoecho()
            terminal.sendline(password)
        except (pexpect.EOF, pexpect.TIMEOUT) as error:
            said = str(terminal.before)
            kind = RefusedError if any(sign in said for sign in _NOT_LISTENING) else LoginError
            raise kind(f"{self._codes.address} asked for no password: {said}") from error

    def _chosen(self) -> str:
        chosen = self._notebook().get("password")
        if not isinstance(chosen, str):
            chosen = secrets.token_urlsafe(18)
            self._remember(chosen, used=False)
        return chosen

    def _notebook(self) -> dict[str, object]:
        if not self._notes.is_file():
            return {}
        kept: dict[str, object] = json.loads(self._notes.read_text())
        return kept if kept.get("address") == self._codes.address else {}

    def _remember(self, password: str, *, used: bool) -> None:
        self._notes.touch(mode=0o600)
        note = {"address": self._codes.address, "password": password, "used": used}
        self._notes.write_text(json.dumps(note))
