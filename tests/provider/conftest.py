"""A libvirtd of the tests' own, with real QEMU, that nothing else on the machine sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hoster_lab.private_libvirtd import libvirtd
from libvirt_provider._connection import Host

ROOT = Path(__file__).resolve().parents[2]
PREPARE = "ip link set lo up && ip link add br-public type bridge"


@dataclass(frozen=True)
class Qemu:
    """A private host: its URI, a pool ``vps`` in ``folder``, and a connection of the tests' own.

    ``pid`` is a process in its namespaces.
    """

    uri: str
    folder: Path
    connection: Any
    pid: int

    @property
    def host(self) -> Host:
        return Host(self.uri)

    def clean(self) -> None:
        for domain in self.connection.listAllDomains():
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(1 | 2 | 4 | 16)
        for path in self.folder.iterdir():
            path.unlink()
        self.connection.storagePoolLookupByName("vps").refresh(0)


@pytest.fixture(scope="session")
def qemu_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qemu]:
    folder = tmp_path_factory.mktemp("qemu")
    pool = folder / "pool"
    pool.mkdir()
    with libvirtd(folder / "libvirtd", prepare=PREPARE) as daemon:
        connection = daemon.connected()
        connection.storagePoolCreateXML(
            f"<pool type='dir'><name>vps</name><target><path>{pool}</path></target></pool>", 0
        )
        yield Qemu(daemon.uri(), pool, connection, daemon.pid)
        connection.close()


@pytest.fixture
def qemu(qemu_daemon: Qemu) -> Iterator[Qemu]:
    qemu_daemon.clean()
    yield qemu_daemon
    qemu_daemon.clean()


@pytest.fixture(scope="session")
def engine_environment() -> dict[str, str]:
    """The environment in which ``pulumi`` and its plugins are found."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hoster"
    return {
        **os.environ,
        "PATH": f"{ROOT}/.venv/bin:{cache}/bin:{os.environ['PATH']}",
        "PULUMI_CONFIG_PASSPHRASE": "tests only",
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1",
    }
