"""What libvirt's hook runs: ``hoster-node vps start|stop``, without a command line for people.

A guest's start waits for it, and a third of the time of such a command is the reading of its
options. The domain's XML comes on standard input; exit code 1 means that it must not start.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hoster.node import CONFIG, STATE
from hoster.node.agent import Agent, Config
from hoster.node.errors import NodeError
from hoster.node.store import Store


def main(act: str, state: str = STATE, config: str = CONFIG) -> int:
    """Let the domain on standard input onto the network, or take it off; return the exit code."""
    try:
        agent = Agent(Store(Path(state)), Config(Path(config)))
        # What is no UTF-8 is refused as no XML, in every locale.
        xml = sys.stdin.buffer.read().decode(errors="surrogateescape")
        outcome = {"start": agent.start, "stop": agent.stop}[act](xml)
    except NodeError as error:
        sys.stderr.write(f"hoster-node: {error}\n")
        return 1
    sys.stderr.write(f"{outcome.subject}: {outcome.text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
