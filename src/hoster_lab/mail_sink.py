"""A real SMTP server that keeps every mail it gets, in a Maildir."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP

from hoster_lab.errors import LabError

HOST = "127.0.0.1"
USUAL_PORT = 2525
READY_SECONDS = 20.0
STOP_SECONDS = 5.0


class MailSink:
    """The server as a process in the background, with its mail and its notes in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.maildir = folder / "mail"
        self._pid_file = folder / "mail.pid"
        self._port_file = folder / "mail.port"
        self._log = folder / "mail.log"

    @property
    def port(self) -> int:
        """The port that it listens on, or listened on last."""
        return int(self._port_file.read_text()) if self._port_file.exists() else USUAL_PORT

    @property
    def pid(self) -> int:
        """Its process id; 0 when it does not run."""
        if not self._pid_file.exists():
            return 0
        pid = int(self._pid_file.read_text() or "0")
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return 0
        return pid if str(self.maildir).encode() in command else 0

    def start(self) -> None:
        """Start it where it does not run, and wait until it answers.

        Raises:
            LabError: it does not answer; its log says why.
        """
        if self.pid:
            return
        port = _free_port(self.port)
        argv = [sys.executable, "-m", __name__, str(port), str(self.maildir)]
        with self._log.open("ab") as log:
            server = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._pid_file.write_text(str(server.pid))
        self._port_file.write_text(str(port))
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the mail server does not answer on port {port}: see {self._log}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it; nothing happens when it does not run."""
        pid = self.pid
        if pid:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while self.pid and time.monotonic() < deadline:
                time.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LabError(f"no free TCP port on {HOST} for the mail server")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


async def _serve(port: int, maildir: str) -> None:
    handler = Mailbox(Path(maildir))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, enable_SMTPUTF8=True), HOST, port)
    loop.add_signal_handler(signal.SIGTERM, server.close)
    async with server:
        try:
            await server.serve_forever()
        except asyncio.CancelledError:
            return


def main() -> None:
    """Serve until told to stop (SIGTERM)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("maildir")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.port, arguments.maildir))


if __name__ == "__main__":
    main()
