"""What libvirt's hook and the node's units run: ``python -m hoster.node.unattended ACT``.

The acts ``start``, ``stop``, ``restore`` and ``reconcile`` of `hoster-node`, without its command
line for people: reading that takes a third of the time that a guest's start waits for the hook,
and a tenth of the memory. For start and stop the domain's XML comes on standard input. Exit code
1 means that it was not done: a domain must not start then.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hoster.node import CONFIG, STATE
from hoster.node.agent import Agent, Config, Outcome
from hoster.node.errors import NodeError
from hoster.node.store import Store


def main(act: str, state: str = STATE, config: str = CONFIG) -> int:
    """Do *act*, say on standard error what became of it, and return the exit code."""
    try:
        outcome = _done(Agent(Store(Path(state)), Config(Path(config))), act)
    except NodeError as error:
        sys.stderr.write(f"hoster-node: {error}\n")
        return 1
    if outcome.changed:
        subject = f"{outcome.subject}: " if outcome.subject else ""
        sys.stderr.write(f"{subject}{outcome.text}\n")
    return 0


def _done(agent: Agent, act: str) -> Outcome:
    if act == "restore":
        return agent.restore()
    if act == "reconcile":
        from hoster.node.domains import running_vpss

        return agent.reconcile(running_vpss())
    # What is no UTF-8 is refused as no XML, in every locale.
    xml = sys.stdin.buffer.read().decode(errors="surrogateescape")
    return {"start": agent.start, "stop": agent.stop}[act](xml)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
