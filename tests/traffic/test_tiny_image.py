"""The small guest boots in seconds, and does what tests of real boots build on (C7.4)."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from hoster.stack.first_boot import Network, meta_data, network_config, user_data
from hoster_lab import tiny_image
from hoster_lab.commands import run
from hoster_lab.progress import Progress
from hoster_lab.traffic import WEB
from hoster_lab.wire import BRIDGE, GATEWAY, Wire
from libvirt_provider.cloud_init_disk import seed_iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hoster_lab.os_image import OsImage

OFF_SECONDS = 10.0


@pytest.fixture(scope="module")
def image() -> OsImage:
    return tiny_image.ensure(Progress())


@pytest.fixture
def disk(image: OsImage, tmp_path: Path) -> Path:
    """A root disk of a VPS: larger than the image, which it stands on."""
    made = tmp_path / "root.qcow2"
    backing = ["-b", image.path, "-F", "qcow2"]
    run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(made), "2G"])
    return made


def seed(folder: Path, instance_id: str) -> Path:
    """What the control machine writes for a VPS, on the disk that the provider makes of it."""
    address = IPv4Interface(f"{WEB.ipv4}/24")
    network = Network(address, WEB.mac, GATEWAY.ip, (IPv4Address("192.0.2.53"),))
    content = seed_iso(
        {
            "metaData": meta_data(instance_id=instance_id, hostname="web"),
            "userData": user_data(hostname="web", user="tiny", ssh_keys=(), password_hash="*"),
            "networkConfig": network_config(network),
        }
    )
    made = folder / f"{instance_id}.iso"
    made.write_bytes(content)
    return made


class Guest:
    """A running QEMU with the devices of a VPS, its console and its power button."""

    def __init__(self, process: subprocess.Popen[str], monitor: Path, console: Path) -> None:
        self.process, self._monitor, self._console = process, monitor, console

    def press_power(self) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self._monitor))
            for command in ("qmp_capabilities", "system_powerdown"):
                line.sendall(json.dumps({"execute": command}).encode())
                line.recv(4096)
            self.process.wait(OFF_SECONDS)

    @property
    def console(self) -> str:
        return self._console.read_text(errors="replace")


@contextmanager
def booted(node: Wire, folder: Path, disk: Path, seed_disk: Path) -> Iterator[Guest]:
    """A guest on its tap in the node's bridge, as libvirt would start it."""
    node.on(node.node, "ip", "tuntap", "add", WEB.tap, "mode", "tap")
    node.on(node.node, "ip", "link", "set", WEB.tap, "master", BRIDGE, "up")
    monitor, console = folder / "qmp", folder / "console"
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "q35"]
    # With room to grow, as a VPS has it (C4.7).
    argv += ["-m", "512,slots=8,maxmem=8G", "-smp", "1,maxcpus=8"]
    argv += ["-nodefaults", "-no-user-config", "-display", "none", "-serial", f"file:{console}"]
    argv += ["-qmp", f"unix:{monitor},server=on,wait=off"]
    argv += ["-drive", f"file={disk},if=virtio,format=qcow2"]
    argv += ["-drive", f"file={seed_disk},if=virtio,format=raw,readonly=on"]
    argv += ["-netdev", f"tap,id=net,ifname={WEB.tap},script=no,downscript=no"]
    argv += ["-device", f"virtio-net-pci,netdev=net,mac={WEB.mac}"]
    process = node.start(node.node, *argv)
    try:
        yield Guest(process, monitor, console)
    finally:
        process.kill()
        process.communicate()
        node.on(node.node, "ip", "link", "delete", WEB.tap, check=False)


def test_it_boots_in_seconds_and_answers_also_in_quarantine(
    node: Wire, tmp_path: Path, disk: Path
) -> None:
    """C7.4: seen from its tap alone; the notes say on which disk which system ran."""
    node.agent("vps", "start", stdin=WEB.domain())
    node.agent("quarantine", "acme/web")
    patience = str(tiny_image.BOOT_SECONDS)
    took = {}
    for instance_id in ("acme.web-1", "acme.web-2"):
        began = time.monotonic()
        with booted(node, tmp_path, disk, seed(tmp_path, instance_id)) as guest:
            said = json.loads(
                node.agent("watch", "acme/web", "--json", "--seconds", patience, check=False)
            )
            took[instance_id] = time.monotonic() - began
            assert f"SSH-2.0-tiny_{instance_id}" == said["banner"], guest.console
            assert ["arp", "ping", "ssh"] == list(said["seen"])
            assert instance_id == tiny_image.boots_on(disk)[-1]
            ping = ("ping", "-c", "1", "-W", "1", str(WEB.ipv4))
            assert " 100% packet loss" in node.on(node.world, *ping, check=False)
            pressed = time.monotonic()
            guest.press_power()
            assert time.monotonic() - pressed < OFF_SECONDS
            assert 0 == guest.process.returncode

    assert ["acme.web-1", "acme.web-2"] == tiny_image.boots_on(disk)
    assert max(took.values()) < tiny_image.BOOT_SECONDS, took


def test_it_reaches_its_gateway_and_is_reached_once_it_is_connected(
    node: Wire, tmp_path: Path, disk: Path
) -> None:
    """C4.3: its static address, its route; its port greets one after the other."""
    node.agent("vps", "start", stdin=WEB.domain())
    with booted(node, tmp_path, disk, seed(tmp_path, "acme.web-1")):
        seconds = str(tiny_image.BOOT_SECONDS)
        said = json.loads(node.agent("watch", "acme/web", "--json", "--seconds", seconds))
        assert said["answering"]
        # From an address that is behind its gateway.
        ping = ("ping", "-c", "2", "-W", "2", "-I", "198.51.100.77", str(WEB.ipv4))
        assert " 0% packet loss" in node.on(node.world, *ping)
        greet = f"exec 3<>/dev/tcp/{WEB.ipv4}/22; head -n 1 <&3"
        for _ in range(3):
            heard = node.on(node.world, "timeout", "5", "bash", "-c", greet)
            assert "SSH-2.0-tiny_acme.web-1" == heard.strip()


def test_a_disk_that_nothing_booted_from_has_no_notes(disk: Path) -> None:
    assert [] == tiny_image.boots_on(disk)


def test_it_can_be_put_on_sale_with_its_checksum(image: OsImage, tmp_path: Path) -> None:
    """C4.1: the lab's own images stay; twice is once."""
    file = tmp_path / "images.yml"
    file.write_text("# Written by scripts/lab up\n---\nimages:\n  debian-12: {title: Debian 12}\n")
    for _ in range(2):
        tiny_image.add_to(file, image)
        listed = yaml.safe_load(file.read_text())["images"]

    assert {"debian-12", "tiny-1"} == set(listed)
    (about,) = listed["tiny-1"]["releases"].values()
    path = Path(about["url"].removeprefix("file://"))
    assert f"sha512:{hashlib.sha512(path.read_bytes()).hexdigest()}" == about["checksum"]
    assert 64 * 2**20 > path.stat().st_size


def test_its_recipe_has_its_files_and_a_script_that_can_run() -> None:
    assert (tiny_image.RECIPE.overlay / "init").stat().st_mode & 0o100
    assert tiny_image.RECIPE.finish.stat().st_mode & 0o100
