"""A node for the agent's tests: one network for each file, a freshly booted node for each test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hoster_lab.agent_node import Node, Standing
from hoster_lab.in_process import Probe, Station
from hoster_lab.traffic import DB, STRANGER, WEB, write_rules
from hoster_lab.wire import INBOUND, UPLINK, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A node's network with web, db and a stranger plugged; no rules."""
    with wire(tmp_path_factory.mktemp("node"), f"ha{os.getpid()}") as made:
        write_rules(made)
        ports = {"web": (WEB.tap, WEB.mac), "db": (DB.tap, DB.mac), "stranger": (STRANGER, None)}
        for name, (port, mac) in ports.items():
            made.plug(name, port, mac)
        stations = {name: Station(made.station(name)) for name in (*ports, "world")}
        files = {file: file.read_text() for file in made.config.iterdir()}
        yield Standing(made, Probe(made), stations, files)


@pytest.fixture
def node(standing: Standing, tmp_path: Path) -> Node:
    """A node that has just been booted for the first time; the taps are there."""
    made = standing.made
    for file, text in standing.files.items():
        file.write_text(text)
    made.on(made.node, "nft", "flush", "ruleset")
    for device in (UPLINK, INBOUND):
        made.on(made.node, "tc", "qdisc", "delete", "dev", device, "root", check=False)
    made.state = tmp_path / "state" / "node.sqlite"
    interfaces = tmp_path / "interfaces"
    interfaces.mkdir()
    for port in (WEB.tap, DB.tap, STRANGER):
        (interfaces / port).touch()
    return Node(standing, interfaces)


@pytest.fixture
def two(node: Node) -> Node:
    """The same with WEB and DB running."""
    for rented in (WEB, DB):
        node.start(rented)
    return node
