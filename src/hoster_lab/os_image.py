"""The OS image that the lab's company sells: Debian 12, as a vendor's cloud image would be.

Partition table, boot loader and kernel of its own, so that its client can change them;
cloud-init and sshd; no agent and no key of the hoster inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hoster_lab import cache, debian
from hoster_lab.commands import run

if TYPE_CHECKING:
    from hoster_lab.progress import Progress

MIB = 1024**2
SECTOR_BYTES = 512
FIRST_PARTITION_MIB = 1
VIRTUAL_SIZE_GIB = 2
_BOOT_CODE_BYTES = 440  # after it: disk signature and partition table
_GRUB_MODULES = (
    *("biosdisk", "part_msdos", "ext2", "normal", "linux", "search", "search_fs_uuid"),
    *("configfile", "echo", "test", "serial", "terminal", "minicmd", "reboot", "halt"),
)

RECIPE = cache.Recipe(
    name="debian-12",
    suite="bookworm",
    packages=(
        *("linux-image-cloud-amd64", "initramfs-tools", "zstd", "grub-pc", "kmod"),
        *("systemd", "systemd-sysv", "libpam-systemd", "systemd-resolved", "systemd-timesyncd"),
        *("udev", "dbus", "cloud-init", "cloud-guest-utils", "fdisk", "e2fsprogs"),
        *("openssh-server", "sudo", "login", "passwd", "apt-utils", "ca-certificates"),
        *("iproute2", "iputils-ping", "netbase", "procps", "less", "vim-tiny", "tzdata"),
    ),
)


@dataclass(frozen=True)
class OsImage:
    """A built image: where it is, its release (the day and its bytes), its SHA-512."""

    path: str
    release: str
    sha512: str
    virtual_size_gib: int
    kernel: str
    initrd: str


def ensure(progress: Progress) -> OsImage:
    """Return the image that the recipe makes; build it where it is missing.

    Raises:
        LabError: a program that it is built with failed.
    """
    said = "Build the OS image debian-12 (about 1.5 min, once)"
    return described(cache.kept(RECIPE, said, _build, progress))


def described(kept: Path) -> OsImage:
    """Return the image that was built in the folder *kept*."""
    about = json.loads((kept / "image.json").read_text())
    files = {name: str(kept / about[name]) for name in ("path", "kernel", "initrd")}
    return OsImage(**{**about, **files})


def _build(place: Path) -> Path:
    root, disk, result = place / "root", place / "disk.raw", place / "result"
    image = result / f"{RECIPE.name}.qcow2"
    result.mkdir()
    filesystem = str(uuid.uuid4())
    debian.bootstrap(RECIPE, root)
    _write_boot_configuration(root, filesystem)
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), result / "vmlinuz")
    shutil.copy(next((root / "boot").glob("initrd.img-*")), result / "initrd.img")
    partition(disk, VIRTUAL_SIZE_GIB)
    label = ("-L", "root", "-U", filesystem)
    offset = f"offset={FIRST_PARTITION_MIB * MIB}"
    size = f"{VIRTUAL_SIZE_GIB * 1024 - FIRST_PARTITION_MIB}M"
    run(["mkfs.ext4", "-q", "-F", *label, "-d", str(root), "-E", offset, str(disk), size])
    write_boot_loader(disk, *_boot_loader(root))
    packed = ("-O", "qcow2", "-c", "-o", "compression_type=zstd")
    run(["qemu-img", "convert", "-f", "raw", *packed, str(disk), str(image)])
    describe(image, VIRTUAL_SIZE_GIB)
    return result


def describe(image: Path, virtual_size_gib: int) -> None:
    """Write beside the built *image* what `described` reads, and a list of checksums."""
    with image.open("rb") as content:
        sha512 = hashlib.file_digest(content, "sha512").hexdigest()
    about = OsImage(
        path=image.name,
        release=f"{datetime.now(UTC):%Y%m%d}-{sha512[:8]}",
        sha512=sha512,
        virtual_size_gib=virtual_size_gib,
        kernel="vmlinuz",
        initrd="initrd.img",
    )
    (image.parent / "SHA512SUMS").write_text(f"{sha512}  {about.path}\n")
    (image.parent / "image.json").write_text(json.dumps(asdict(about), indent=2) + "\n")


def _write_boot_configuration(root: Path, filesystem: str) -> None:
    """Name the root by its UUID; the first `update-grub` on the VPS writes the usual one."""
    (root / "etc/fstab").write_text(f"UUID={filesystem} / ext4 rw,discard,errors=remount-ro 0 1\n")
    options = "ro consoleblank=0 console=tty0 console=ttyS0,115200 quiet"
    (root / "boot/grub/grub.cfg").write_text(
        "set timeout=0\n"
        f"search --no-floppy --fs-uuid --set=root {filesystem}\n"
        'menuentry "Debian GNU/Linux" {\n'
        f"    linux /vmlinuz root=UUID={filesystem} {options}\n"
        "    initrd /initrd.img\n"
        "}\n"
    )


def partition(disk: Path, size_gib: int) -> None:
    """Make a raw *disk* with one partition on it, which can be booted from."""
    with disk.open("wb") as raw:
        raw.truncate(size_gib * 1024 * MIB)
    table = f"label: dos\nstart={FIRST_PARTITION_MIB}MiB, type=83, bootable\n"
    run(["sfdisk", "--quiet", str(disk)], stdin=table)


def _boot_loader(root: Path) -> tuple[bytes, bytes]:
    """Make GRUB's two parts as `grub-install` does, but without a device."""
    run(
        [
            "chroot",
            str(root),
            "grub-mkimage",
            "--format=i386-pc",
            "--prefix=(hd0,msdos1)/boot/grub",
            "--output=/boot/grub/i386-pc/core.img",
            *_GRUB_MODULES,
        ]
    )
    folder = root / "boot/grub/i386-pc"
    core = (folder / "core.img").read_bytes()
    assert len(core) <= (FIRST_PARTITION_MIB * MIB) - SECTOR_BYTES  # noqa: S101 - it is 40 KiB
    return (folder / "boot.img").read_bytes(), core


def write_boot_loader(disk: Path, boot: bytes, core: bytes) -> None:
    """Put *boot* in the MBR of a raw *disk*, and *core* in the gap after it."""
    with os.fdopen(os.open(disk, os.O_WRONLY), "wb") as raw:
        raw.write(boot[:_BOOT_CODE_BYTES])
        raw.seek(SECTOR_BYTES)
        raw.write(core)
