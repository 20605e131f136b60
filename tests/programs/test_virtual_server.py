"""The component asks libvirt for exactly what the contract promises."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
import yaml
from lxml import etree

from hoster.catalogue import Headroom
from hoster.changes.deployed import DeployedVps
from hoster.orders.declarations import FormerDisk
from hoster.stack.first_boot import Network
from hoster.stack.virtual_server import VirtualServer, VirtualServerArgs

if TYPE_CHECKING:
    from tests.programs.conftest import RecordedEngine

PASSWORD_HASH = "$6$rounds=5000$salt$digest"
# How Pulumi marks a secret on the wire: its signature's key and the kind "secret".
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}


FACTS = DeployedVps(
    location="paris",
    node="paris-1",
    ipv4="203.0.113.17",
    image="debian-12@20250703",
    plan="kvm-2",
    disk_gib=20,
)


def arguments(**changes: Any) -> VirtualServerArgs:
    args = VirtualServerArgs(
        full_name="acme/web",
        facts=FACTS,
        vcpus=2,
        memory_mib=2048,
        network=Network(
            address=IPv4Interface("203.0.113.17/25"),
            mac="02:00:cb:00:71:11",
            gateway=IPv4Address("203.0.113.1"),
            dns=(IPv4Address("192.0.2.53"),),
        ),
        tap="vps-cb007111",
        metadata="<vps/>",
        user="debian",
        ssh_keys=("ssh-ed25519 AAAA ops",),
        password_hash=pulumi.Output.secret(PASSWORD_HASH),
        domain_type="qemu",
        storage_pool="vps",
        bridge="br-public",
        headroom=Headroom(vcpus=8, memory_mib=16384, memory_slots=16),
    )
    return replace(args, **changes)


@pytest.fixture
def registered(engine: RecordedEngine) -> dict[str, pulumi.runtime.MockResourceArgs]:
    return declared(engine, arguments())


def declared(
    engine: RecordedEngine, args: VirtualServerArgs
) -> dict[str, pulumi.runtime.MockResourceArgs]:
    """Declare a VPS; return what was asked of the engine."""
    server = VirtualServer("web", args)

    @pulumi.runtime.test
    def wait() -> pulumi.Output[str]:
        return server.uuid

    wait()
    return engine.resources


def test_a_vps_is_a_disk_a_seed_and_a_domain(registered: dict[str, Any]) -> None:
    expected = {
        "web": "libvirt:index/domain:Domain",
        "web-disk": "libvirt:index/volume:Volume",
        "web-seed": "libvirt:index/cloudInitDisk:CloudInitDisk",
    }
    assert expected == {name: args.typ for name, args in registered.items()}


def test_the_disk_has_the_plans_size_and_stands_on_the_pinned_image(
    registered: dict[str, Any],
) -> None:
    """C2.1: dedicated disk space; the order's image, whatever the catalogue says later."""
    inputs = registered["web-disk"].inputs
    assert inputs["size"] == 20 * 2**30
    assert inputs["baseVolumeName"] == "debian-12@20250703.qcow2"
    assert inputs["name"] == "acme.web.qcow2"


def test_the_seed_opens_one_account_by_hash_and_asks_for_a_new_password(
    registered: dict[str, Any],
) -> None:
    """C4.2, C4.4: the client's account only, no key of the hoster's, password to be changed."""
    wrapped = registered["web-seed"].inputs["userData"]
    assert SECRET.items() <= wrapped.items(), "the document travels and rests as a secret"
    document = wrapped["value"]
    user_data = yaml.safe_load(document)
    assert document.startswith("#cloud-config\n")
    assert [user["name"] for user in user_data["users"]] == ["debian"]
    assert user_data["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA ops"]
    assert user_data["chpasswd"] == {
        "expire": True,
        "users": [{"name": "debian", "type": "hash", "password": PASSWORD_HASH}],
    }


def test_the_network_is_static_and_matched_by_mac(registered: dict[str, Any]) -> None:
    """C4.3: the fixed address, from the first boot on, without DHCP."""
    network = yaml.safe_load(registered["web-seed"].inputs["networkConfig"])
    public = network["ethernets"]["public"]
    assert public["match"] == {"macaddress": "02:00:cb:00:71:11"}
    assert public["addresses"] == ["203.0.113.17/25"]
    assert public["routes"] == [{"to": "0.0.0.0/0", "via": "203.0.113.1"}]
    assert public["dhcp4"] is False


def test_the_domain_has_the_plans_size_and_comes_back_with_its_node(
    registered: dict[str, Any],
) -> None:
    inputs = registered["web"].inputs
    assert (inputs["vcpu"], inputs["memory"], inputs["autostart"]) == (2, 2048, True)
    assert inputs["networkInterfaces"] == [{"bridge": "br-public", "mac": "02:00:cb:00:71:11"}]
    assert inputs["name"] == "acme.web"
    assert "running" not in inputs, "a suspended VPS stays as it is"


DOMAIN_XML = """
<domain type="qemu">
  <name>acme.web</name>
  <memory unit="MiB">2048</memory>
  <vcpu>2</vcpu>
  <devices>
    <disk type="file" device="disk"><source file="/a"/><target dev="vda" bus="virtio"/></disk>
    <disk type="file" device="cdrom"><source file="/seed"/><target dev="sda" bus="sata"/></disk>
    <interface type="bridge">
      <source bridge="br-public"/><mac address="02:00:cb:00:71:11"/>
    </interface>
  </devices>
</domain>
"""


def test_the_stylesheet_names_the_tap_and_declares_the_maxima(registered: dict[str, Any]) -> None:
    sheet = etree.XSLT(etree.fromstring(registered["web"].inputs["xml"]["xslt"].encode()))
    domain = sheet(etree.fromstring(DOMAIN_XML)).getroot()
    assert domain.find("devices/interface/target").get("dev") == "vps-cb007111"
    assert (domain.find("vcpu").get("current"), domain.findtext("vcpu")) == ("2", "8")
    assert domain.findtext("maxMemory") == "16384"
    assert dict(domain.find("cpu/numa/cell").attrib) == {
        "id": "0",
        "cpus": "0-7",
        "memory": "2048",
        "unit": "MiB",
    }
    seed = domain.findall("devices/disk")[1]
    assert (seed.get("device"), seed.find("target").get("bus")) == ("disk", "virtio")
    assert seed.find("readonly") is not None


@pytest.mark.parametrize("readable", [False, True])
def test_a_new_system_has_a_disk_and_a_seed_of_its_own(
    engine: RecordedEngine, readable: bool
) -> None:
    """C6.3, C7.5: the former disk stays as it is; its client reads it where it asked for that."""
    former = FormerDisk(installation=1, image="debian-11@20240101", disk_gib=10, readable=readable)
    facts = replace(FACTS, installation=2, former=1)
    asked = declared(engine, arguments(facts=facts, former_disk=former))
    assert {"web", "web-disk", "web-disk.2", "web-seed.2"} == set(asked)
    old, new, seed = (asked[name].inputs for name in ("web-disk", "web-disk.2", "web-seed.2"))
    assert ("acme.web.qcow2", 10 * 2**30) == (old["name"], old["size"])
    assert ("acme.web.2.qcow2", 20 * 2**30) == (new["name"], new["size"])
    assert ("debian-11@20240101.qcow2", "debian-12@20250703.qcow2") == (
        old["baseVolumeName"],
        new["baseVolumeName"],
    )
    assert "acme.web.2.seed.iso" == seed["name"]
    assert "acme.web.2" == yaml.safe_load(seed["metaData"])["instance-id"]
    ids = ["web-disk.2-id", "web-disk-id"] if readable else ["web-disk.2-id"]
    assert ids == [disk["volumeId"] for disk in asked["web"].inputs["disks"]]


def test_the_former_disk_is_read_only_and_shows_no_partitions(registered: dict[str, Any]) -> None:
    """C7.5."""
    former = '<disk type="file" device="disk"><source file="/b"/><target dev="vdb"/></disk>'
    text = DOMAIN_XML.replace('<disk type="file" device="cdrom">', f'{former}<disk device="cdrom">')
    sheet = etree.XSLT(etree.fromstring(registered["web"].inputs["xml"]["xslt"].encode()))
    disks = sheet(etree.fromstring(text)).getroot().findall("devices/disk")
    assert [None, "sda", "vdz"] == [
        None if disk.find("readonly") is None else disk.find("target").get("dev") for disk in disks
    ]
    assert ["disk", "cdrom", "disk"] == [disk.get("device") for disk in disks]
