"""Our packet filter and its agent at 1, 100 and 1,000 VPSs, beside layouts that the field uses.

Beside ours: a chain a tap in iptables and ebtables as pve-firewall lays them (Debian's package
`iptables` brings both of its variants and ebtables), nft chains an instance as Incus lays them,
and libvirt's nwfilter `clean-traffic` by a libvirtd of the benchmark's own (packages
`libvirt-daemon`, `libvirt-daemon-config-nwfilter` and `qemu-system-x86`; left out where they are
missing). gcc builds the sender of frames. Everything is in network namespaces that are gone
afterwards; it needs root.

Everything is measured in turns within one run, in which a ratio holds on a noisy machine; a
single time does not. The sender stays on one core with real-time priority, and whatever the
kernel does with a frame it does there before the sender goes on: a packet rate is of one core.

Exit code 1 where a target is missed.

Examples:
  .venv/bin/python bench/packet_filter.py
  .venv/bin/python bench/packet_filter.py --vps 1 1000 --only packets --rounds 7 --seconds 1
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from agent_cost import counters, memory
from applying import one_vps, whole_policy
from forwarding import packets
from rented_node import Bench, tell
from rich.console import Console

PROGRAMS = {
    "nft": "nftables",
    "ip": "iproute2",
    "tc": "iproute2",
    "bridge": "iproute2",
    "ebtables-nft": "iptables",
    "iptables-nft": "iptables",
    "gcc": "gcc",
}
"""What it needs, and the Debian package that brings it."""
FIGURES = {
    "apply": whole_policy,
    "add": one_vps,
    "packets": packets,
    "counters": counters,
    "memory": memory,
}


def main() -> int:
    """Measure, print a table for each figure, and fail where a target is missed."""
    options = _options()
    wanting = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if os.geteuid() != 0 or wanting:
        tell("it makes network namespaces: run it as root")
        tell(f"packages that it needs: {', '.join(sorted(wanting)) or 'all are there'}")
        return 2
    done = []
    for key in options.only:
        with tempfile.TemporaryDirectory(prefix="hoster-bench-") as folder:
            bench = Bench(
                Path(folder),
                sorted(set(options.vps)),
                options.rounds,
                options.seconds,
                options.core,
                options.guests,
            )
            try:
                done.append(FIGURES[key](bench))
            finally:
                bench.clear()
        if not options.json:
            done[-1].print(Console(width=150, highlight=False), bench.counts)
    if options.json:
        print(json.dumps([figure.as_json() for figure in done], indent=2))
    missed = [claim for figure in done for claim in figure.claims if claim.met is False]
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--vps", type=int, nargs="+", default=[1, 100, 1000], help="numbers of VPSs")
    add("--rounds", type=int, default=5, help="turns of each measurement (default: 5)")
    add("--seconds", type=float, default=1.0, help="of each window of packets (default: 1)")
    add("--core", type=int, default=0, help="core of the sender (default: 0)")
    add("--guests", type=int, default=20, help="real tiny guests with nwfilter (default: 20)")
    add("--only", type=_keys, default=list(FIGURES), help=f"of {','.join(FIGURES)}")
    add("--json", action="store_true", help="print JSON for programs, every sample in it")
    return parser.parse_args()


def _keys(text: str) -> list[str]:
    keys = text.split(",")
    if unknown := set(keys) - set(FIGURES):
        raise argparse.ArgumentTypeError(f"no figure is called {', '.join(sorted(unknown))}")
    return keys


if __name__ == "__main__":
    sys.exit(main())
