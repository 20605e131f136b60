"""Pools and networks: made, taken on after a cut, never taken away from under their users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from libvirt_provider import _xml
from libvirt_provider._connection import Host
from libvirt_provider._resource import Change
from libvirt_provider.errors import AlreadyExistsError, InUseError, MissingError
from libvirt_provider.network import Network, network_xml
from libvirt_provider.pool import Pool, pool_xml
from libvirt_provider.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Qemu

POOL = "urn:pulumi:acme::hoster::libvirt:index/pool:Pool::extra"
NETWORK = "urn:pulumi:acme::hoster::libvirt:index/network:Network::inner"
NET: dict[str, Any] = {
    "name": "inner",
    "mode": "none",
    "autostart": False,
    "addresses": ["192.0.2.0/24"],
}


@pytest.fixture
def test_host() -> Host:
    return Host("test:///default")


def test_a_pool_of_a_folder_is_made_and_unmade(qemu: Qemu, tmp_path: Path) -> None:
    pools = Pool(qemu.host)
    inputs = {"name": "extra", "type": "dir", "target": {"path": str(tmp_path / "extra")}}

    uuid, outputs = pools.create(POOL, inputs)
    again, _ = pools.create(POOL, inputs)

    assert uuid == again
    assert outputs["capacity"] > 0
    with pytest.raises(AlreadyExistsError, match="did not make it"):
        pools.create(POOL + "2", inputs)
    volume = {"name": "a", "pool": "extra", "size": 1024}
    Volume(qemu.host).create(NETWORK, volume)
    with pytest.raises(InUseError, match="still holds 2 volumes"):
        pools.delete(POOL, uuid, {})
    Volume(qemu.host).delete(NETWORK, str(tmp_path / "extra/a"), volume)
    found = pools.read(POOL, uuid, {})
    assert found is not None
    assert inputs == found.inputs
    pools.delete(POOL, uuid, {})
    with pytest.raises(MissingError):
        pools.read(POOL, uuid, {})


def test_a_pool_whose_folder_cannot_be_made_leaves_nothing(qemu: Qemu) -> None:
    with pytest.raises(Exception, match="pool 'extra'"):
        Pool(qemu.host).create(
            POOL, {"name": "extra", "type": "dir", "target": {"path": "/proc/no/such"}}
        )

    assert ["vps"] == [pool.name() for pool in qemu.connection.listAllStoragePools()]


def test_a_pool_never_changes() -> None:
    old = {"name": "a", "type": "dir", "target": {"path": "/a"}}
    refused = Pool(Host()).refusals(old, {**old, "target": {"path": "/b"}})

    assert ["target"] == [failure.property for failure in refused]


def test_a_volume_group_is_named_and_never_built() -> None:
    root = pool_xml({"name": "vg", "type": "logical", "source": {"name": "vg0"}}, "u")

    assert ("vg0", "/dev/vg0") == (root.findtext("source/name"), root.findtext("target/path"))


def test_a_network_is_made_changed_and_unmade(test_host: Host) -> None:
    networks = Network(test_host)

    uuid, outputs = networks.create(NETWORK, NET)
    again, _ = networks.create(NETWORK, NET)
    changed = {**NET, "autostart": True}
    networks.update(Change(NETWORK, uuid, outputs, NET, changed, lambda _: None))
    found = networks.read(NETWORK, uuid, {})

    assert uuid == again
    assert found is not None
    assert ("none", True) == (found.inputs["mode"], found.inputs["autostart"])
    with pytest.raises(AlreadyExistsError):
        networks.create(NETWORK + "2", NET)
    networks.delete(NETWORK, uuid, {})
    assert networks.read(NETWORK, uuid, NET) is None


def test_a_change_of_a_network_says_that_guests_are_not_cut_off() -> None:
    said: list[str] = []
    Network(Host()).planned_update(
        Change(NETWORK, "u", {}, NET, {**NET, "mode": "nat"}, said.append)
    )

    assert "cuts its guests off: not done here" in said[0]


@pytest.mark.parametrize(
    ("mode", "expected"), [("none", None), ("nat", "nat"), ("route", "route"), ("open", "open")]
)
def test_a_network_leases_all_but_its_own_address(mode: str, expected: str | None) -> None:
    root = network_xml({**NET, "mode": mode}, "u")
    forward = root.find("forward")
    leased = root.find("ip/dhcp/range")

    assert expected == (None if forward is None else forward.get("mode"))
    assert ("192.0.2.2", "192.0.2.254") == (leased.get("start"), leased.get("end"))


def test_routes_and_names_are_written() -> None:
    routes = [{"cidr": "198.51.100.0/24", "gateway": "192.0.2.9"}]
    dns = {"enabled": True, "localOnly": True}
    text = _xml.text_of(network_xml({**NET, "routes": routes, "domain": "lan", "dns": dns}, "u"))

    assert '<route address="198.51.100.0" prefix="24" gateway="192.0.2.9"/>' in text
    assert '<domain name="lan" localOnly="yes"/>' in text
