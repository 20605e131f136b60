"""What the libvirt provider costs over the bare libvirt calls, side by side on one host.

Usage: bench/provider_overhead.py URI POOL (a host whose pool may be written to, such as
``qemu:///system default``). Makes and removes a disk, a seed and a domain, ten times each way.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from libvirt_provider import _storage, _xml
from libvirt_provider._connection import Host
from libvirt_provider.cloud_init_disk import CloudInitDisk, seed_iso
from libvirt_provider.domain import Domain
from libvirt_provider.domain_xml import Disk, Identity, domain_xml
from libvirt_provider.volume import Volume, volume_xml

ROUNDS = 10
URN = "urn:pulumi:bench::bench::libvirt:index/{}::bench"
DISK = {"name": "bench.qcow2", "size": 2**30, "format": "qcow2"}
SEED = {"name": "bench.seed.iso", "userData": "#cloud-config", "metaData": "instance-id: a"}
GUEST = {**Domain.defaults, "name": "bench", "type": "qemu", "machine": "q35", "memory": 128}


def by_provider(host: Host, pool: str) -> None:
    """Make the three as `pulumi up` does."""
    key, _ = Volume(host).create(URN.format("volume:Volume"), {**DISK, "pool": pool})
    seed, _ = CloudInitDisk(host).create(URN.format("c:CloudInitDisk"), {**SEED, "pool": pool})
    guest = {**GUEST, "disks": [{"volumeId": key}], "cloudinit": seed}
    Domain(host).create(URN.format("domain:Domain"), guest)


def by_hand(host: Host, pool: str) -> None:
    """Make the three by the calls that cannot be left out."""
    connection = host.connection()
    place = connection.storagePoolLookupByName(pool)
    disk = place.createXML(_xml.text_of(volume_xml(DISK["name"], DISK["size"], "qcow2", None)), 0)
    content = seed_iso(SEED)
    seed = place.createXML(_xml.text_of(volume_xml(SEED["name"], len(content), "raw", None)), 0)
    _storage.upload(host, seed, iter([content]), len(content))
    disks, cdrom = [Disk(disk.path(), format="qcow2")], Disk(seed.path(), cdrom=True)
    root = domain_xml(GUEST, disks, cdrom, Identity("bench"))
    connection.defineXML(_xml.text_of(root)).create()


def remove(host: Host, pool: str) -> None:
    """Take the three away."""
    domain = host.connection().lookupByName(GUEST["name"])
    domain.destroy()
    domain.undefine()
    place = host.connection().storagePoolLookupByName(pool)
    for name in (DISK["name"], SEED["name"]):
        place.storageVolLookupByName(name).delete(0)


def main() -> None:
    """Print both, in milliseconds."""
    if len(sys.argv) != len(("program", "uri", "pool")):
        sys.exit(f"{Path(sys.argv[0]).name}: {__doc__}")
    host, pool = Host(sys.argv[1]), sys.argv[2]
    taken: dict[str, list[float]] = {"by hand": [], "by the provider": []}
    for _ in range(ROUNDS):
        for name, make in (("by hand", by_hand), ("by the provider", by_provider)):
            started = time.perf_counter()
            make(host, pool)
            taken[name].append(1000 * (time.perf_counter() - started))
            remove(host, pool)
    print("disk + seed + domain, started   median ms   worst ms")
    for name, times in taken.items():
        print(f"{name:32}{statistics.median(times):9.0f}{max(times):11.0f}")


if __name__ == "__main__":
    main()
