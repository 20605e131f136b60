"""On a real volume group nobody ever reads what an earlier client wrote (C12.5, C15.2).

LVM runs in a guest of its own, with its own kernel; the provider reaches its libvirt over TCP. The
guest's disk is a file here: what is erased is searched for on that disk itself.
"""

from __future__ import annotations

import mmap
import os
import re
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libvirt
import pytest

from hoster_lab import volume_group_image
from hoster_lab.commands import run
from hoster_lab.progress import Progress
from hoster_lab.volume_group_image import DISK_BYTES, EXTENT_BYTES, LVM_BYTES
from libvirt_provider import _storage
from libvirt_provider._connection import Host
from libvirt_provider._resource import Change
from libvirt_provider._storage import Mark
from libvirt_provider.cloud_init_disk import CloudInitDisk, volume_key
from libvirt_provider.errors import InUseError, ProviderError, RefusedChangeError
from libvirt_provider.pool import Pool
from libvirt_provider.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20
DISK_SIZE, LARGER = 2 * EXTENT_BYTES, 3 * EXTENT_BYTES
FOREIGN = b"earlier tenant.\n"
TOKEN = b"this client's own secret\n"
URN = "urn:pulumi:acme::hoster::libvirt:index/volume:Volume::web"
SEED_URN = "urn:pulumi:acme::hoster::libvirt:index/cloudInitDisk:CloudInitDisk::web"
POOL_URN = "urn:pulumi:nodes::hoster::libvirt:index/pool:Pool::"
PATH = "/dev/vg/acme.web"
DISK = {"name": "acme.web", "pool": "vg", "size": DISK_SIZE}
SEED = {"name": "acme.web.seed", "pool": "vg", "userData": TOKEN.decode() * 100}


class KilledError(BaseException):
    """What ends a process here: no handler of the provider's runs after it."""


class Group:
    """The volume group, seen through libvirt, from a shell on its host, and as a bare disk."""

    def __init__(self, guest: volume_group_image.Host, disk: Path, used: bytes) -> None:
        self.by_hand, self._disk, self._used = guest.by_hand, disk, used
        self.host = Host(guest.uri)

    @property
    def pool(self) -> Any:
        return self.host.connection().storagePoolLookupByName("vg")

    def disk_by_hand(self) -> str:
        """Make `DISK` without the provider, which does more and takes longer; return its key."""
        name = DISK["name"]
        self.by_hand(f"lvcreate --quiet --yes --size {DISK_SIZE}b --name {name} vg")
        self.pool.refresh(0)
        return str(self.pool.storageVolLookupByName(name).key())

    def content(self, key: str) -> bytes:
        return _storage.download(self.host, self.volume(key))

    def volume(self, key: str) -> Any:
        return self.host.connection().storageVolLookupByKey(key)

    def write(self, key: str, content: bytes) -> None:
        _storage.upload(self.host, self.volume(key), iter([content]), len(content))

    def is_on_disk(self, token: bytes) -> bool:
        self.by_hand("sync")
        with self._disk.open("rb") as raw, mmap.mmap(raw.fileno(), 0, prot=mmap.PROT_READ) as view:
            return view.find(token) >= 0

    def clean(self) -> None:
        """Leave an empty group, full of what somebody else wrote, a file system's mark included."""
        if self.pool.listVolumes():
            self.by_hand("lvremove --quiet --force vg")
            self.pool.refresh(0)
        with self._disk.open("r+b") as raw:
            raw.seek(LVM_BYTES)
            raw.write(self._used)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    guest = volume_group_image.ensure(Progress())
    folder = tmp_path_factory.mktemp("volume-group")
    disk = folder / "disk.raw"
    with volume_group_image.running(guest, disk, folder) as host:
        group = Group(host, disk, _used(folder / "extent"))
        Pool(group.host).create(POOL_URN + "vg", {"name": "vg", "type": "logical"})
        images = {"name": "images", "type": "dir", "target": {"path": "/images"}}
        Pool(group.host).create(POOL_URN + "images", images)
        yield group
        group.host.close()


@pytest.fixture
def group(running: Group) -> Group:
    running.clean()
    return running


@pytest.fixture
def volumes(group: Group) -> Volume:
    return Volume(group.host)


@pytest.fixture
def seeds(group: Group) -> CloudInitDisk:
    return CloudInitDisk(group.host)


def change(inputs: dict[str, Any], resource_id: str, **new: Any) -> Change:
    return Change(URN, resource_id, dict(inputs), dict(inputs), {**inputs, **new}, lambda _: None)


def test_a_new_disk_reads_as_zeros(group: Group, volumes: Volume) -> None:
    assert group.is_on_disk(FOREIGN)

    key, outputs = volumes.create(URN, DISK)

    assert bytes(DISK_SIZE) == group.content(key)
    assert ("raw", DISK_SIZE) == (outputs["format"], outputs["size"])
    assert Mark(group.pool, DISK["name"], URN).read() is False
    found = volumes.read(URN, key, DISK)
    assert found is not None
    assert DISK == {name: found.inputs[name] for name in DISK}
    assert [DISK["name"]] == group.pool.listVolumes()


def test_a_deleted_disk_and_its_seed_are_nowhere_on_the_medium(
    group: Group, volumes: Volume, seeds: CloudInitDisk
) -> None:
    key = group.disk_by_hand()
    group.write(key, TOKEN * (DISK_SIZE // len(TOKEN)))
    seed_id, _ = seeds.create(SEED_URN, SEED)
    assert group.is_on_disk(TOKEN)

    volumes.delete(URN, key, DISK)
    assert group.is_on_disk(TOKEN)  # in the seed
    seeds.delete(SEED_URN, seed_id, SEED)

    assert not group.is_on_disk(TOKEN)
    assert [] == group.pool.listVolumes()


def test_a_deletion_that_was_cut_is_ended_by_the_next(
    group: Group, volumes: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = group.disk_by_hand()
    group.write(key, TOKEN * 1000)
    with monkeypatch.context() as cut:
        cut.setattr(libvirt.virStorageVol, "wipe", _killed)
        with pytest.raises(KilledError):
            volumes.delete(URN, key, DISK)
    with monkeypatch.context() as cut:
        cut.setattr(libvirt.virStorageVol, "delete", _killed)
        with pytest.raises(KilledError):
            volumes.delete(URN, key, DISK)

    assert bytes(DISK_SIZE) == group.content(key)
    volumes.delete(URN, key, DISK)

    assert not group.is_on_disk(TOKEN)
    assert [] == group.pool.listVolumes()


def test_a_disk_that_its_host_still_erases_is_left_to_it(group: Group, volumes: Volume) -> None:
    key = group.disk_by_hand()
    group.by_hand("dmsetup suspend vg-acme.web")
    # As a run that is gone: its host goes on.
    earlier = threading.Thread(target=Volume(Host(group.host.uri)).delete, args=(URN, key, DISK))
    earlier.start()
    try:
        # It is at it, and stays so: nothing is written while the volume is suspended.
        opened = "[ $(dmsetup info -c --noheadings -o open vg-acme.web) -gt 0 ]"
        group.by_hand(f"until {opened}; do sleep 0.1; done")
        with pytest.raises(InUseError, match="run again later"):
            volumes.delete(URN, key, DISK)
    finally:
        group.by_hand("dmsetup resume vg-acme.web")
        earlier.join()

    volumes.delete(URN, key, DISK)
    assert [] == group.pool.listVolumes()


def test_a_base_image_is_copied_and_followed_by_zeros_also_after_a_cut(
    group: Group, volumes: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With holes in the image, and an end that is on no extent's border."""
    part = MIB // 4
    content = bytes(part) + os.urandom(2 * part) + bytes(part) + os.urandom(part) + bytes(part // 2)
    raw, image = tmp_path / "raw", tmp_path / "image"
    raw.write_bytes(content)
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image)])
    base = {"name": "debian.qcow2", "pool": "images", "source": str(image)}
    base_key, _ = volumes.create(URN + "base", base)

    disk = {**DISK, "baseVolumeName": base["name"], "baseVolumePool": "images"}
    with monkeypatch.context() as cut:
        cut.setattr(_storage, "zero", _killed)
        cut.setattr(_storage, "without_leftovers", lambda _: None)
        with pytest.raises(KilledError):
            volumes.create(URN, disk)

    key, _ = volumes.create(URN, disk)
    # A logical volume as the base of another one, to the last byte of both.
    second = {"name": "acme.db", "pool": "vg", "baseVolumeName": "acme.web", "size": LARGER}
    second_key, _ = volumes.create(URN + "db", second)

    assert content.ljust(DISK_SIZE, b"\0") == group.content(key)
    assert content.ljust(LARGER, b"\0") == group.content(second_key)
    volumes.delete(URN + "base", base_key, base)


def test_a_raw_source_is_followed_by_zeros(group: Group, volumes: Volume, tmp_path: Path) -> None:
    source = tmp_path / "image.raw"
    source.write_bytes(TOKEN * 1000)

    key, _ = volumes.create(URN, {**DISK, "source": str(source)})

    assert (TOKEN * 1000).ljust(DISK_SIZE, b"\0") == group.content(key)


def test_a_disk_cut_before_it_was_clean_is_made_anew(
    group: Group, volumes: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(libvirt.virStorageVol, "wipe", _killed)
        cut.setattr(_storage, "without_leftovers", lambda _: None)
        with pytest.raises(KilledError):
            volumes.create(URN, DISK)
    left = group.pool.storageVolLookupByName(DISK["name"])
    assert FOREIGN in group.content(left.key())

    key, _ = volumes.create(URN, DISK)

    assert bytes(DISK_SIZE) == group.content(key)
    assert Mark(group.pool, DISK["name"], URN).read() is False


def test_growth_is_refused_before_anything_is_done_and_the_way_by_hand_works(
    group: Group, volumes: Volume
) -> None:
    key = group.disk_by_hand()
    group.write(key, TOKEN.ljust(DISK_SIZE, b"\0"))
    larger = change(DISK, key, size=LARGER)

    with pytest.raises(RefusedChangeError, match="libvirt grows no volume of a volume group"):
        volumes.planned_update(larger)
    with pytest.raises(RefusedChangeError) as refused:
        volumes.update(larger)
    assert DISK_SIZE == len(group.content(key))

    for command in re.findall(r"`([^`]+)`", str(refused.value)):
        if "DOMAIN" not in command and not command.startswith("pulumi"):
            group.by_hand(command)
    found = volumes.read(URN, key, DISK)
    assert found is not None
    assert LARGER == found.outputs["size"]
    assert TOKEN.ljust(LARGER, b"\0") == group.content(key)


def test_a_disk_that_was_grown_without_a_word_to_libvirt_is_seen_and_erased_whole(
    group: Group, volumes: Volume
) -> None:
    key = group.disk_by_hand()
    group.by_hand(f"lvextend --size {LARGER}b {PATH}")
    token = shlex.quote(TOKEN.decode().strip())
    group.by_hand(f"yes {token} | head -c {EXTENT_BYTES} >/tmp/end")
    group.by_hand(f"dd if=/tmp/end of={PATH} bs=1M seek={DISK_SIZE // MIB}")

    found = volumes.read(URN, key, DISK)
    assert found is not None
    assert LARGER == found.outputs["size"]
    group.by_hand(f"lvextend --size {LARGER + EXTENT_BYTES}b {PATH}")
    group.by_hand(f"dd if=/tmp/end of={PATH} bs=1M seek={LARGER // MIB}")
    assert group.is_on_disk(TOKEN)
    volumes.delete(URN, key, DISK)

    assert not group.is_on_disk(TOKEN)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": DISK_SIZE - 1}, f"declare {DISK_SIZE} bytes"),
        ({"format": "qcow2"}, "raw content only, not qcow2"),
    ],
)
def test_what_a_volume_group_cannot_hold_is_refused_and_leaves_nothing(
    group: Group, volumes: Volume, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(RefusedChangeError, match=message):
        volumes.create(URN, {**DISK, **wrong})

    assert [] == group.pool.listVolumes()


def test_a_seed_fills_its_volume_whatever_was_there_and_whatever_it_becomes(
    group: Group, seeds: CloudInitDisk
) -> None:
    seed_id, _ = seeds.create(SEED_URN, SEED)
    key = volume_key(seed_id)
    assert FOREIGN not in group.content(key)
    long = change(SEED, seed_id, userData=TOKEN.decode() * (EXTENT_BYTES // len(TOKEN)))

    with pytest.raises(RefusedChangeError, match="Nothing was changed") as refused:
        seeds.update(long)
    group.by_hand(re.findall(r"`([^`]+)`", str(refused.value))[0])
    seeds.update(long)

    content = group.content(key)
    assert 2 * EXTENT_BYTES == len(content)
    assert FOREIGN not in content
    seeds.update(change(SEED, seed_id, userData="short"))
    found = seeds.read(SEED_URN, seed_id, SEED)
    assert found is not None
    assert "short" == found.inputs["userData"]
    assert not group.is_on_disk(TOKEN)


def test_a_disk_that_libvirt_does_not_see_is_not_taken_for_gone(
    group: Group, volumes: Volume
) -> None:
    key = group.disk_by_hand()
    group.by_hand(f"lvchange --activate n {PATH}")

    with pytest.raises(ProviderError, match="may still be there"):
        volumes.delete(URN, key, DISK)
    group.by_hand(f"lvchange --activate y {PATH}")
    volumes.delete(URN, key, DISK)

    volumes.delete(URN, key, DISK)  # nothing is hidden: it is gone
    assert [] == group.pool.listVolumes()


def test_a_pool_on_a_volume_group_that_holds_disks_stays(group: Group, volumes: Volume) -> None:
    key = group.disk_by_hand()
    pools = Pool(group.host)

    with pytest.raises(InUseError, match="still holds 1 volumes"):
        pools.delete(POOL_URN + "vg", group.pool.UUIDString(), {})
    volumes.delete(URN, key, DISK)

    assert [] == group.pool.listVolumes()


def _used(extent: Path) -> bytes:
    """What fills the disk: in each extent a tenant's bytes behind the head of a file system."""
    extent.write_bytes(FOREIGN * (EXTENT_BYTES // len(FOREIGN)))
    run(["mkswap", str(extent)])
    return extent.read_bytes() * ((DISK_BYTES - LVM_BYTES) // EXTENT_BYTES)


def _killed(*_: Any) -> None:
    raise KilledError
