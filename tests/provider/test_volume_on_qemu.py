"""Disks on a real QEMU, through the resource itself: they grow, and are never taken over."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from libvirt_provider import _storage
from libvirt_provider.errors import (
    AlreadyExistsError,
    InUseError,
    MissingError,
    ProviderError,
    RefusedChangeError,
)

if TYPE_CHECKING:
    from conftest import Qemu, Web
    from libvirt_provider.domain import Domain
    from libvirt_provider.volume import Volume

MIB, GIB = 2**20, 2**30


def test_a_domain_has_a_logical_volume_by_whichever_of_its_names(qemu: Qemu) -> None:
    qemu.connection.defineXML(
        "<domain type='qemu'><name>by-hand</name><memory>65536</memory><os><type>hvm</type></os>"
        "<devices><disk type='block'><source dev='/dev/mapper/vg--1-acme.web'/>"
        "<target dev='vda'/></disk></devices></domain>"
    )

    assert ["by-hand"] == _storage.users_of(qemu.host, "/dev/vg-1/acme.web")
    assert [] == _storage.users_of(qemu.host, "/dev/vg/1-acme.web")


def test_a_disk_in_a_stopped_pool_is_not_taken_for_gone(
    qemu: Qemu, web: Web, volumes: Volume
) -> None:
    key, _ = volumes.create(web.urn("Volume"), web.disk)
    pool = qemu.connection.storagePoolLookupByName("vps")
    definition = pool.XMLDesc(0)
    pool.destroy()
    pool = qemu.connection.storagePoolDefineXML(definition, 0)

    try:
        with pytest.raises(ProviderError, match="not active"):
            volumes.delete(web.urn("Volume"), key, web.disk)
    finally:
        pool.create(0)

    assert Path(key).exists()
    volumes.delete(web.urn("Volume"), key, web.disk)
    assert not Path(key).exists()


def test_a_stopped_disk_grows_keeps_its_bytes_and_reads_zeros_beyond(
    web: Web, volumes: Volume
) -> None:
    key, _ = volumes.create(web.urn("Volume"), web.disk)
    content = os.urandom(8 * MIB)
    Path(key).write_bytes(content)

    outputs = volumes.update(web.change(volumes, web.disk, key, size=12 * MIB))

    assert 12 * MIB == outputs["size"]
    assert content + bytes(4 * MIB) == Path(key).read_bytes()


def test_a_running_disk_grows_and_the_guest_sees_it(qemu: Qemu, web: Web, volumes: Volume) -> None:
    web.running()
    key = str(qemu.folder / web.disk["name"])
    before = hashlib.sha256(Path(key).read_bytes()).digest()

    volumes.update(web.change(volumes, web.disk, key, size=16 * MIB))

    assert 16 * MIB == qemu.connection.lookupByName("acme.web").blockInfo("vda")[0]
    assert before == hashlib.sha256(Path(key).read_bytes()[: 8 * MIB]).digest()
    assert bytes(8 * MIB) == Path(key).read_bytes()[8 * MIB :]


def test_a_disk_that_is_larger_than_the_state_knows_is_not_cut(web: Web, volumes: Volume) -> None:
    key, _ = volumes.create(web.urn("Volume"), web.disk)
    volumes.update(web.change(volumes, web.disk, key, size=32 * MIB))

    with pytest.raises(RefusedChangeError, match="cannot shrink"):
        volumes.update(web.change(volumes, web.disk, key, size=16 * MIB))


def test_a_disk_that_exists_is_never_taken_over(web: Web, volumes: Volume) -> None:
    key, _ = volumes.create(web.urn("Volume"), web.disk)
    Path(key).write_bytes(b"a client's")

    with pytest.raises(AlreadyExistsError, match="did not make it"):
        volumes.create(web.urn("Volume", "other"), web.disk)
    assert b"a client's" == Path(key).read_bytes()


def test_a_missing_disk_is_an_error_for_refresh_and_update(
    qemu: Qemu, web: Web, volumes: Volume
) -> None:
    key, _ = volumes.create(web.urn("Volume"), web.disk)
    qemu.connection.storageVolLookupByKey(key).delete(0)

    with pytest.raises(MissingError, match=r"not deleted by this program.*pulumi state delete"):
        volumes.read(web.urn("Volume"), key, web.disk)
    with pytest.raises(MissingError):
        volumes.update(web.change(volumes, web.disk, key, size=16 * MIB))
    assert not Path(key).exists()


def test_a_clone_has_its_base_behind_it_and_is_no_smaller(
    qemu: Qemu, web: Web, volumes: Volume
) -> None:
    volumes.create(web.urn("Volume", "base"), {**web.disk, "name": "debian-12.raw"})
    clone = {"name": "a.qcow2", "pool": "vps", "baseVolumeName": "debian-12.raw", "format": "qcow2"}

    _, outputs = volumes.create(web.urn("Volume", "a"), {**clone, "size": GIB})
    backing = _storage.VolumeFacts.of(
        qemu.connection.storageVolLookupByPath(str(qemu.folder / "a.qcow2"))
    ).backing_path

    assert (GIB, str(qemu.folder / "debian-12.raw")) == (outputs["size"], backing)
    with pytest.raises(RefusedChangeError, match="below that of base volume"):
        volumes.create(web.urn("Volume", "b"), {**clone, "name": "b.qcow2", "size": MIB})


def test_a_volume_is_filled_from_a_file(web: Web, volumes: Volume, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(os.urandom(5 * MIB + 3))

    key, outputs = volumes.create(
        web.urn("Volume"), {"name": "a", "pool": "vps", "source": str(image), "size": 6 * MIB}
    )

    assert ("raw", 6 * MIB) == (outputs["format"], outputs["size"])
    assert image.read_bytes() == Path(key).read_bytes()[: 5 * MIB + 3]


def test_a_source_that_is_not_there_leaves_nothing(qemu: Qemu, web: Web, volumes: Volume) -> None:
    with pytest.raises(ProviderError, match="source /nowhere"):
        volumes.create(web.urn("Volume"), {"name": "a", "pool": "vps", "source": "/nowhere"})

    assert [] == list(qemu.folder.iterdir())


def test_an_upload_that_breaks_leaves_nothing(
    qemu: Qemu, web: Web, volumes: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ProviderError("the line is cut")

    image = tmp_path / "image.raw"
    image.write_bytes(bytes(MIB))
    monkeypatch.setattr(_storage, "upload", broken)

    with pytest.raises(ProviderError, match="the line is cut"):
        volumes.create(web.urn("Volume"), {"name": "a", "pool": "vps", "source": str(image)})
    assert [] == list(qemu.folder.iterdir())


def test_a_disk_in_use_is_not_deleted(
    qemu: Qemu, web: Web, volumes: Volume, domains: Domain
) -> None:
    resource_id, _ = web.running()
    key = str(qemu.folder / web.disk["name"])

    with pytest.raises(InUseError, match=r"a disk of domain 'acme\.web'"):
        volumes.delete(web.urn("Volume"), key, web.disk)
    domains.delete(web.urn("Domain"), resource_id, {})
    assert Path(key).exists()
    volumes.delete(web.urn("Volume"), key, web.disk)
    assert [] == list(qemu.folder.iterdir())


def test_a_domain_that_goes_while_users_are_sought_uses_nothing(qemu: Qemu, web: Web) -> None:
    """Seen with twenty clients at once: a domain of the list is gone before it is looked at."""
    web.running(running=False)
    disk = str(qemu.folder / web.disk["name"])
    listed = qemu.connection.listAllDomains()
    host = SimpleNamespace(connection=lambda: SimpleNamespace(listAllDomains=lambda: listed))

    assert ["acme.web"] == _storage.users_of(host, disk)
    qemu.connection.lookupByName("acme.web").undefine()
    assert [] == _storage.users_of(host, disk)


def test_a_pool_that_is_not_there_is_named_with_those_that_are(web: Web, volumes: Volume) -> None:
    with pytest.raises(ProviderError, match=r"no storage pool 'nope'.*it has: vps"):
        volumes.create(web.urn("Volume"), {**web.disk, "pool": "nope"})


def test_an_import_reads_a_disk(web: Web, volumes: Volume) -> None:
    key, _ = volumes.create(web.urn("Volume"), web.disk)

    found = volumes.read(web.urn("Volume"), key, {})

    assert found is not None
    assert web.disk == found.inputs
