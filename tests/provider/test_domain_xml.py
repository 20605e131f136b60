"""The definition of a domain, before and after the program's XSLT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libvirt_provider.domain_change import same_hardware
from libvirt_provider.domain_xml import Disk, Identity, command_line, domain_xml, owner
from libvirt_provider.errors import ProviderError

XSLT = (Path(__file__).parent / "vps.xslt").read_text()
IDENTITY = Identity("urn:web", "11111111-2222-3333-4444-555555555555")
INPUTS: dict[str, Any] = {"name": "acme.web", "type": "qemu", "memory": 1024, "vcpu": 1}


def built(**inputs: Any) -> Any:
    disks = [Disk("/pool/acme.web.qcow2", format="qcow2")]
    seed = Disk("/pool/acme.web.seed.iso", cdrom=True)
    return domain_xml({**INPUTS, **inputs}, disks, seed, IDENTITY)


def test_disks_come_first_and_the_seed_is_a_cdrom() -> None:
    targets = [
        (disk.get("device"), disk.find("target").get("dev"), disk.find("target").get("bus"))
        for disk in built(machine="q35").iterfind("devices/disk")
    ]

    assert [("disk", "vda", "virtio"), ("cdrom", "sdd", "sata")] == targets


def test_no_balloon_has_headroom() -> None:
    root = built()

    assert root.find("currentMemory") is None
    assert "none" == root.find("devices/memballoon").get("model")


def test_metadata_goes_in_beside_the_mark_of_the_resource() -> None:
    root = built(metadata='<h:vps xmlns:h="urn:h" plan="kvm-1"/>')

    assert "kvm-1" == root.find("metadata/{urn:h}vps").get("plan")
    assert "urn:web" == owner(root)


def test_a_description_with_markup_is_text() -> None:
    assert "a < b & c" == built(description="a < b & c").findtext("description")


def test_kernel_arguments_keep_their_order() -> None:
    words = command_line([{"root": "/dev/vda1", "_": "quiet"}, {"console": "ttyS0"}])

    assert "root=/dev/vda1 quiet console=ttyS0" == words


def test_the_mac_of_before_is_kept_where_none_is_declared() -> None:
    identity = Identity("urn:web", macs=["52:54:00:00:00:01"])
    root = domain_xml({**INPUTS, "networkInterfaces": [{"bridge": "b"}]}, [], None, identity)

    assert "52:54:00:00:00:01" == root.find("devices/interface/mac").get("address")


def test_a_mac_is_the_same_however_it_is_spelt() -> None:
    spelt = [
        built(networkInterfaces=[{"bridge": "b", "mac": mac}])
        for mac in ("02:00:CB:00:71:11", "02:00:cb:00:71:11")
    ]

    assert same_hardware(*spelt)


def test_an_xslt_names_the_tap_turns_the_seed_and_declares_room() -> None:
    interfaces = [{"bridge": "br-public", "mac": "02:00:cb:00:71:11"}]
    root = built(xml={"xslt": XSLT}, networkInterfaces=interfaces)
    seed = root.findall("devices/disk")[1]

    assert "vps-cb007111" == root.find("devices/interface/target").get("dev")
    assert ("disk", "virtio") == (seed.get("device"), seed.find("target").get("bus"))
    assert seed.find("readonly") is not None
    assert ("1", "4") == (root.find("vcpu").get("current"), root.findtext("vcpu"))
    assert "8" == root.find("maxMemory").get("slots")
    assert "1024" == root.find("cpu/numa/cell").get("memory")


def test_an_xslt_cannot_take_the_identity() -> None:
    empty = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
      <xsl:template match="/domain"><domain type="qemu"><name>other</name></domain></xsl:template>
    </xsl:stylesheet>"""
    root = built(xml={"xslt": empty})

    assert (IDENTITY.uuid, "urn:web") == (root.findtext("uuid"), owner(root))


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"metadata": "<a>"}, "metadata is not well-formed"),
        ({"xml": {"xslt": "<nonsense"}}, "xml.xslt"),
        ({"xml": {"xslt": "<a/>"}}, "xml.xslt"),
    ],
)
def test_broken_xml_is_named(inputs: dict[str, Any], text: str) -> None:
    with pytest.raises(ProviderError, match=text):
        built(**inputs)


def test_an_xslt_reads_no_file_of_the_machine() -> None:
    reading = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
      <xsl:template match="/"><domain><xsl:copy-of select="document('/etc/os-release.xml')"/>
      </domain></xsl:template></xsl:stylesheet>"""

    with pytest.raises(ProviderError, match=r"xml\.xslt"):
        built(xml={"xslt": reading})
