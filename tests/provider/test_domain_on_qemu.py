"""Domains on a real QEMU, through the resource itself: made, read, and undefined."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libvirt_provider import _xml
from libvirt_provider.errors import AlreadyExistsError, MissingError, ProviderError

if TYPE_CHECKING:
    from conftest import Qemu, Web
    from libvirt_provider.domain import Domain
    from libvirt_provider.volume import Volume

XSLT = (Path(__file__).parent / "vps.xslt").read_text()


def test_a_start_that_fails_leaves_no_domain_and_all_disks(
    qemu: Qemu, web: Web, volumes: Volume, domains: Domain
) -> None:
    disk_id, _ = volumes.create(web.urn("Volume"), web.disk)

    with pytest.raises(ProviderError, match="no-such-bridge"):
        domains.create(
            web.urn("Domain"),
            web.machine(disk_id, networkInterfaces=[{"bridge": "no-such-bridge"}]),
        )

    assert [] == qemu.connection.listAllDomains()
    assert Path(disk_id).exists()


def test_a_foreign_domain_of_that_name_is_not_touched(web: Web, domains: Domain) -> None:
    _, inputs = web.running()
    before = _xml.text_of(web.live(2))

    with pytest.raises(AlreadyExistsError, match="pulumi import"):
        domains.create(web.urn("Domain", "other"), {**inputs, "memory": 512})

    assert before == _xml.text_of(web.live(2))


def test_a_domain_that_is_gone_is_made_anew_from_its_disks(web: Web, domains: Domain) -> None:
    resource_id, inputs = web.running()
    domains.delete(web.urn("Domain"), resource_id, {})

    assert domains.read(web.urn("Domain"), resource_id, inputs) is None
    with pytest.raises(MissingError, match="--refresh"):
        domains.update(web.change(domains, inputs, resource_id, memory=512))
    domains.create(web.urn("Domain"), inputs)
    assert Path(inputs["disks"][0]["volumeId"]).exists()


def test_refresh_and_import_read_what_is_there(qemu: Qemu, web: Web, domains: Domain) -> None:
    resource_id, inputs = web.running(xml={"xslt": XSLT})
    qemu.connection.lookupByName("acme.web").setVcpusFlags(3, 1)

    refreshed = domains.read(web.urn("Domain"), resource_id, inputs)
    imported = domains.read(web.urn("Domain"), resource_id, {})

    assert refreshed is not None
    assert imported is not None
    assert 3 == refreshed.inputs["vcpu"]
    assert inputs["disks"] == imported.inputs["disks"]
    assert [{"bridge": "br-public", "mac": web.mac.upper()}] == imported.inputs["networkInterfaces"]
    assert ([], []) == (domains.rules(imported.inputs), domains.refusals(inputs, imported.inputs))


def test_a_name_is_final(domains: Domain) -> None:
    [refused] = domains.refusals({"name": "a"}, {"name": "b"})

    assert "virsh domrename a b" in refused.reason


def test_a_snapshot_and_a_managed_save_do_not_stop_a_delete(
    qemu: Qemu, web: Web, domains: Domain
) -> None:
    resource_id, _ = web.running()
    qemu.connection.lookupByName("acme.web").managedSave()

    domains.delete(web.urn("Domain"), resource_id, {})

    assert [] == qemu.connection.listAllDomains()
