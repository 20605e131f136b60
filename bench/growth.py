"""How checks, impact and the dynamic inventory grow with the number of VPSs; plotted as SVG.

Companies of each size are made afresh in a temporary folder, ten VPSs a client and twenty a host
node, the same every time. Each measure is a process of its own, so that its peak memory is its own.

    python bench/growth.py [--vps 1000 10000 100000] [--runs 1] [--plot docs/growth.svg]
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path

import check
import inventory
import pygal
from rich.console import Console
from rich.table import Table

SIZES = [1_000, 3_000, 10_000, 30_000, 100_000]
VPS_PER_CLIENT, VPS_PER_NODE = 10, 20
INVENTORY = "dynamic inventory, Ansible's start included"
LOADED = "yaml.safe_load of the files"
"""For comparison: nothing but reading the same files with PyYAML."""
_COLORS = ("#888", "#0a6", "#06c", "#c40", "#a0a")
_HOSTER = [sys.executable, "-c", "from hoster.cli import main; main()"]

Taken = dict[str, dict[int, tuple[float, float]]]
"""By what was measured and how many VPSs: seconds and peak in MB."""


def measure(vps: int, runs: int) -> dict[str, tuple[float, float]]:
    """Return median seconds and highest peak of each measure in a company of *vps* VPSs."""
    with tempfile.TemporaryDirectory(prefix="hoster-bench-") as folder:
        root = Path(folder)
        nodes = max(vps // VPS_PER_NODE, check.LOCATIONS)
        inventory.make_project(root, vps // VPS_PER_CLIENT, vps, nodes)
        command = [*_HOSTER, "--project", str(root)]
        judge = [[*command, verb, "--against", "HEAD"] for verb in ("check", "impact")]
        load = [sys.executable, "-c", check.LOADERS[LOADED], str(root / "pulumi")]
        found = {
            LOADED: _median([load], runs),
            check.CHECK: _median([[*command, "check"]], runs),
        }
        check.change_one_client(root)
        found[check.ONE] = _median(judge, runs)
        check.change_a_plan(root)
        found[check.EVERY] = _median(judge, runs)
        found[INVENTORY] = _median([inventory.own_part_command(root / "inventory")], runs)
    return found


def _median(commands: list[list[str]], runs: int) -> tuple[float, float]:
    taken = [check.measure(*commands) for _ in range(runs)]
    if any(code for *_, code in taken):
        sys.exit(f"{commands[0]} failed: the measure says nothing")
    return statistics.median(one[0] for one in taken), max(one[1] for one in taken)


def plot(taken: Taken, sizes: list[int], file: Path) -> None:
    """Draw seconds by VPSs, both by their logarithms: a straight line grows evenly."""
    chart = pygal.XY(
        css=[f"inline:{_looks(len(taken))}"],
        js=[],
        logarithmic=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        truncate_legend=-1,
        width=840,
        height=600,
        margin_right=40,
        margin_bottom=50,
        title="Seconds by number of VPSs, ten a client",
        x_title="VPSs",
        y_title="seconds",
        no_prefix=True,
    )
    chart.x_labels = [{"label": f"{size:,}", "value": math.log10(size)} for size in sizes]
    for name, by_size in taken.items():
        points = [(math.log10(size), seconds) for size, (seconds, _) in by_size.items()]
        chart.add(name, points, dots_size=3)
    file.write_bytes(chart.render() + b"\n")


def _looks(count: int) -> str:
    lines = "".join(
        f".color-{number} {{ stroke: {color}; fill: {color}; }}\n"
        for number, color in zip(range(count), _COLORS, strict=False)
    )
    return f"""
        .pygal-chart {{ font-family: sans-serif; background: white; }}
        .background {{ fill: white; }}
        .line {{ fill: none; stroke-width: 2; }}
        .axis path {{ fill: none; stroke: #ddd; stroke-width: 1; }}
        .title {{ font-size: 16px; text-anchor: middle; }}
        .legends text {{ font-size: 13px; }}
        .x text {{ text-anchor: middle; }}
        .y text {{ text-anchor: end; }}
        .tooltip, .text-overlay {{ display: none; }}
        {lines}
        .serie .line {{ fill: none; }}
    """


def main() -> None:
    """Measure each size, print the table, draw the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--vps", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--plot", type=Path, default=inventory.CHECKOUT / "docs" / "growth.svg")
    options = parser.parse_args()
    os.environ |= {"ANSIBLE_CONFIG": str(inventory.CHECKOUT / "ansible.cfg")}
    taken: Taken = {}
    for vps in options.vps:
        print(f"{vps} VPSs ...", file=sys.stderr, flush=True)
        for name, figures in measure(vps, options.runs).items():
            taken.setdefault(name, {})[vps] = figures
    table = Table("seconds, peak MB", *(f"{vps:,} VPSs" for vps in options.vps))
    for name, by_size in taken.items():
        cells = (f"{seconds:.2f} s, {peak:.0f} MB" for seconds, peak in by_size.values())
        table.add_row(name, *cells)
    Console(width=140).print(table)
    plot(taken, options.vps, options.plot)
    print(f"drawn in {options.plot}")


if __name__ == "__main__":
    main()
