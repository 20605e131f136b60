"""A libvirtd of a benchmark's own in a network namespace; nothing else on the machine sees it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import libvirt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hoster_lab.wire import Rented

START_SECONDS = 30.0
FILTERS = "/usr/share/libvirt/nwfilter"

# As tests/provider/conftest.py: its own mounts over libvirt's folders, and its own processes.
_PRIVATE = """
set -eu
ulimit -n 4096
for folder in /etc/libvirt /var/lib/libvirt /var/log/libvirt /run/libvirt; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
mkdir -p /etc/libvirt/nwfilter
cp "$2"/*.xml /etc/libvirt/nwfilter/
mount -t proc proc /proc
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
END
libvirtd --config "$1/libvirtd.conf" --pid-file "$1/libvirtd.pid" &
wait
"""
_FILTERED = """<filterref filter='clean-traffic'><parameter name='IP' value='{ipv4}'/>
<parameter name='CTRL_IP_LEARNING' value='none'/></filterref>"""
_BINDING = """<filterbinding><owner><name>{name}</name><uuid>{uuid}</uuid></owner>
<portdev name='{tap}'/><mac address='{mac}'/>{filtered}</filterbinding>"""
_TINY = """<domain type='qemu'><name>tiny.{name}</name><memory unit='KiB'>1024</memory>
<vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
<interface type='bridge'><source bridge='br-public'/><mac address='{mac}'/>
<target dev='{tap}'/>{filtered}<model type='virtio'/></interface>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"""


def why_not() -> str:
    """Return a sentence on why there is no libvirtd here, or nothing."""
    missing = [name for name in ("libvirtd", "qemu-system-x86_64") if not shutil.which(name)]
    return f"{' and '.join(missing)} not installed" if missing else ""


class Daemon:
    """A running libvirtd; *uri* takes the driver and the path of one of its connections."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def uri(self, driver: str, path: str) -> str:
        """Return a URI that leads to it."""
        return f"{driver}+unix:///{path}?socket={self._folder}/libvirt-sock"

    def connected(self, driver: str = "qemu", path: str = "system") -> Any:
        """Return a connection."""
        return libvirt.open(self.uri(driver, path))


@contextmanager
def libvirtd(folder: Path, namespace: str) -> Iterator[Daemon]:
    """Run one in a network *namespace*, and end it and its guests."""
    folder.mkdir()
    (folder / "libvirtd.conf").write_text(
        f'unix_sock_dir = "{folder}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n'
        f'log_outputs = "4:file:{folder}/libvirtd.log"\n'
    )
    private = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _PRIVATE)
    argv = ["ip", "netns", "exec", namespace, *private, "sh", str(folder), FILTERS]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        daemon = Daemon(folder)
        _wait_for(daemon, process)
        yield daemon
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait_for(daemon: Daemon, process: subprocess.Popen[bytes]) -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            daemon.connected().close()
        except libvirt.libvirtError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the benchmark's libvirtd did not start")


def bound(connection: Any, vps: Rented) -> float:
    """Have libvirtd lay its filter for a port, and return the seconds that took."""
    began = time.perf_counter()
    connection.nwfilterBindingCreateXML(_filled(_BINDING, vps), 0)
    return time.perf_counter() - began


def unbound(connection: Any, vps: Rented) -> None:
    """Have it taken away."""
    connection.nwfilterBindingLookupByPortDev(vps.tap).delete()


def started(connection: Any, vps: Rented, *, filtered: bool) -> float:
    """Start a tiny guest with a tap of the name of *vps*, and return the seconds that took.

    A megabyte of memory, no disk, and paused: of its start the filter is what takes time.
    """
    text = _filled(_TINY, vps) if filtered else _filled(_TINY, vps, filtered="")
    began = time.perf_counter()
    connection.createXML(text, libvirt.VIR_DOMAIN_START_PAUSED)
    return time.perf_counter() - began


def ended(connection: Any, vps: Rented) -> None:
    """End the tiny guest."""
    connection.lookupByName(f"tiny.{vps.name}").destroy()


def _filled(text: str, vps: Rented, *, filtered: str = _FILTERED) -> str:
    uuid = f"00000000-0000-4000-8000-{int(vps.ipv4):012d}"
    facts = {"name": vps.name, "uuid": uuid, "tap": vps.tap, "mac": vps.mac}
    return text.format(filtered=filtered.format(ipv4=vps.ipv4), **facts)


@contextmanager
def known_to(daemon: Daemon, vpss: Sequence[Rented]) -> Iterator[str]:
    """Have libvirtd's driver for tests run a domain for each of *vpss*, and yield the URI.

    It keeps no QEMU, but answers over the same socket and the same calls.
    """
    connection = daemon.connected("test", "default")
    try:
        for vps in vpss:
            text = vps.domain().replace("type='qemu'", "type='test'", 1)
            head, _, tail = text.partition("<metadata>")
            memory = "<memory unit='KiB'>1024</memory><os><type>hvm</type></os><metadata>"
            connection.createXML(head + memory + tail, 0)
        yield daemon.uri("test", "default")
    finally:
        connection.close()
