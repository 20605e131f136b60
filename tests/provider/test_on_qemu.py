"""Volumes, seeds and domains on a real QEMU, through the resources themselves."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from libvirt_provider import _storage, _xml
from libvirt_provider._resource import Change
from libvirt_provider.cloud_init_disk import CloudInitDisk
from libvirt_provider.domain import Domain
from libvirt_provider.errors import (
    AlreadyExistsError,
    InUseError,
    MissingError,
    PartlyDoneError,
    ProviderError,
    RefusedChangeError,
)
from libvirt_provider.volume import Volume

if TYPE_CHECKING:
    from conftest import Qemu

MIB, GIB = 2**20, 2**30
XSLT = (Path(__file__).parent / "vps.xslt").read_text()
DISK = {"name": "acme.web.raw", "pool": "vps", "size": 8 * MIB, "format": "raw"}
SEED = {"name": "acme.web.seed.iso", "pool": "vps", "userData": "#cloud-config", "metaData": "x"}
MAC = "02:00:cb:00:71:11"


def urn(kind: str, name: str = "web") -> str:
    return f"urn:pulumi:acme::hoster::libvirt:index/{kind[0].lower()}{kind[1:]}:{kind}::{name}"


def change(resource: Any, old: dict[str, Any], resource_id: str, **new: Any) -> Change:
    logged: list[str] = []
    return Change(
        urn(type(resource).__name__),
        resource_id,
        dict(old),
        dict(old),
        {**old, **new},
        logged.append,
    )


def said(change_: Change) -> str:
    return "\n".join(change_.log.__self__)  # type: ignore[attr-defined]


def machine(disk_id: str, seed_id: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        **Domain.defaults,
        "name": "acme.web",
        "type": "qemu",
        "machine": "q35",
        "memory": 256,
        "disks": [{"volumeId": disk_id}],
        "networkInterfaces": [{"bridge": "br-public", "mac": MAC}],
        **({"cloudinit": seed_id} if seed_id else {}),
        **more,
    }


@pytest.fixture
def volumes(qemu: Qemu) -> Volume:
    return Volume(qemu.host)


@pytest.fixture
def seeds(qemu: Qemu) -> CloudInitDisk:
    return CloudInitDisk(qemu.host)


@pytest.fixture
def domains(qemu: Qemu, monkeypatch: pytest.MonkeyPatch) -> Domain:
    monkeypatch.setenv("LIBVIRT_PROVIDER_SHUTDOWN_SECONDS", "0.5")
    return Domain(qemu.host)


def running(
    qemu: Qemu, volumes: Volume, domains: Domain, **more: Any
) -> tuple[str, dict[str, Any]]:
    disk_id, _ = volumes.create(urn("Volume"), DISK)
    inputs = machine(disk_id, **more)
    resource_id, _ = domains.create(urn("Domain"), inputs)
    return resource_id, inputs


def live(qemu: Qemu, flags: int = 0) -> Any:
    return _xml.parse(qemu.connection.lookupByName("acme.web").XMLDesc(flags))


# -- volumes


def test_a_domain_has_a_logical_volume_by_whichever_of_its_names(qemu: Qemu) -> None:
    qemu.connection.defineXML(
        "<domain type='qemu'><name>by-hand</name><memory>65536</memory><os><type>hvm</type></os>"
        "<devices><disk type='block'><source dev='/dev/mapper/vg--1-acme.web'/>"
        "<target dev='vda'/></disk></devices></domain>"
    )

    assert ["by-hand"] == _storage.users_of(qemu.host, "/dev/vg-1/acme.web")
    assert [] == _storage.users_of(qemu.host, "/dev/vg/1-acme.web")


def test_a_disk_in_a_stopped_pool_is_not_taken_for_gone(qemu: Qemu, volumes: Volume) -> None:
    key, _ = volumes.create(urn("Volume"), DISK)
    pool = qemu.connection.storagePoolLookupByName("vps")
    definition = pool.XMLDesc(0)
    pool.destroy()
    pool = qemu.connection.storagePoolDefineXML(definition, 0)

    try:
        with pytest.raises(ProviderError, match="not active"):
            volumes.delete(urn("Volume"), key, DISK)
    finally:
        pool.create(0)

    assert Path(key).exists()
    volumes.delete(urn("Volume"), key, DISK)
    assert not Path(key).exists()


def test_a_stopped_disk_grows_keeps_its_bytes_and_reads_zeros_beyond(
    qemu: Qemu, volumes: Volume
) -> None:
    key, _ = volumes.create(urn("Volume"), DISK)
    content = os.urandom(8 * MIB)
    Path(key).write_bytes(content)

    outputs = volumes.update(change(volumes, DISK, key, size=12 * MIB))

    assert 12 * MIB == outputs["size"]
    assert content + bytes(4 * MIB) == Path(key).read_bytes()


def test_a_running_disk_grows_and_the_guest_sees_it(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    running(qemu, volumes, domains)
    key = str(qemu.folder / DISK["name"])
    before = hashlib.sha256(Path(key).read_bytes()).digest()

    volumes.update(change(volumes, DISK, key, size=16 * MIB))

    assert 16 * MIB == qemu.connection.lookupByName("acme.web").blockInfo("vda")[0]
    assert before == hashlib.sha256(Path(key).read_bytes()[: 8 * MIB]).digest()
    assert bytes(8 * MIB) == Path(key).read_bytes()[8 * MIB :]


def test_a_disk_that_is_larger_than_the_state_knows_is_not_cut(volumes: Volume) -> None:
    key, _ = volumes.create(urn("Volume"), DISK)
    volumes.update(change(volumes, DISK, key, size=32 * MIB))

    with pytest.raises(RefusedChangeError, match="cannot shrink"):
        volumes.update(change(volumes, DISK, key, size=16 * MIB))


def test_a_disk_that_exists_is_never_taken_over(qemu: Qemu, volumes: Volume) -> None:
    key, _ = volumes.create(urn("Volume"), DISK)
    Path(key).write_bytes(b"a client's")

    with pytest.raises(AlreadyExistsError, match="did not make it"):
        volumes.create(urn("Volume", "other"), DISK)
    assert b"a client's" == Path(key).read_bytes()


def test_a_missing_disk_is_an_error_for_refresh_and_update(qemu: Qemu, volumes: Volume) -> None:
    key, _ = volumes.create(urn("Volume"), DISK)
    qemu.connection.storageVolLookupByKey(key).delete(0)

    with pytest.raises(MissingError, match=r"not deleted by this program.*pulumi state delete"):
        volumes.read(urn("Volume"), key, DISK)
    with pytest.raises(MissingError):
        volumes.update(change(volumes, DISK, key, size=16 * MIB))
    assert not Path(key).exists()


def test_a_clone_has_its_base_behind_it_and_is_no_smaller(qemu: Qemu, volumes: Volume) -> None:
    volumes.create(urn("Volume", "base"), {**DISK, "name": "debian-12.raw"})
    clone = {"name": "a.qcow2", "pool": "vps", "baseVolumeName": "debian-12.raw", "format": "qcow2"}

    _, outputs = volumes.create(urn("Volume", "a"), {**clone, "size": GIB})
    backing = _storage.VolumeFacts.of(
        qemu.connection.storageVolLookupByPath(str(qemu.folder / "a.qcow2"))
    ).backing_path

    assert (GIB, str(qemu.folder / "debian-12.raw")) == (outputs["size"], backing)
    with pytest.raises(RefusedChangeError, match="below that of base volume"):
        volumes.create(urn("Volume", "b"), {**clone, "name": "b.qcow2", "size": MIB})


def test_a_volume_is_filled_from_a_file(qemu: Qemu, volumes: Volume, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(os.urandom(5 * MIB + 3))

    key, outputs = volumes.create(
        urn("Volume"), {"name": "a", "pool": "vps", "source": str(image), "size": 6 * MIB}
    )

    assert ("raw", 6 * MIB) == (outputs["format"], outputs["size"])
    assert image.read_bytes() == Path(key).read_bytes()[: 5 * MIB + 3]


def test_a_source_that_is_not_there_leaves_nothing(qemu: Qemu, volumes: Volume) -> None:
    with pytest.raises(ProviderError, match="source /nowhere"):
        volumes.create(urn("Volume"), {"name": "a", "pool": "vps", "source": "/nowhere"})

    assert [] == list(qemu.folder.iterdir())


def test_an_upload_that_breaks_leaves_nothing(
    qemu: Qemu, volumes: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ProviderError("the line is cut")

    image = tmp_path / "image.raw"
    image.write_bytes(bytes(MIB))
    monkeypatch.setattr(_storage, "upload", broken)

    with pytest.raises(ProviderError, match="the line is cut"):
        volumes.create(urn("Volume"), {"name": "a", "pool": "vps", "source": str(image)})
    assert [] == list(qemu.folder.iterdir())


def test_a_disk_in_use_is_not_deleted(qemu: Qemu, volumes: Volume, domains: Domain) -> None:
    resource_id, _ = running(qemu, volumes, domains)
    key = str(qemu.folder / DISK["name"])

    with pytest.raises(InUseError, match=r"a disk of domain 'acme\.web'"):
        volumes.delete(urn("Volume"), key, DISK)
    domains.delete(urn("Domain"), resource_id, {})
    assert Path(key).exists()
    volumes.delete(urn("Volume"), key, DISK)
    assert [] == list(qemu.folder.iterdir())


def test_a_domain_that_goes_while_users_are_sought_uses_nothing(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    """Seen with twenty clients at once: a domain of the list is gone before it is looked at."""
    running(qemu, volumes, domains, running=False)
    disk = str(qemu.folder / DISK["name"])
    listed = qemu.connection.listAllDomains()
    host = SimpleNamespace(connection=lambda: SimpleNamespace(listAllDomains=lambda: listed))

    assert ["acme.web"] == _storage.users_of(host, disk)
    qemu.connection.lookupByName("acme.web").undefine()
    assert [] == _storage.users_of(host, disk)


def test_a_pool_that_is_not_there_is_named_with_those_that_are(volumes: Volume) -> None:
    with pytest.raises(ProviderError, match=r"no storage pool 'nope'.*it has: vps"):
        volumes.create(urn("Volume"), {**DISK, "pool": "nope"})


def test_an_import_reads_a_disk(volumes: Volume) -> None:
    key, _ = volumes.create(urn("Volume"), DISK)

    found = volumes.read(urn("Volume"), key, {})

    assert found is not None
    assert DISK == found.inputs


# -- seeds


def test_a_seed_is_rewritten_under_a_running_guest(
    qemu: Qemu, volumes: Volume, seeds: CloudInitDisk, domains: Domain
) -> None:
    seed_id, _ = seeds.create(urn("CloudInitDisk"), SEED)
    disk_id, _ = volumes.create(urn("Volume"), DISK)
    domains.create(urn("Domain"), machine(disk_id, seed_id, xml={"xslt": XSLT}))
    number = qemu.connection.lookupByName("acme.web").ID()

    seeds.update(change(seeds, SEED, seed_id, userData="#cloud-config\nnew: true"))
    found = seeds.read(urn("CloudInitDisk"), seed_id, SEED)

    assert found is not None
    assert "#cloud-config\nnew: true" == found.inputs["userData"]
    assert number == qemu.connection.lookupByName("acme.web").ID()


def test_a_seed_that_grows_beyond_its_volume_is_whole(qemu: Qemu, seeds: CloudInitDisk) -> None:
    seed_id, _ = seeds.create(urn("CloudInitDisk"), SEED)
    long = "#cloud-config\n" + "x" * 3 * MIB

    seeds.update(change(seeds, SEED, seed_id, userData=long))
    found = seeds.read(urn("CloudInitDisk"), seed_id, {})

    assert found is not None
    assert long == found.inputs["userData"]


def test_a_seed_that_is_gone_may_be_made_anew(qemu: Qemu, seeds: CloudInitDisk) -> None:
    seed_id, _ = seeds.create(urn("CloudInitDisk"), SEED)
    qemu.connection.storageVolLookupByKey(seed_id.partition(";")[0]).delete(0)

    assert seeds.read(urn("CloudInitDisk"), seed_id, SEED) is None


def test_a_foreign_seed_is_not_overwritten(seeds: CloudInitDisk) -> None:
    seeds.create(urn("CloudInitDisk"), SEED)

    with pytest.raises(AlreadyExistsError):
        seeds.create(urn("CloudInitDisk", "other"), SEED)


def test_a_seed_stays_where_its_domain_looks_for_it(seeds: CloudInitDisk) -> None:
    assert ["name"] == [it.property for it in seeds.refusals(SEED, {**SEED, "name": "b"})]


# -- domains


def test_a_running_guest_is_plugged_up_and_defined_plain(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, inputs = running(qemu, volumes, domains, xml={"xslt": XSLT})
    number = qemu.connection.lookupByName("acme.web").ID()
    bigger = change(domains, inputs, resource_id, memory=512, vcpu=2)

    outputs = domains.update(bigger)

    assert number == qemu.connection.lookupByName("acme.web").ID()
    assert "memory 256 -> 512 MiB: live, no reboot\nvcpu 1 -> 2: live, no reboot" == said(bigger)
    assert (512, 2) == (outputs["memory"], outputs["vcpu"])
    assert "524288" == live(qemu).findtext("memory") == live(qemu).findtext("currentMemory")
    assert "2" == live(qemu).find("vcpu").get("current")
    assert [] == live(qemu, 2).findall("devices/memory")
    assert "524288" == live(qemu, 2).find("cpu/numa/cell").get("memory")


def test_uuid_mac_and_tap_outlive_a_reboot(qemu: Qemu, volumes: Volume, domains: Domain) -> None:
    resource_id, inputs = running(qemu, volumes, domains, xml={"xslt": XSLT})
    number = qemu.connection.lookupByName("acme.web").ID()
    smaller = change(domains, inputs, resource_id, memory=200)

    domains.update(smaller)
    interface = live(qemu).find("devices/interface")

    assert "needs one reboot (ACPI shutdown, 0.5 s, then hard)" in said(smaller)
    assert number != qemu.connection.lookupByName("acme.web").ID()
    assert resource_id == live(qemu).findtext("uuid")
    assert MAC == interface.find("mac").get("address")
    assert "vps-cb007111" == interface.find("target").get("dev")


def test_a_generated_mac_is_kept(qemu: Qemu, volumes: Volume, domains: Domain) -> None:
    resource_id, inputs = running(
        qemu, volumes, domains, networkInterfaces=[{"bridge": "br-public"}]
    )
    before = live(qemu).find("devices/interface/mac").get("address")

    domains.update(change(domains, inputs, resource_id, memory=200))

    assert before == live(qemu).find("devices/interface/mac").get("address")


def test_a_guest_stopped_by_hand_is_not_started_by_a_change(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, inputs = running(qemu, volumes, domains)
    qemu.connection.lookupByName("acme.web").destroy()
    resized = change(domains, inputs, resource_id, memory=512)

    domains.update(resized)

    assert not qemu.connection.lookupByName("acme.web").isActive()
    assert "takes effect when it starts" in said(resized)
    found = domains.read(urn("Domain"), resource_id, inputs)
    assert found is not None
    assert (True, False) == (found.inputs["running"], found.outputs["running"])


def test_a_paused_guest_is_not_rebooted(qemu: Qemu, volumes: Volume, domains: Domain) -> None:
    resource_id, inputs = running(qemu, volumes, domains)
    guest = qemu.connection.lookupByName("acme.web")
    guest.suspend()

    domains.update(change(domains, inputs, resource_id, memory=200))

    paused = 3
    assert paused == guest.state()[0]


def test_running_starts_and_stops(qemu: Qemu, volumes: Volume, domains: Domain) -> None:
    resource_id, inputs = running(qemu, volumes, domains, running=False)
    assert not qemu.connection.lookupByName("acme.web").isActive()

    domains.update(change(domains, inputs, resource_id, running=True))
    assert qemu.connection.lookupByName("acme.web").isActive()

    domains.update(change(domains, {**inputs, "running": True}, resource_id, running=False))
    assert not qemu.connection.lookupByName("acme.web").isActive()


def test_description_and_metadata_change_under_a_running_guest(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, inputs = running(
        qemu, volumes, domains, metadata='<h:v xmlns:h="urn:h" plan="a"/>'
    )
    number = qemu.connection.lookupByName("acme.web").ID()
    new = '<h:v xmlns:h="urn:h" plan="b"><h:w/></h:v>'

    domains.update(change(domains, inputs, resource_id, metadata=new, description="new"))

    for flags in (0, 2):
        assert "new" == live(qemu, flags).findtext("description")
        assert "b" == live(qemu, flags).find("metadata/{urn:h}v").get("plan")
        assert live(qemu, flags).find("metadata/{urn:h}v/{urn:h}w") is not None
    assert number == qemu.connection.lookupByName("acme.web").ID()


def test_autostart_follows_the_program(qemu: Qemu, volumes: Volume, domains: Domain) -> None:
    resource_id, inputs = running(qemu, volumes, domains)

    domains.update(change(domains, inputs, resource_id, autostart=True))

    assert 1 == qemu.connection.lookupByName("acme.web").autostart()


def test_a_preview_says_reboot_and_touches_nothing(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, inputs = running(qemu, volumes, domains)
    before = live(qemu, 2)
    planned = change(domains, inputs, resource_id, memory=512)

    domains.planned_update(planned)

    assert "no maxMemory with a NUMA cell is declared" in said(planned)
    assert "needs one reboot" in said(planned)
    assert _xml.text_of(before) == _xml.text_of(live(qemu, 2))


def test_a_definition_that_libvirt_refuses_leaves_the_old_one(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, inputs = running(qemu, volumes, domains)
    before = _xml.text_of(live(qemu, 2))

    with pytest.raises(ProviderError, match=r"domain 'acme\.web'"):
        domains.update(change(domains, inputs, resource_id, machine="no-such-machine"))

    assert before == _xml.text_of(live(qemu, 2))
    assert qemu.connection.lookupByName("acme.web").isActive()


def test_a_start_that_fails_leaves_no_domain_and_all_disks(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    disk_id, _ = volumes.create(urn("Volume"), DISK)

    with pytest.raises(ProviderError, match="no-such-bridge"):
        domains.create(
            urn("Domain"), machine(disk_id, networkInterfaces=[{"bridge": "no-such-bridge"}])
        )

    assert [] == qemu.connection.listAllDomains()
    assert Path(disk_id).exists()


def test_a_plug_that_fails_tells_what_is_there_and_a_second_run_ends_it(
    qemu: Qemu, volumes: Volume, domains: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource_id, inputs = running(qemu, volumes, domains, xml={"xslt": XSLT})
    resized = change(domains, inputs, resource_id, memory=512, vcpu=2)
    monkeypatch.setattr("libvirt_provider.domain_live.dimm_xml", lambda _: _xml.root("nonsense"))

    with pytest.raises(PartlyDoneError, match=r"is redefined, but.*Run again") as partly:
        domains.update(resized)
    assert (256, 1) == (partly.value.outputs["memory"], partly.value.outputs["vcpu"])
    monkeypatch.undo()

    outputs = domains.update(change(domains, resized.new, resource_id))
    assert (512, 2) == (outputs["memory"], outputs["vcpu"])
    assert "524288" == live(qemu).findtext("memory")


def test_a_reboot_that_fails_is_ended_by_the_second_run(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, inputs = running(qemu, volumes, domains)
    broken = change(domains, inputs, resource_id, networkInterfaces=[{"bridge": "no-such-bridge"}])

    with pytest.raises(PartlyDoneError) as partly:
        domains.update(broken)
    assert not qemu.connection.lookupByName("acme.web").isActive()

    again = Change(
        broken.urn, resource_id, dict(partly.value.outputs), broken.new, inputs, lambda _: None
    )
    domains.update(again)
    assert qemu.connection.lookupByName("acme.web").isActive()


def test_a_foreign_domain_of_that_name_is_not_touched(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    _, inputs = running(qemu, volumes, domains)
    before = _xml.text_of(live(qemu, 2))

    with pytest.raises(AlreadyExistsError, match="pulumi import"):
        domains.create(urn("Domain", "other"), {**inputs, "memory": 512})

    assert before == _xml.text_of(live(qemu, 2))


def test_a_domain_that_is_gone_is_made_anew_from_its_disks(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, inputs = running(qemu, volumes, domains)
    domains.delete(urn("Domain"), resource_id, {})

    assert domains.read(urn("Domain"), resource_id, inputs) is None
    with pytest.raises(MissingError, match="--refresh"):
        domains.update(change(domains, inputs, resource_id, memory=512))
    domains.create(urn("Domain"), inputs)
    assert Path(inputs["disks"][0]["volumeId"]).exists()


def test_refresh_and_import_read_what_is_there(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, inputs = running(qemu, volumes, domains, xml={"xslt": XSLT})
    qemu.connection.lookupByName("acme.web").setVcpusFlags(3, 1)

    refreshed = domains.read(urn("Domain"), resource_id, inputs)
    imported = domains.read(urn("Domain"), resource_id, {})

    assert refreshed is not None
    assert imported is not None
    assert 3 == refreshed.inputs["vcpu"]
    assert inputs["disks"] == imported.inputs["disks"]
    assert [{"bridge": "br-public", "mac": MAC.upper()}] == imported.inputs["networkInterfaces"]
    assert ([], []) == (domains.rules(imported.inputs), domains.refusals(inputs, imported.inputs))


def test_a_name_is_final(domains: Domain) -> None:
    [refused] = domains.refusals({"name": "a"}, {"name": "b"})

    assert "virsh domrename a b" in refused.reason


def test_a_snapshot_and_a_managed_save_do_not_stop_a_delete(
    qemu: Qemu, volumes: Volume, domains: Domain
) -> None:
    resource_id, _ = running(qemu, volumes, domains)
    qemu.connection.lookupByName("acme.web").managedSave()

    domains.delete(urn("Domain"), resource_id, {})

    assert [] == qemu.connection.listAllDomains()
