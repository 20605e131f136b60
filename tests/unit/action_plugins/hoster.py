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
        argv = [str(word) for word in self._task.args["argv"]]
        argv += ["--dry-run"] if self._task.check_mode else []
        with (folder / "calls").open("a") as calls:
            calls.write(f"hoster {' '.join(argv)}\n")
        answer = json.loads((folder / "answers.json").read_text()).get(argv[1], {})
        return {"changed": bool(answer.get("changed")), "answer": answer, "stdout_lines": []}
