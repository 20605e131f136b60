"""A run that was killed is ended by the next one; see docs/decisions/0001."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from libvirt_provider import _storage
from libvirt_provider._storage import Mark, Marks
from libvirt_provider.cloud_init_disk import CloudInitDisk
from libvirt_provider.domain import Domain
from libvirt_provider.errors import AlreadyExistsError, InUseError
from libvirt_provider.volume import Volume

if TYPE_CHECKING:
    from conftest import Qemu

MIB = 2**20
URN = "urn:pulumi:acme::hoster::libvirt:index/volume:Volume::web"
SEED_URN = "urn:pulumi:acme::hoster::libvirt:index/cloudInitDisk:CloudInitDisk::web"
DOMAIN_URN = "urn:pulumi:acme::hoster::libvirt:index/domain:Domain::web"
DISK = {"name": "acme.web.raw", "pool": "vps", "size": 2 * MIB, "format": "raw"}
SEED = {"name": "acme.web.seed.iso", "pool": "vps", "userData": "a"}


class KilledError(BaseException):
    """What ends a process here: no handler of the provider's runs after it."""


@pytest.fixture
def pool(qemu: Qemu) -> Any:
    return qemu.connection.storagePoolLookupByName("vps")


def machine(disk_id: str) -> dict[str, Any]:
    return {
        **Domain.defaults,
        "name": "acme.web",
        "type": "qemu",
        "memory": 128,
        "disks": [{"volumeId": disk_id}],
    }


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Marks({})
    for module in ("volume", "cloud_init_disk", "domain"):
        monkeypatch.setattr(f"libvirt_provider.{module}.MARKS", fresh)


def test_a_disk_made_but_not_recorded_is_taken_on(qemu: Qemu) -> None:
    key, outputs = Volume(qemu.host).create(URN, DISK)
    Path(key).write_bytes(b"kept" * (MIB // 2))

    assert (key, outputs) == Volume(qemu.host).create(URN, DISK)
    assert b"kept" * (MIB // 2) == Path(key).read_bytes()


def test_a_mark_before_its_disk_does_no_harm(qemu: Qemu, pool: Any) -> None:
    Mark(pool, DISK["name"], URN).set(filling=False)

    key, _ = Volume(qemu.host).create(URN, DISK)

    assert 2 * MIB == Path(key).stat().st_size


def test_a_disk_cut_while_it_was_filled_is_filled_again(
    qemu: Qemu, pool: Any, tmp_path: Path
) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(b"whole" * MIB)
    Volume(qemu.host).create(URN, {**DISK, "size": 5 * MIB})
    mark = Mark(pool, DISK["name"], URN)
    mark.clear()
    mark.set(filling=True)

    inputs = {"name": DISK["name"], "pool": "vps", "format": "raw", "source": str(image)}
    key, _ = Volume(qemu.host).create(URN, inputs)

    assert image.read_bytes() == Path(key).read_bytes()
    assert mark.read() is False


def test_a_disk_being_filled_that_a_domain_has_is_left_alone(
    qemu: Qemu, pool: Any, tmp_path: Path
) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(bytes(MIB))
    key, _ = Volume(qemu.host).create(URN, DISK)
    Domain(qemu.host).create(DOMAIN_URN, {**machine(key), "running": False})
    Mark(pool, DISK["name"], URN).set(filling=True)

    with pytest.raises(InUseError, match=r"acme\.web"):
        Volume(qemu.host).create(URN, {**DISK, "source": str(image)})


def test_a_disk_of_another_size_is_not_taken_on_where_it_would_shrink(qemu: Qemu) -> None:
    Volume(qemu.host).create(URN, DISK)

    with pytest.raises(AlreadyExistsError, match="interrupted run"):
        Volume(qemu.host).create(URN, {**DISK, "size": MIB})


def test_a_disk_taken_on_grows_to_what_is_declared_now(qemu: Qemu) -> None:
    Volume(qemu.host).create(URN, DISK)

    _, outputs = Volume(qemu.host).create(URN, {**DISK, "size": 4 * MIB})

    assert 4 * MIB == outputs["size"]


def test_the_marks_go_when_a_domain_has_the_disks(qemu: Qemu) -> None:
    key, _ = Volume(qemu.host).create(URN, DISK)
    seed_id, _ = CloudInitDisk(qemu.host).create(SEED_URN, SEED)
    assert 2 == len([path for path in qemu.folder.iterdir() if path.suffix == ".made"])

    Domain(qemu.host).create(DOMAIN_URN, {**machine(key), "cloudinit": seed_id})

    names = {path.name for path in qemu.folder.iterdir()}
    assert {"acme.web.raw", "acme.web.seed.iso"} == names


def test_without_its_mark_a_disk_is_somebody_elses(qemu: Qemu, pool: Any) -> None:
    Volume(qemu.host).create(URN, DISK)
    Mark(pool, DISK["name"], URN).clear()

    with pytest.raises(AlreadyExistsError):
        Volume(qemu.host).create(URN, DISK)


def test_a_refresh_takes_the_mark_away(qemu: Qemu, pool: Any) -> None:
    key, _ = Volume(qemu.host).create(URN, DISK)

    Volume(qemu.host).read(URN, key, DISK)

    assert Mark(pool, DISK["name"], URN).read() is None


def test_a_seed_cut_while_it_was_written_is_written_again(
    qemu: Qemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = CloudInitDisk(qemu.host)
    with monkeypatch.context() as cut:
        cut.setattr(_storage, "upload", _killed)
        cut.setattr(_storage, "without_leftovers", lambda _: None)
        with pytest.raises(KilledError):
            seeds.create(SEED_URN, SEED)

    seed_id, _ = seeds.create(SEED_URN, SEED)
    found = seeds.read(SEED_URN, seed_id, SEED)

    assert found is not None
    assert "a" == found.inputs["userData"]


def test_a_domain_defined_but_not_started_is_started(qemu: Qemu) -> None:
    key, _ = Volume(qemu.host).create(URN, DISK)
    inputs = machine(key)
    first, _ = Domain(qemu.host).create(DOMAIN_URN, {**inputs, "running": False})

    second, _ = Domain(qemu.host).create(DOMAIN_URN, inputs)

    assert first == second
    assert qemu.connection.lookupByName("acme.web").isActive()
    assert 1 == len(qemu.connection.listAllDomains())


def _killed(*_: Any) -> None:
    raise KilledError
