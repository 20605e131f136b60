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

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from hoster_lab import cache, debian
from hoster_lab.commands import run
from hoster_lab.os_image import (
    FIRST_PARTITION_MIB,
    MIB,
    SECTOR_BYTES,
    OsImage,
    describe,
    described,
    partition,
    write_boot_loader,
)

if TYPE_CHECKING:
    from hoster_lab.progress import Progress

NAME = "tiny-1"
BOOT_SECONDS = 30.0
"""Enough from start to greeting under emulation on a busy machine; alone it takes 6."""
VIRTUAL_SIZE_GIB = 1
_NOTES_BYTES = 4096
_NOTES_SECTOR = 2040  # the last ones before the partition, behind the boot loader; see `init`

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
    said = f"Build the OS image {NAME} (half a minute, once)"
    return described(cache.kept(RECIPE, said, _build, progress))


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


def _build(place: Path) -> Path:
    root, disk, result = place / "root", place / "disk.raw", place / "result"
    image = result / f"{NAME}.qcow2"
    result.mkdir()
    debian.extract(RECIPE, root)
    run([str(RECIPE.finish), str(root)])
    boot = root / "boot" / "tiny"
    for name in ("vmlinuz", "initrd.img"):
        shutil.copy(boot / name, result / name)
    loader = [(boot / name).read_bytes() for name in ("boot.img", "core.img")]
    for name in ("boot.img", "core.img"):
        (boot / name).unlink()
    _write_disk(disk, boot, *loader)
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk), str(image)])
    describe(image, VIRTUAL_SIZE_GIB)
    return result


def _write_disk(disk: Path, content: Path, boot: bytes, core: bytes) -> None:
    """Make a disk with one partition that holds *content*, and GRUB before it."""
    assert len(core) <= (_NOTES_SECTOR - 1) * SECTOR_BYTES  # noqa: S101 - it is 130 KiB
    partition(disk, VIRTUAL_SIZE_GIB)
    offset = f"offset={FIRST_PARTITION_MIB * MIB}"
    size = f"{VIRTUAL_SIZE_GIB * 1024 - FIRST_PARTITION_MIB}M"
    options = ["-O", "^has_journal", "-d", str(content), "-E", offset]
    run(["mkfs.ext4", "-q", "-F", *options, str(disk), size])
    write_boot_loader(disk, boot, core)
