"""An act of `hoster` as a task, in Ansible's process: most of what a call takes is its start."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

try:
    # Before Ansible forks a process for each task, so that none of them loads it anew.
    from hoster.acts.by_name import perform
    from hoster.errors import HosterError
    from hoster.project import Project
except ImportError as error:
    _MISSING = str(error)
else:
    _MISSING = ""

if TYPE_CHECKING:
    from hoster.acts.reply import Reply

DOCUMENTATION = r"""
name: hoster
short_description: Does an act of hoster on the control machine
description:
  - Does what C(hoster act) does, in the project that this run is for.
  - Runs on the control machine whatever the host, as its user, without C(become).
  - An act that is refused fails the task, with the reason and what to do about it.
  - In check mode the act is tried and nothing is kept of it; one that cannot be tried is refused.
options:
  act:
    description: Its name, as C(hoster act) has it; or C(announce-maintenance), C(announce-update).
    required: true
    type: str
  arguments:
    description: What the act takes, by name. One that is unknown, missing or of no use is refused.
    type: dict
"""

EXAMPLES = r"""
- name: Record a suspension
  hoster:
    act: suspend
    arguments:
      vps: acme/web
      reason: unpaid
  register: recorded
"""

RETURN = r"""
answer:
  description: What the act said, with the keys of the command's JSON.
  type: dict
stdout_lines:
  description: The same for people, where it is a table; otherwise nothing.
  type: list
stderr_lines:
  description: What people should know besides.
  type: list
"""


class ActionModule(ActionBase):
    """Does the act."""

    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"act", "arguments"})

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what the act said.

        Raises:
            AnsibleActionFail: it was refused or failed.
        """
        super().run(tmp, task_vars)
        if _MISSING:
            raise AnsibleActionFail(
                f"{sys.executable} cannot import hoster: {_MISSING}. Install it with "
                "scripts/setup, and `source scripts/lib/env.sh`."
            )
        reply = self._reply()
        answer = reply.as_json()
        return {
            "changed": bool(answer["changed"]),
            "answer": answer,
            "stdout_lines": reply.lines(),
            "stderr_lines": reply.remarks(),
        }

    def _reply(self) -> Reply:
        given = self._task.args
        if "act" not in given:
            raise AnsibleActionFail("act is missing: which one?")
        arguments, tried = given.get("arguments") or {}, bool(self._task.check_mode)
        try:
            return perform(str(given["act"]), arguments, Project.find(), _clock, dry_run=tried)
        except HosterError as error:
            raise AnsibleActionFail(str(error)) from None


def _clock() -> datetime:
    return datetime.now(UTC)
