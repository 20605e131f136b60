"""Real packets through the real filter, in network namespaces; needs root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hoster_lab.traffic import DB, STRANGER, WEB, write_rules
from hoster_lab.wire import Wire, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The agent's tests have it assert: a failure then says what was there.
pytest.register_assert_rewrite("hoster_lab.agent_node", "hoster_lab.in_process")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Wire]:
    """A node with its rules loaded and no VPS."""
    with wire(tmp_path, f"ht{os.getpid()}") as made:
        write_rules(made)
        made.agent("restore")
        yield made


@pytest.fixture
def two(node: Wire) -> Wire:
    """The same with the VPSs `WEB` and `DB` running, and a tap that nothing declares."""
    node.power_on(WEB)
    node.power_on(DB)
    node.plug("stranger", STRANGER)
    return node
