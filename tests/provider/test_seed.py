"""Seeds are what cloud-init's NoCloud source takes for its disk."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pycdlib

from libvirt_provider.cloud_init_disk import UNIT_BYTES, seed_iso, seed_texts, volume_key

TEXTS = {
    "userData": "#cloud-config\npassword: €",
    "metaData": "instance-id: x",
    "networkConfig": "version: 2",
}


def test_what_goes_in_comes_out() -> None:
    assert TEXTS == seed_texts(seed_iso(TEXTS))


def test_the_label_is_the_one_looked_for(tmp_path: Path) -> None:
    image = tmp_path / "seed.iso"
    image.write_bytes(seed_iso(TEXTS))
    label = subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", "LABEL", image],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "cidata" == label.stdout.strip()


def test_rock_ridge_names_are_the_plain_ones() -> None:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(seed_iso(TEXTS)))
    names = {child.rock_ridge.name().decode() for child in iso.list_children(iso_path="/")}

    assert {"user-data", "meta-data", "network-config"} <= names


def test_a_seed_without_a_network_has_none() -> None:
    assert {"userData": "a", "metaData": ""} == seed_texts(seed_iso({"userData": "a"}))


def test_seeds_are_of_even_size_so_that_a_new_one_fits() -> None:
    assert 0 == len(seed_iso(TEXTS)) % UNIT_BYTES


def test_what_is_no_seed_has_no_texts() -> None:
    assert {} == seed_texts(bytes(UNIT_BYTES))


def test_the_id_carries_the_key_of_the_volume() -> None:
    assert "/pool/seed.iso" == volume_key("/pool/seed.iso;11111111-2222-3333-4444-555555555555")
