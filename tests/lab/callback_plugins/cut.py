"""Ends ansible-playbook after the first task that it did not end after before, as a crash would."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Knows the tasks that it ended after by a file with their names, a line each."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "cut"

    def __init__(self) -> None:
        super().__init__()
        self._file = Path(os.environ["HOSTER_CUT_AFTER"])

    def v2_runner_on_ok(self, result: Any) -> None:
        """End, with nothing tidied up."""
        known = self._file.read_text("utf-8") if self._file.exists() else ""
        name = result.task.get_name()
        if name not in known.splitlines():
            self._file.write_text(f"{known}{name}\n", "utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
