"""The VPSs in a node's state: found by their names, each with a class of its own (C4.8, C4.11)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from hoster.node import store as module
from hoster.node.errors import UnknownVpsError
from hoster.node.kernel.vps_elements import Measures
from hoster.node.store import FIRST_CLASS, Measure, Store
from hoster.wire.errors import NodeError
from hoster_lab.node_state import NOW, known, vps

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "node.sqlite"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(path)


def test_a_class_is_given_to_one_vps_alone_and_the_lowest_first(store: Store) -> None:
    """C4.8."""
    with store.hold():
        for last in range(17, 27):
            store.put(known(vps(last, f"v{last}"), store.free_class()))
        assert list(range(FIRST_CLASS, FIRST_CLASS + 10)) == [
            one.class_minor for one in store.all()
        ]
        with pytest.raises(sqlite3.IntegrityError):
            store.put(known(vps(27, "v27"), FIRST_CLASS))


def test_an_addresss_class_goes_over_to_its_next_vps(store: Store) -> None:
    """C4.8: addresses come back after 30 days, and classes with them: they never run out."""
    with store.hold():
        store.put(known(vps(), store.free_class(), running=False))
        store.put(known(vps(name="shop", client="other"), FIRST_CLASS))

        assert [FIRST_CLASS] == [one.class_minor for one in store.all()]
        assert FIRST_CLASS + 1 == store.free_class()


def test_without_a_class_left_it_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """C4.8."""
    monkeypatch.setattr(module, "LAST_CLASS", FIRST_CLASS)
    with store.hold():
        store.put(known(vps(), store.free_class()))
        with pytest.raises(NodeError, match="no traffic class is left"):
            store.free_class()


@pytest.mark.parametrize("named", ["acme/web", "203.0.113.17", "vps-cb007111"])
def test_a_vps_is_found_by_name_address_or_tap(store: Store, named: str) -> None:
    """C4.11."""
    with store.hold():
        store.put(known(vps(18, "db"), 17))
        store.put(known(vps()))

    assert known(vps()) == store.find(named)


@pytest.mark.parametrize("named", ["", "web", "ACME/WEB", "%", "vps-%", "203.0.113", "' OR 1=1 --"])
def test_a_name_that_is_nobodys_finds_nobody(store: Store, named: str) -> None:
    """C4.11: a measure is never put against another one."""
    with store.hold():
        store.put(known(vps()))

    with pytest.raises(UnknownVpsError, match="`hoster-node status` lists them"):
        store.find(named)


@pytest.mark.parametrize("first", [17, 18])
def test_of_two_addresses_that_had_a_name_the_running_one_is_meant(
    store: Store, first: int
) -> None:
    """C4.11: who was deleted and ordered anew is cut where it is now, not where it was."""
    with store.hold():
        for number, last in enumerate((first, 35 - first)):
            store.put(known(vps(last), FIRST_CLASS + number, running=last == 18))

    assert vps(18) == store.find("acme/web").vps


@pytest.mark.parametrize("first", [17, 18])
def test_of_two_addresses_that_had_a_name_the_last_one_is_meant(store: Store, first: int) -> None:
    """C4.11: though neither runs."""
    with store.hold():
        for number, last in enumerate((first, 35 - first)):
            started_at = NOW + timedelta(days=last)
            store.put(known(vps(last), FIRST_CLASS + number, running=False, started_at=started_at))

    assert vps(18) == store.find("acme/web").vps


def test_what_is_in_force_is_read_off_the_measures() -> None:
    """C4.11."""
    made = [
        ("quarantine", ""),
        ("throttle", ""),
        ("block-port", "25/tcp"),
        ("block-port", "25/udp"),
    ]
    state = known(vps(), measures=tuple(Measure(*one, "", NOW) for one in made))

    everything = Measures(True, True, frozenset({("tcp", 25), ("udp", 25)}))
    assert everything == state.enforced.measures
    assert Measures() == known(vps()).enforced.measures


def test_the_gateway_is_kept_and_is_unknown_in_an_earlier_agents_state(
    path: Path, store: Store
) -> None:
    """C7.4: an earlier agent did not write it; the next count reads it from the domain."""
    gateway = IPv4Address("203.0.113.1")
    with store.hold():
        store.put(known(vps(17, gateway=gateway)))
        store.put(known(vps(18, name="db"), FIRST_CLASS + 1))
    with closing(sqlite3.connect(path)) as written:
        forget = "UPDATE vps SET facts = json_remove(facts, '$.gateway') WHERE name LIKE '%db'"
        written.execute(forget)
        written.commit()

    assert [gateway, None] == [one.vps.gateway for one in store.all()]


def test_nothing_is_left_of_a_vps_that_was_forgotten(store: Store) -> None:
    """C12.5, C15.2: what the next client of its address must not inherit."""
    measure = Measure("quarantine", "measure-17", "test", NOW)
    with store.hold():
        store.put(known(vps(17), used_bytes=5, measures=(measure,)))
        store.put(known(vps(18, name="db"), FIRST_CLASS + 1, measures=(measure,)))
        store.keep_refusal(vps(17).tap, 7, NOW)
        store.keep_refusal(vps(18).tap, 8, NOW)
    with store.hold():
        store.forget(vps(17).tap)

    assert [(vps(18, name="db"), (measure,))] == [(one.vps, one.measures) for one in store.all()]
    assert {vps(18).tap: (8, NOW)} == store.refusals()
    assert FIRST_CLASS == store.free_class()
    with store.hold():
        store.put(known(vps(17)))
    assert (0, ()) == (store.find("acme/web").used_bytes, store.find("acme/web").measures)
