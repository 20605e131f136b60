"""`pulumi up` of a VPS beside the same work by hand, a no-change `up`, and a live resize.

Runs on the lab (`scripts/lab up` first), on one node, in turns: by hand, by Pulumi, by hand, ...
A ratio of the two holds on a noisy machine; a single time does not. A guest is paused as soon as
it was started: under emulation its boot would take both cores from what is timed next.

Example:
  .venv/bin/python bench/order_and_resize.py --rounds 3
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import statistics
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pycdlib
from rich.console import Console
from rich.table import Table

from hoster_lab import journey
from hoster_lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = "paris-1"
CLIENT = "bench"
BY_HAND = """
set -e
cd /var/lib/libvirt/images/vps
qemu-img create -q -f qcow2 -F qcow2 -b '{base}' '{name}.qcow2' 10G
echo '{seed}' | base64 -d > '{name}.seed.iso'
virsh -q define /dev/stdin <<'XML'
<domain type='{domain_type}'><name>{name}</name><memory unit='MiB'>1024</memory><vcpu>1</vcpu>
<os><type machine='q35'>hvm</type><boot dev='hd'/></os><features><acpi/></features><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='/var/lib/libvirt/images/vps/{name}.qcow2'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='/var/lib/libvirt/images/vps/{name}.seed.iso'/><target dev='vdz' bus='virtio'/>
<readonly/></disk>
<interface type='bridge'><source bridge='br-public'/><model type='virtio'/></interface>
<serial type='pty'/></devices></domain>
XML
virsh -q start '{name}'
"""
TAKE_AWAY = """
virsh -q destroy '{name}'; virsh -q undefine '{name}'
cd /var/lib/libvirt/images/vps && rm '{name}.qcow2' '{name}.seed.iso'
"""


class Timings:
    """Seconds by what was done, in the order of first mention."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Time the block as one run of *what*."""
        began = time.monotonic()
        yield
        self._seconds.setdefault(what, []).append(time.monotonic() - began)

    def median(self, what: str) -> float:
        """Return the median of *what* in seconds."""
        return statistics.median(self._seconds[what])

    def print(self, limits: dict[str, str]) -> None:
        """Print a row for each thing done, with what it is held to."""
        table = Table("what", "min", "median", "max", "held to")
        for what, seconds in self._seconds.items():
            figures = (min(seconds), statistics.median(seconds), max(seconds))
            table.add_row(what, *(f"{figure:.2f} s" for figure in figures), limits.get(what, ""))
        Console().print(table)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    rounds = parser.parse_args().rounds
    lab = Lab(Path(__file__).resolve().parents[1])
    company = journey.Company(lab.env(), lab.company.project / "pulumi")
    company.hoster("client", "add", CLIENT, *journey.contact("bench@example.org", "en"))
    timings = Timings()
    for number in range(rounds):
        _round(lab, company, timings, f"v{number}")
    _take_away(company)
    extra = timings.median("pulumi up, one more VPS") - timings.median("by hand")
    timings.print(
        {
            "pulumi up, one more VPS": f"by hand + 3 s (is + {extra:.2f} s)",
            "pulumi up, no change": "2.5 s",
            "pulumi up, live resize": "3 s",
        }
    )


def _round(lab: Lab, company: journey.Company, timings: Timings, name: str) -> None:
    facts = _facts(company)
    with timings.of("by hand"):
        seed = base64.b64encode(_seed(f"hand-{name}")).decode()
        _on_node(lab, BY_HAND.format(name=f"hand-{name}", seed=seed, **facts))
    _on_node(lab, TAKE_AWAY.format(name=f"hand-{name}"))
    order = ("--plan", "kvm-1", "--image", "debian-12", "--location", "paris")
    with timings.of("hoster order"):
        company.hoster("order", f"{CLIENT}/{name}", *order)
    with timings.of("pulumi up, one more VPS"):
        company.pulumi("up", "--yes", "--skip-preview", "--stack", CLIENT)
    _on_node(lab, f"virsh -q suspend {CLIENT}.{name}")
    with timings.of("pulumi up, no change"):
        company.pulumi("up", "--yes", "--skip-preview", "--stack", CLIENT)
    with timings.of("pulumi up with its preview, no change"):
        company.up(CLIENT)
    company.hoster("resize", f"{CLIENT}/{name}", "--plan", "kvm-2")
    with timings.of("pulumi up, live resize"):
        company.pulumi("up", "--yes", "--skip-preview", "--stack", CLIENT)


def _seed(name: str) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.new(joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for file, text in (("user-data", f"#cloud-config\nhostname: {name}\n"), ("meta-data", name)):
        content = text.encode()
        short = f"/{file[:4].upper()}.;1"
        stream = io.BytesIO(content)
        iso.add_fp(stream, len(content), short, rr_name=file, joliet_path=f"/{file}")
    out = io.BytesIO()
    iso.write_fp(out)
    iso.close()
    return out.getvalue()


def _on_node(lab: Lab, script: str) -> None:
    lab.on(lab.node(NODE), ["sh", "-c", script])


def _facts(company: journey.Company) -> dict[str, str]:
    listed = json.loads(company.run("hoster", "catalogue", "--json"))
    node = next(node for node in listed["nodes"] if node["name"] == NODE)
    image = next(image for image in listed["images"] if image["name"] == "debian-12")
    return {
        "domain_type": node["domain_type"],
        "base": f"debian-12@{image['default_release']}.qcow2",
    }


def _take_away(company: journey.Company) -> None:
    company.pulumi("state", "unprotect", "--all", "--yes", "--stack", CLIENT)
    company.pulumi("destroy", "--yes", "--skip-preview", "--stack", CLIENT)


if __name__ == "__main__":
    main()
