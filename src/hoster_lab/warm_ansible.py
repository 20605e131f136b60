"""Runs `ansible-playbook` in forks of a process that has loaded it, and this project's plugins.

Loading takes longer than all else that a short playbook does on this machine. Each run is a
process of its own with its own environment, which may be killed; what it reads of files, it reads
anew. The settings of Ansible are those of the environment that the first process was started in.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_LOAD_SECONDS = 120.0
PLUGINS = {
    "action": ("hoster", "command", "copy", "template", "debug", "assert", "add_host", "set_fact"),
    "filter": ("bool",),
    "inventory": ("hoster_vps", "host_list", "yaml"),
    "strategy": ("linear",),
    "test": ("match",),
}
"""Those that playbooks use, by kind."""


class WarmAnsible:
    """The process that is forked; *environment* is what it and each run start with."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
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


def main() -> None:
    """Load, then fork for each line of the input; answer with the fork's number and exit code."""
    from ansible.cli.playbook import PlaybookCLI

    _load_plugins()
    gc.freeze()  # what is loaded is shared by all
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(asked)
            PlaybookCLI.cli_executor(["ansible-playbook", *asked["argv"]])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


def _load_plugins() -> None:
    """Load what a run would, so that Ansible finds it loaded."""
    from ansible.plugins import loader

    loader.init_plugin_loader()
    for kind, names in PLUGINS.items():
        for name in names:
            getattr(loader, f"{kind}_loader").get(name, class_only=True)
    for kind in ("become", "callback", "connection", "shell", "vars"):
        list(getattr(loader, f"{kind}_loader").all(class_only=True))
    # A run does that again.
    warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")


def _become(asked: dict[str, Any]) -> None:
    """Be a process as a shell starts one: with its own input, output and environment."""
    os.environ.update(asked["more"])
    files = [
        (os.devnull, os.O_RDONLY),
        *((file, os.O_WRONLY | os.O_CREAT) for file in asked["files"]),
    ]
    for number, (file, how) in enumerate(files):
        os.dup2(os.open(file, how, 0o600), number)


if __name__ == "__main__":
    main()
