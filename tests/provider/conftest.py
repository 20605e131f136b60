"""A libvirtd of the tests' own, with real QEMU, that nothing else on the machine sees."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pytest

from libvirt_provider._connection import Host

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0

# Its own mounts over libvirt's folders and its own processes: gone with the daemon.
PRIVATE = """
set -eu
ulimit -n 4096 # libvirt closes every number up to it before each start of a QEMU
# The cache stays: what each QEMU can do takes seconds to find out.
for folder in /etc/libvirt /var/lib/libvirt /var/log/libvirt /run/libvirt; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
mount -t proc proc /proc
ip link set lo up
ip link add br-public type bridge
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
END
# The shell stays as the first process: it buries the QEMUs that end.
libvirtd --config "$1/libvirtd.conf" --pid-file "$1/libvirtd.pid" &
wait
"""


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
    folder = tmp_path_factory.mktemp("libvirtd")
    (folder / "libvirtd.conf").write_text(
        f'unix_sock_dir = "{folder}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n'
        f'log_outputs = "3:file:{folder}/libvirtd.log"\n'
    )
    command = [
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        PRIVATE,
    ]
    with (folder / "output").open("wb") as output:
        daemon = subprocess.Popen([*command, "sh", str(folder)], stdout=output, stderr=output)
    try:
        uri = f"qemu+unix:///system?socket={folder}/libvirt-sock"
        connection = _connected(uri, daemon, folder)
        pool = folder / "pool"
        pool.mkdir()
        connection.storagePoolCreateXML(
            f"<pool type='dir'><name>vps</name><target><path>{pool}</path></target></pool>", 0
        )
        yield Qemu(uri, pool, connection, daemon.pid)
        connection.close()
    finally:
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()


def _connected(uri: str, daemon: subprocess.Popen[bytes], folder: Path) -> Any:
    libvirt.registerErrorHandler(lambda *_: None, None)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and daemon.poll() is None:
        try:
            return libvirt.open(uri)
        except libvirt.libvirtError:
            time.sleep(0.1)
    pytest.fail(f"the tests' libvirtd did not start: {(folder / 'output').read_text()}")


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
