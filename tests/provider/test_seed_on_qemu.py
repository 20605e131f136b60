"""Seeds on a real QEMU, through the resource itself: rewritten in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from libvirt_provider.errors import AlreadyExistsError

if TYPE_CHECKING:
    from conftest import Qemu, Web
    from libvirt_provider.cloud_init_disk import CloudInitDisk
    from libvirt_provider.domain import Domain
    from libvirt_provider.volume import Volume

MIB = 2**20
XSLT = (Path(__file__).parent / "vps.xslt").read_text()


def test_a_seed_is_rewritten_under_a_running_guest(
    qemu: Qemu, web: Web, volumes: Volume, seeds: CloudInitDisk, domains: Domain
) -> None:
    seed_id, _ = seeds.create(web.urn("CloudInitDisk"), web.seed)
    disk_id, _ = volumes.create(web.urn("Volume"), web.disk)
    domains.create(web.urn("Domain"), web.machine(disk_id, seed_id, xml={"xslt": XSLT}))
    number = qemu.connection.lookupByName("acme.web").ID()

    seeds.update(web.change(seeds, web.seed, seed_id, userData="#cloud-config\nnew: true"))
    found = seeds.read(web.urn("CloudInitDisk"), seed_id, web.seed)

    assert found is not None
    assert "#cloud-config\nnew: true" == found.inputs["userData"]
    assert number == qemu.connection.lookupByName("acme.web").ID()


def test_a_seed_that_grows_beyond_its_volume_is_whole(web: Web, seeds: CloudInitDisk) -> None:
    seed_id, _ = seeds.create(web.urn("CloudInitDisk"), web.seed)
    long = "#cloud-config\n" + "x" * 3 * MIB

    seeds.update(web.change(seeds, web.seed, seed_id, userData=long))
    found = seeds.read(web.urn("CloudInitDisk"), seed_id, {})

    assert found is not None
    assert long == found.inputs["userData"]


def test_a_seed_that_is_gone_may_be_made_anew(qemu: Qemu, web: Web, seeds: CloudInitDisk) -> None:
    seed_id, _ = seeds.create(web.urn("CloudInitDisk"), web.seed)
    qemu.connection.storageVolLookupByKey(seed_id.partition(";")[0]).delete(0)

    assert seeds.read(web.urn("CloudInitDisk"), seed_id, web.seed) is None


def test_a_foreign_seed_is_not_overwritten(web: Web, seeds: CloudInitDisk) -> None:
    seeds.create(web.urn("CloudInitDisk"), web.seed)

    with pytest.raises(AlreadyExistsError):
        seeds.create(web.urn("CloudInitDisk", "other"), web.seed)


def test_a_seed_stays_where_its_domain_looks_for_it(web: Web, seeds: CloudInitDisk) -> None:
    assert ["name"] == [it.property for it in seeds.refusals(web.seed, {**web.seed, "name": "b"})]
