"""On a file pool nobody ever reads what an earlier client wrote (C12.5, C15.2).

The pool is a small file system of its own, so that a new volume gets the very blocks that a deleted
one had: it must show zeros there all the same.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libvirt_provider import _storage
from libvirt_provider._resource import Change
from libvirt_provider.cloud_init_disk import CloudInitDisk
from libvirt_provider.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Qemu

MIB = 2**20
MEDIUM_BYTES, DISK_BYTES = 64 * MIB, 40 * MIB
TOKEN = b"only this client wrote this.\n"
URN = "urn:pulumi:acme::hoster::libvirt:index/volume:Volume::web"
SEED_URN = "urn:pulumi:acme::hoster::libvirt:index/cloudInitDisk:CloudInitDisk::web"
DISK = {"name": "acme.web", "pool": "medium", "size": DISK_BYTES, "format": "raw"}
SEED = {"name": "acme.web.seed", "pool": "medium", "userData": TOKEN.decode() * 1000}
ALLOCATED = """
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:template match="@*|node()">
    <xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy>
  </xsl:template>
  <xsl:template match="allocation">
    <allocation><xsl:value-of select="../capacity"/></allocation>
  </xsl:template>
</xsl:stylesheet>
"""
"""Its blocks are taken at once: a sparse file has none, and could show nothing."""


class Medium:
    """A file system that holds one pool, and the bytes that are really on it."""

    def __init__(self, qemu: Qemu, raw: Path, on_host: Callable[..., str]) -> None:
        self.host, self._raw, self._on_host = qemu.host, raw, on_host

    def shows(self, token: bytes) -> bool:
        """Whether the token is anywhere on the medium, deleted or not."""
        self._on_host("sync")
        return token in self._raw.read_bytes()

    def content(self, key: str) -> bytes:
        return _storage.download(self.host, self.volume(key))

    def volume(self, key: str) -> Any:
        return self.host.connection().storageVolLookupByKey(key)


@pytest.fixture
def medium(qemu: Qemu, tmp_path: Path) -> Iterator[Medium]:
    def on_host(*argv: str) -> str:
        inside = ["nsenter", "--mount", "--target", str(qemu.pid), *argv]
        return subprocess.run(inside, check=True, capture_output=True, text=True).stdout

    if not Path("/dev/loop-control").exists():
        pytest.skip("no loop devices here, to make a file system of")
    raw, place = tmp_path / "raw", tmp_path / "medium"
    with raw.open("wb") as file:
        file.truncate(MEDIUM_BYTES)
    subprocess.run(["mkfs.ext4", "-q", str(raw)], check=True)
    place.mkdir()
    on_host("mount", "-o", "loop", str(raw), str(place))
    pool = qemu.connection.storagePoolCreateXML(
        f"<pool type='dir'><name>medium</name><target><path>{place}</path></target></pool>", 0
    )
    yield Medium(qemu, raw, on_host)
    pool.destroy()
    on_host("umount", str(place))


@pytest.fixture
def used(medium: Medium) -> Volume:
    """Volumes of a pool that a client has filled, and left."""
    volumes = Volume(medium.host)
    key, _ = volumes.create(URN, DISK)
    some = TOKEN * (MIB // len(TOKEN))
    count = DISK_BYTES // len(some)
    _storage.upload(medium.host, medium.volume(key), repeat(some, count), len(some) * count)
    assert medium.shows(TOKEN * 2)
    volumes.delete(URN, key, DISK)
    return volumes


@pytest.mark.parametrize("xml", [{}, {"xml": {"xslt": ALLOCATED}}], ids=["sparse", "allocated"])
def test_a_disk_at_the_place_of_a_deleted_one_shows_zeros(
    medium: Medium, used: Volume, xml: dict[str, Any]
) -> None:
    assert medium.shows(TOKEN * 2)  # a file system forgets where it was, no more

    key, _ = used.create(URN, {**DISK, **xml})

    assert bytes(DISK_BYTES) == medium.content(key)


def test_what_a_disk_grows_by_shows_zeros(medium: Medium, used: Volume) -> None:
    small = {**DISK, "size": 4 * MIB}
    key, _ = used.create(URN, small)
    used.update(Change(URN, key, small, small, DISK, lambda _: None))

    assert bytes(DISK_BYTES) == medium.content(key)


def test_a_seed_at_the_place_of_a_deleted_one_shows_its_own(medium: Medium) -> None:
    seeds, volumes = CloudInitDisk(medium.host), Volume(medium.host)
    seed_id, _ = seeds.create(SEED_URN, SEED)
    assert medium.shows(TOKEN)
    seeds.delete(SEED_URN, seed_id, SEED)
    other = {**SEED, "userData": "#cloud-config"}
    seed_id, _ = seeds.create(SEED_URN, other)
    key, _ = volumes.create(URN, {**DISK, "xml": {"xslt": ALLOCATED}})

    assert TOKEN not in medium.content(seed_id.partition(";")[0])
    assert bytes(DISK_BYTES) == medium.content(key)
