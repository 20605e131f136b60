"""A command of `hoster` as a task, in Ansible's process: most of what a call takes is its start."""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    # Before Ansible forks a process for each task, so that none of them loads it anew.
    import hoster.cli.act
    import hoster.cli.announce
    import hoster.ledger
    import hoster.mail.outbox  # noqa: F401
    from hoster.cli import call
    from hoster.errors import HosterError
except ImportError as error:
    _MISSING = str(error)
else:
    _MISSING = ""

DOCUMENTATION = r"""
name: hoster
short_description: Runs a command of hoster on the control machine
description:
  - Calls C(hoster) with C(argv), as the command line does, in the project that this run is for.
  - Runs on the control machine whatever the host, as its user, without C(become).
  - A command that is refused fails the task, with the reason and what to do about it.
  - In check mode the command gets C(--dry-run), and must know it.
options:
  argv:
    description: The command's words, after C(hoster).
    required: true
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Record a suspension
  hoster:
    argv: [act, suspend, acme/web, --reason, unpaid]
  register: recorded
"""

RETURN = r"""
answer:
  description: The JSON that the command printed, if it did; C(changed) is taken out of it.
  type: dict
stdout_lines:
  description: What it printed.
  type: list
stderr_lines:
  description: What it told besides.
  type: list
"""


class ActionModule(ActionBase):
    """Runs the command."""

    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"argv"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what the command said.

        Raises:
            AnsibleActionFail: it was refused or failed.
        """
        super().run(tmp, task_vars)
        if _MISSING:
            raise AnsibleActionFail(
                f"{sys.executable} cannot import hoster: {_MISSING}. Install it with "
                "scripts/setup, and `source scripts/lib/env.sh`."
            )
        argv = [str(word) for word in self._task.args["argv"]]
        if self._task.check_mode:
            argv.append("--dry-run")
        try:
            printed, told = call(argv)
        except HosterError as error:
            raise AnsibleActionFail(str(error)) from None
        answer = json.loads(printed) if printed.startswith("{") else {}
        return {
            "changed": bool(answer.get("changed")),
            "answer": answer,
            "stdout_lines": printed.splitlines(),
            "stderr_lines": told.splitlines(),
        }
