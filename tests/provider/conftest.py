"""A libvirtd of the tests' own, with real QEMU, that nothing else on the machine sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hoster_lab.private_libvirtd import libvirtd
from libvirt_provider import _xml
from libvirt_provider._connection import Host
from libvirt_provider._resource import Change
from libvirt_provider.cloud_init_disk import CloudInitDisk
from libvirt_provider.domain import Domain
from libvirt_provider.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20
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


@dataclass(frozen=True)
class Web:
    """The VPS acme.web: what is declared of it, and what is there on the private host."""

    disk: ClassVar[dict[str, Any]] = {
        "name": "acme.web.raw",
        "pool": "vps",
        "size": 8 * MIB,
        "format": "raw",
    }
    seed: ClassVar[dict[str, Any]] = {
        "name": "acme.web.seed.iso",
        "pool": "vps",
        "userData": "#cloud-config",
        "metaData": "x",
    }
    mac: ClassVar[str] = "02:00:cb:00:71:11"

    connection: Any
    volumes: Volume
    domains: Domain

    @staticmethod
    def urn(kind: str, name: str = "web") -> str:
        return f"urn:pulumi:acme::hoster::libvirt:index/{kind[0].lower()}{kind[1:]}:{kind}::{name}"

    def machine(self, disk_id: str, seed_id: str | None = None, **more: Any) -> dict[str, Any]:
        return {
            **Domain.defaults,
            "name": "acme.web",
            "type": "qemu",
            "machine": "q35",
            "memory": 256,
            "disks": [{"volumeId": disk_id}],
            "networkInterfaces": [{"bridge": "br-public", "mac": self.mac}],
            **({"cloudinit": seed_id} if seed_id else {}),
            **more,
        }

    def running(self, **more: Any) -> tuple[str, dict[str, Any]]:
        """Make disk and domain; return the domain's id and inputs."""
        disk_id, _ = self.volumes.create(self.urn("Volume"), self.disk)
        inputs = self.machine(disk_id, **more)
        resource_id, _ = self.domains.create(self.urn("Domain"), inputs)
        return resource_id, inputs

    def live(self, flags: int = 0) -> Any:
        return _xml.parse(self.connection.lookupByName("acme.web").XMLDesc(flags))

    def change(self, resource: Any, old: dict[str, Any], resource_id: str, **new: Any) -> Change:
        urn, logged = self.urn(type(resource).__name__), list[str]()
        return Change(urn, resource_id, dict(old), dict(old), {**old, **new}, logged.append)

    @staticmethod
    def said(change: Change) -> str:
        return "\n".join(change.log.__self__)  # type: ignore[attr-defined]


@pytest.fixture
def web(qemu: Qemu, volumes: Volume, domains: Domain) -> Web:
    return Web(qemu.connection, volumes, domains)


@pytest.fixture(scope="session")
def engine_environment(installed_once: str) -> dict[str, str]:
    """The environment in which ``pulumi`` and its plugins are found."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hoster"
    return {
        **os.environ,
        "PATH": f"{ROOT}/.venv/bin:{cache}/bin:{os.environ['PATH']}",
        "PYTHONPATH": installed_once,
        "PULUMI_CONFIG_PASSPHRASE": "tests only",
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1",
    }
