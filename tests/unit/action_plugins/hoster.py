"""Stands in for plugins/action/hoster.py: notes what a playbook asks, and answers what it is told.

``HOSTER_FAKE`` is a folder: ``answers.json`` holds an answer by act, ``calls`` gets a line a call.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs nothing."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, *_context: object, **_variables: object) -> dict[str, Any]:
        """Return the answer for this act."""
        folder = Path(os.environ["HOSTER_FAKE"])
        act, arguments = self._task.args["act"], self._task.args["arguments"]
        words = [f"{name}={value}" for name, value in arguments.items() if value]
        words += ["--dry-run"] if self._task.check_mode else []
        with (folder / "calls").open("a") as calls:
            calls.write(f"hoster {act} {' '.join(words)}\n")
        answer = json.loads((folder / "answers.json").read_text()).get(act, {})
        return {"changed": bool(answer.get("changed")), "answer": answer, "stdout_lines": []}
