"""Runs `ansible-playbook` in forks of a process that has loaded it, and this project's plugins.

Loading takes longer than all else that a short playbook does on this machine. Each run is a
process of its own with its own environment, which may be killed; what it reads of files, it reads
anew. The settings of Ansible are those of the environment that the first process was started in.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_LOAD_SECONDS = 120.0


class WarmAnsible:
    """The process that is forked: *program*, with an *environment* that each run has, too.

    For each line of JSON it prints a fork's process id, then its exit code. A line has the words
    after ``ansible-playbook`` (``argv``), what the environment has besides (``more``), and the
    files for output and errors (``files``).
    """

    def __init__(self, program: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(program)],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what is read into a buffer, select does not tell
        )

    def __enter__(self) -> WarmAnsible:
        """Be there while the block runs."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self._process.communicate()

    def run(
        self, argv: Sequence[str], *, timeout: float, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``ansible-playbook`` with the words *argv*, and *more* in its environment.

        The return code is negative where a signal ended it, as with `subprocess.run`.

        Raises:
            LabError: it took longer than *timeout* seconds, and was killed.
        """
        with TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("output", "errors")]
            asked = {"argv": list(argv), "more": dict(more or {}), "files": [*map(str, files)]}
            self._ask(asked)
            pid, code = self._answer(_LOAD_SECONDS), self._answer(timeout)
            if not code:
                os.kill(int(pid), signal.SIGKILL)
                self._answer(_LOAD_SECONDS)
                raise LabError(f"`ansible-playbook {' '.join(argv)}` took over {timeout} s")
            said = [file.read_text(errors="replace") for file in files]
        return subprocess.CompletedProcess(["ansible-playbook", *argv], int(code), *said)

    def _ask(self, asked: dict[str, Any]) -> None:
        stream: Any = self._process.stdin
        stream.write(f"{json.dumps(asked)}\n".encode())

    def _answer(self, timeout: float) -> str:
        """Return its next line; nothing where none comes in time."""
        stream: Any = self._process.stdout
        ready, _, _ = select.select([stream], [], [], timeout)
        return str(stream.readline(), "ascii") if ready else ""
