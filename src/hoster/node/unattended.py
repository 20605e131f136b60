"""What libvirt's hook and the node's units run: ``python -m hoster.node.unattended ACT``.

The acts ``start``, ``stop``, ``restore`` and ``reconcile`` of `hoster-node`, without its command
line for people: reading that takes a third of the time that a guest's start waits for the hook,
and a tenth of the memory. For start and stop the domain's XML comes on standard input. Exit code
1 means that it was not done: a domain must not start then.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hoster.node import CONFIG, STATE
from hoster.wire.errors import NodeError

if TYPE_CHECKING:
    from hoster.node.agent import Outcome
    from hoster.wire.vps import Vps


def main(act: str, state: str = STATE, config: str = CONFIG) -> int:
    """Do *act*, say on standard error what became of it, and return the exit code."""
    try:
        outcome = _done(act, Path(state), Path(config))
    except NodeError as error:
        sys.stderr.write(f"hoster-node: {error}\n")
        return 1
    if outcome.changed:
        subject = f"{outcome.subject}: " if outcome.subject else ""
        sys.stderr.write(f"{subject}{outcome.text}\n")
    return 0


def _done(act: str, state: Path, config: Path) -> Outcome:
    domains = _running_vpss() if act == "reconcile" else None
    from hoster.node.agent import Agent, Config
    from hoster.node.store import Store

    agent = Agent(Store(state), Config(config))
    if act == "restore":
        return agent.restore()
    if act == "reconcile":
        return agent.reconcile(domains)
    # What is no UTF-8 is refused as no XML, in every locale.
    xml = sys.stdin.buffer.read().decode(errors="surrogateescape")
    return {"start": agent.start, "stop": agent.stop}[act](xml)


def _running_vpss() -> dict[str, Vps] | None:
    """Ask libvirt before anything else is loaded, in a child that ends.

    Its libraries take as much memory as all the rest, and nothing else gives that back.
    """
    from multiprocessing import get_context

    from hoster.node import domains

    context = get_context("fork")
    answers, answer = context.Pipe(duplex=False)
    child = context.Process(target=lambda: answer.send(domains.running_vpss()))
    child.start()
    answer.close()
    try:
        found: dict[str, Vps] | None = answers.recv()
    except EOFError:
        raise NodeError("libvirt could not be asked; what came before this says why") from None
    finally:
        child.join()
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
