"""Runs `ansible-playbook` in a fork of this process, which has loaded it, for each line of input.

`hoster_lab.warm_ansible` starts it, and says what the lines are. Here, since no module of ours may
import Ansible.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from typing import Any

from ansible.cli.playbook import PlaybookCLI
from ansible.plugins import loader

PLUGINS = {
    "action": ("hoster", "command", "copy", "template", "debug", "assert", "add_host", "set_fact"),
    "filter": ("bool",),
    "inventory": ("hoster_vps", "host_list", "yaml"),
    "strategy": ("linear",),
    "test": ("match",),
}
"""Those that playbooks use, by kind."""


def main() -> None:
    """Load, then fork for each line of the input; answer with the fork's number and exit code."""
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
    loader.init_plugin_loader()
    for kind, names in PLUGINS.items():
        for name in names:
            getattr(loader, f"{kind}_loader").get(name, class_only=True)
    for kind in ("become", "callback", "connection", "shell"):
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
