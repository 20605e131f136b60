"""What a benchmark asks of a libvirtd of its own, in a network namespace."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libvirt

from hoster_lab import private_libvirtd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from hoster_lab.private_libvirtd import Daemon
    from hoster_lab.wire import Rented

FILTERS = Path("/usr/share/libvirt/nwfilter")
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
    missing += [] if FILTERS.is_dir() else ["libvirt-daemon-config-nwfilter"]
    return f"{' and '.join(missing)} not installed" if missing else ""


def libvirtd(folder: Path, namespace: str) -> AbstractContextManager[Daemon]:
    """Run one in a network *namespace*, with libvirt's own filters; end it and its guests."""
    return private_libvirtd.libvirtd(
        folder,
        within=("ip", "netns", "exec", namespace),
        prepare=f"mkdir /etc/libvirt/nwfilter && cp {FILTERS}/*.xml /etc/libvirt/nwfilter/",
    )


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
