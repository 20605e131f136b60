"""A disk is never replaced: every change but growth is refused before a host is touched."""

from __future__ import annotations

from typing import Any

import pytest

from libvirt_provider._connection import Host
from libvirt_provider.errors import RefusedChangeError
from libvirt_provider.provider import Provider
from libvirt_provider.volume import Volume, volume_xml

GIB = 2**30
URN = "urn:pulumi:acme::hoster::libvirt:index/volume:Volume::disk"
OLD = {
    "name": "acme.web.qcow2",
    "pool": "vps",
    "size": 10 * GIB,
    "format": "qcow2",
    "baseVolumeName": "debian-12.qcow2",
}
VOLUME = Volume(Host("test:///nowhere"))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"size": 10 * GIB - 1}, "size"),
        ({"name": "other"}, "name"),
        ({"pool": "other"}, "pool"),
        ({"format": "raw"}, "format"),
        ({"source": "image.raw", "baseVolumeName": None}, "source"),
        ({"baseVolumeName": "debian-13.qcow2"}, "baseVolumeName"),
        ({"baseVolumeName": None}, "baseVolumeName"),
        ({"baseVolumeId": "/pool/debian-13.qcow2", "baseVolumeName": None}, "baseVolumeId"),
    ],
)
def test_a_change_that_would_lose_data_fails_the_check(change: dict[str, Any], where: str) -> None:
    _, failures = VOLUME.checked(URN, b"", OLD, {**OLD, **change})

    assert where in [failure.property for failure in failures]
    assert any("et it back" in it.reason or "Declare at least" in it.reason for it in failures)


def test_growth_is_an_update() -> None:
    new, failures = VOLUME.checked(URN, b"", OLD, {**OLD, "size": 20 * GIB})

    assert [] == failures
    assert ["size"] == Provider().changed(URN, OLD, OLD, new)


def test_nothing_new_is_no_change() -> None:
    new, failures = VOLUME.checked(URN, b"", OLD, OLD)

    assert ([], []) == (failures, VOLUME.changed(OLD, new))


def test_a_size_declared_below_that_of_the_state_stops_the_preview() -> None:
    declared = {"name": "a", "pool": "vps"}

    with pytest.raises(RefusedChangeError, match="cannot shrink from 10 GiB to 5 GiB"):
        Provider().changed(URN, OLD, declared, {**declared, "size": 5 * GIB})


def test_the_base_of_an_imported_disk_may_be_named() -> None:
    imported = {"name": "a", "pool": "vps", "baseVolumeId": "/pool/debian-12.qcow2"}
    program = {"name": "a", "pool": "vps", "baseVolumeName": "debian-12.qcow2"}

    assert [] == VOLUME.refusals(imported, program)
    assert [] == VOLUME.changed(imported, program)


def test_a_new_volume_is_sparse_and_of_exact_size() -> None:
    root = volume_xml("a", 5, "raw", None)

    assert ("5", "0") == (root.findtext("capacity"), root.findtext("allocation"))
