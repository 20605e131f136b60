"""Refused ports as rows of the packet filter, and where they hold (C4.5, C7.6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoster.catalogue import RefusedPorts, refused_ports

CHECKOUT = Path(__file__).parents[2]
PORTS = st.lists(st.integers(1, 65535) | st.just("6881-6889"), min_size=1, max_size=4)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["irc", "smb"]),
            "reason": st.just("worms"),
            "direction": st.sampled_from(["in", "out"]),
            "protocol": st.sampled_from(["tcp", "udp"]),
            "end": st.sampled_from(["to", "from"]),
            "ports": PORTS,
            "refused_in": st.just("everywhere")
            | st.lists(st.sampled_from(["paris", "roubaix"]), unique=True),
        }
    ),
    max_size=6,
)


def entry(way: str, *ports: int | str, name: str = "irc") -> dict[str, Any]:
    direction, protocol, end = way.split()
    place = {"direction": direction, "protocol": protocol, "end": end}
    return {"name": name, "reason": "worms", **place, "ports": list(ports)}


def row(field: str, ports: list[int | str], *names: str) -> dict[str, Any]:
    return {"field": field, "ports": ports, "comments": [f"{name}: worms" for name in names]}


EMPTY: dict[str, Any] = {
    "tcp_from_vps": [],
    "tcp_to_vps": [],
    "udp_from_vps": [row("sport", [67])],
    "udp_to_vps": [],
}


@pytest.mark.parametrize(
    ("entries", "chains"),
    [
        ([], {}),
        ([entry("in tcp to", 445)], {"tcp_to_vps": [row("dport", [445], "irc")]}),
        ([entry("in udp from", 53)], {"udp_to_vps": [row("sport", [53], "irc")]}),
        (
            [entry("out udp from", 19, 67), entry("out udp to", "1-9", name="low")],
            {"udp_from_vps": [row("dport", ["1-9"], "low"), row("sport", [67, 19], "irc")]},
        ),
        (
            [entry("out tcp to", 7000, 194), entry("out tcp to", 23, 194, name="telnet")],
            {"tcp_from_vps": [row("dport", [7000, 194, 23], "irc", "telnet")]},
        ),
    ],
)
def test_a_chain_has_a_row_for_each_end_with_every_port_once(
    entries: list[dict[str, Any]], chains: dict[str, Any]
) -> None:
    """A DHCP server's port is refused without a policy."""
    assert EMPTY | chains == refused_ports.rules(entries)


@given(ENTRIES)
def test_every_refused_port_is_in_one_row_and_no_other_is(entries: list[dict[str, Any]]) -> None:
    found = {
        (chain, row["field"], port)
        for chain, rows in refused_ports.rules(entries).items()
        for row in rows
        for port in row["ports"]
    }
    wanted = {
        (
            f"{one['protocol']}_{'from' if one['direction'] == 'out' else 'to'}_vps",
            "dport" if one["end"] == "to" else "sport",
            port,
        )
        for one in entries
        for port in one["ports"]
    }

    assert wanted | {("udp_from_vps", "sport", 67)} == found


@given(ENTRIES, st.sampled_from(["paris", "roubaix", "lille"]))
def test_what_holds_in_a_location_is_what_the_policy_says(
    entries: list[dict[str, Any]], location: str
) -> None:
    policy = [RefusedPorts.model_validate(one) for one in entries]

    assert [
        one for one, refused in zip(entries, policy, strict=True) if refused.holds_in(location)
    ] == refused_ports.refused_at(location, entries)


def test_nothing_but_the_catalogue_says_where_a_port_is_refused() -> None:
    """C4.5: playbooks and roles ask it."""
    files = [path for name in ("playbooks", "roles", "molecule") for path in CHECKOUT.glob(name)]
    texts = {path: path.read_text() for one in files for path in one.rglob("*") if path.is_file()}

    assert texts
    assert [] == [path.name for path, text in texts.items() if "refused_in" in text]
