"""`ansible-inventory` with the VPSs of 500 nodes, beside the same without them.

`--list` prints all there is, so Ansible's own printing is part of it; `--host` prints one node, and
so is nearly what a playbook's start costs. The plugin's own part is measured once more inside one
process. The data is made afresh in a temporary folder and is the same every time.

    python bench/inventory.py [--vps 10000] [--clients 1000] [--nodes 500] [--runs 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import check

LIMIT_SECONDS, LIMIT_MB = 1.5, 300.0
CHECKOUT = Path(__file__).parents[1]
_ANSIBLE_INVENTORY = str(Path(sys.executable).parent / "ansible-inventory")
_OWN_PART = """
import sys, time
from pathlib import Path
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader
init_plugin_loader()
loader = DataLoader()
inventory = InventoryManager(loader, [sys.argv[1] + "/hosts.yml"])
plugin = inventory_loader.get("hoster_vps")
start = time.perf_counter()
plugin.parse(inventory._inventory, loader, sys.argv[1] + "/vps.hoster.yml")
print(time.perf_counter() - start)
"""


def make_project(root: Path, clients: int, vps: int, nodes: int) -> None:
    """Write a project as `bench/check.py` does, with *nodes* host nodes and the plugin's file."""
    check.NODES_PER_LOCATION = nodes // check.LOCATIONS
    check.make_project(root, clients, vps)
    name = "inventory/vps.hoster.yml"
    (root / name).write_text((CHECKOUT / name).read_text())


def own_part_command(inventory: Path) -> list[str]:
    """Return the command that has Ansible read *inventory*, and prints the plugin's seconds."""
    return [sys.executable, "-c", _OWN_PART, str(inventory)]


def own_part(inventory: Path) -> float:
    """Return the seconds of the plugin alone, its imports included."""
    done = subprocess.run(own_part_command(inventory), check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> int:
    """Measure, print the table, and fail where the budget is exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--vps", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    os.environ |= {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
    with tempfile.TemporaryDirectory(prefix="hoster-bench-") as folder:
        root = Path(folder)
        make_project(root, options.clients, options.vps, options.nodes)
        inventory = root / "inventory"
        sources = {"without": inventory / "hosts.yml", "with": inventory}
        rows = {
            f"{what[0]}, {how} the VPSs": [_ANSIBLE_INVENTORY, "-i", str(source), *what]
            for what in (["--list"], ["--host", "site-0-0"])
            for how, source in sources.items()
        }
        # In turns, so that what else the machine does falls on all of them alike.
        turns = [
            {name: check.measure(argv) for name, argv in rows.items()} for _ in range(options.runs)
        ]
        own = statistics.median(own_part(inventory) for _ in range(options.runs))
    print(f"{options.vps} VPSs in {options.clients} files on {options.nodes} nodes", end=", ")
    print(f"median of {options.runs} runs")
    return _report({name: [turn[name] for turn in turns] for name in rows}, own)


def _report(taken: dict[str, list[tuple[float, float, int]]], own: float) -> int:
    print(f"{'':32} {'wall s':>8} {'peak MB':>8}")
    for name, runs in taken.items():
        seconds = statistics.median(run[0] for run in runs)
        print(f"{name:32} {seconds:8.2f} {max(run[1] for run in runs):8.0f}")
    print(f"{'the plugin alone':32} {own:8.2f}")
    print(f"{'budget':32} {LIMIT_SECONDS:8.2f} {LIMIT_MB:8.0f}")
    peak = max(run[1] for runs in taken.values() for run in runs)
    clean = all(run[2] == 0 for runs in taken.values() for run in runs)
    if not clean:
        print("ansible-inventory failed: the measure says nothing")
    return 0 if clean and own <= LIMIT_SECONDS and peak <= LIMIT_MB else 1


if __name__ == "__main__":
    sys.exit(main())
