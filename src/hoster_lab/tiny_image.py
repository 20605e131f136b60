"""A guest for tests that need one which boots in seconds, also under emulation: ``tiny-1``.

Debian's cloud kernel and its busybox in an initramfs, with a boot loader of its own on a disk with
a partition table, like an image that is on sale. It reads the same seed as that one: takes its
static IPv4 and its gateway, answers to ping, and greets on TCP 22 as
``SSH-2.0-tiny_<instance-id>``, where nobody can log in. It goes off when its power button is
pressed. Each boot is noted on the root disk: `boots_on` tells which ones were on a disk.

The lab does not have it on sale. A test that wants it there calls `add_to` with the lab's
``inventory/group_vars/all/images.yml`` and runs ``configure-nodes.yml``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from hoster_lab import cache, debian
from hoster_lab.commands import run
from hoster_lab.os_image import FIRST_PARTITION_MIB, MIB, SECTOR_BYTES, OsImage

if TYPE_CHECKING:
    from hoster_lab.progress import Progress

NAME = "tiny-1"
BOOT_SECONDS = 30.0
"""Enough from start to greeting under emulation on a busy machine; alone it takes 6."""
VIRTUAL_SIZE_GIB = 1
_BOOT_CODE_BYTES = 440  # after it: disk signature and partition table
_NOTES_BYTES = 4096
_NOTES_SECTOR = 2040  # the last ones before the partition, behind the boot loader; see `init`
_BUILD_SECONDS = 900.0

RECIPE = cache.Recipe(
    name=NAME,
    suite="bookworm",
    packages=("linux-image-cloud-amd64", "busybox-static", "grub-pc-bin", "grub-common"),
)


def ensure(progress: Progress) -> OsImage:
    """Return the image that the recipe makes; build it where it is missing.

    Raises:
        LabError: a program that it is built with failed.
    """
    kept = cache.folder() / f"{NAME}-{RECIPE.digest()}"
    if not kept.is_dir():
        with cache.building(NAME) as place:
            if not kept.is_dir():
                with progress.step(f"Build the OS image {NAME} (half a minute, once)"):
                    result = place / "result"
                    _build(place, result)
                    result.rename(kept)
    return _described(kept)


def catalogue_entry(image: OsImage) -> dict[str, Any]:
    """Return the image as the catalogue of OS images lists one: by its name."""
    release = {
        "url": f"file://{image.path}",
        "checksum": f"sha512:{image.sha512}",
        "format": "qcow2",
        "virtual_size_gib": image.virtual_size_gib,
    }
    return {
        NAME: {
            "title": "A small guest for tests",
            "default_user": "tiny",
            "default_release": image.release,
            "releases": {image.release: release},
        }
    }


def add_to(images_file: Path, image: OsImage) -> None:
    """Put the image on sale beside those that *images_file*, an ``images.yml``, lists."""
    written: dict[str, Any] = yaml.safe_load(images_file.read_text())
    written["images"] |= catalogue_entry(image)
    images_file.write_text("---\n" + yaml.safe_dump(written, sort_keys=False, width=200))


def boots_on(disk: Path) -> list[str]:
    """Return the instance-id of each boot that was noted on a qcow2 *disk*, oldest first.

    Also while a guest runs on it, and without the image that it stands on: what was written is on
    the disk itself.

    Raises:
        LabError: it is no qcow2 disk, or it is gone.
    """
    file = {"driver": "file", "filename": str(disk)}
    alone = json.dumps({"driver": "qcow2", "backing": None, "file": file})
    blocks = _NOTES_SECTOR * SECTOR_BYTES // _NOTES_BYTES
    with TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        # It counts from the start of the disk, what it skips included.
        part = [f"bs={_NOTES_BYTES}", f"skip={blocks}", f"count={blocks + 1}"]
        run(["qemu-img", "dd", "-U", "-O", "raw", f"if=json:{alone}", f"of={notes}", *part])
        return notes.read_bytes().rstrip(b"\0").decode(errors="replace").split()


def _described(kept: Path) -> OsImage:
    about = json.loads((kept / "image.json").read_text())
    files = {name: str(kept / about[name]) for name in ("path", "kernel", "initrd")}
    return OsImage(**{**about, **files})


def _build(place: Path, result: Path) -> None:
    root, disk, image = place / "root", place / "disk.raw", result / f"{NAME}.qcow2"
    result.mkdir()
    _extract(root)
    run([str(RECIPE.finish), str(root)])
    boot = root / "boot" / "tiny"
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(boot / name, result / name)
    loader = [(boot / name).read_bytes() for name in ("boot.img", "core.img")]
    for name in ("boot.img", "core.img"):
        (boot / name).unlink()
    _write_disk(disk, boot, *loader)
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk), str(image)])
    _describe(image)


def _extract(root: Path) -> None:
    """Unpack the packages; nothing of them is configured, and nothing runs but what is asked."""
    argv = ["mmdebstrap", "--mode=root", "--variant=extract", "--quiet"]
    argv += ['--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Retries "3"']
    argv += [f"--include={','.join(RECIPE.packages)}", RECIPE.suite, str(root)]
    mirrors = debian.sources(RECIPE.suite)
    if mirrors:
        argv.append("-")
    run(argv, stdin=mirrors or None, timeout=_BUILD_SECONDS)


def _write_disk(disk: Path, content: Path, boot: bytes, core: bytes) -> None:
    """Make a disk with one partition that holds *content*, and GRUB before it."""
    assert len(core) <= (_NOTES_SECTOR - 1) * SECTOR_BYTES  # noqa: S101 - it is 130 KiB
    with disk.open("wb") as raw:
        raw.truncate(VIRTUAL_SIZE_GIB * 1024 * MIB)
    table = f"label: dos\nstart={FIRST_PARTITION_MIB}MiB, type=83, bootable\n"
    run(["sfdisk", "--quiet", str(disk)], stdin=table)
    offset = f"offset={FIRST_PARTITION_MIB * MIB}"
    size = f"{VIRTUAL_SIZE_GIB * 1024 - FIRST_PARTITION_MIB}M"
    options = ["-O", "^has_journal", "-d", str(content), "-E", offset]
    run(["mkfs.ext4", "-q", "-F", *options, str(disk), size])
    with os.fdopen(os.open(disk, os.O_WRONLY), "wb") as raw:
        raw.write(boot[:_BOOT_CODE_BYTES])
        raw.seek(SECTOR_BYTES)
        raw.write(core)


def _describe(image: Path) -> None:
    with image.open("rb") as content:
        sha512 = hashlib.file_digest(content, "sha512").hexdigest()
    about = OsImage(
        path=image.name,
        release=f"{datetime.now(UTC):%Y%m%d}-{sha512[:8]}",
        sha512=sha512,
        virtual_size_gib=VIRTUAL_SIZE_GIB,
        kernel="vmlinuz",
        initrd="initrd.img",
    )
    (image.parent / "SHA512SUMS").write_text(f"{sha512}  {about.path}\n")
    (image.parent / "image.json").write_text(json.dumps(asdict(about), indent=2) + "\n")
