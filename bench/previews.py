"""What a change of many clients costs: their stacks previewed one after another, and at once.

Runs on the lab (`scripts/lab up` first): twenty clients with a VPS each, which is paused once it
was started, and then a larger plan for all of them. In turns, on one core and on all: a ratio holds
on a noisy machine, a single time does not.

Example:
  .venv/bin/python bench/previews.py --clients 20 --rounds 2 --at-once 2 4 6
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orders_at_once import order, take_away
from rich.console import Console
from rich.table import Table

from hoster.engine.rollout import most_at_once
from hoster_lab import journey
from hoster_lab.lab import Lab


def main() -> None:
    """Order, resize, preview in turns, take away; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--rounds", type=int, default=2, help="how often (default: 2)")
    parser.add_argument(
        "--at-once",
        type=int,
        nargs="+",
        default=[most_at_once(), 2 * most_at_once(), 3 * most_at_once()],
        help="how many stacks, beside one by one (default: %(default)s)",
    )
    options = parser.parse_args()
    lab = Lab(Path(__file__).resolve().parents[1])
    company = journey.Company(lab.env(), lab.company.project / "pulumi")
    clients = [f"touched{number}x{number}" for number in range(options.clients)]
    cores = sorted(os.sched_getaffinity(0))
    ways = {
        (count, at_once): []
        for count in sorted({1, len(cores)})
        for at_once in sorted({1, *options.at_once})
    }
    try:
        for client in clients:
            order(company, client)
            _pause(lab, client)
        for client in clients:
            company.hoster("resize", f"{client}/web", "--plan", "kvm-2")
        company.run("hoster", "preview", *clients)  # once before: everything is in the caches
        for _ in range(options.rounds):
            for (count, at_once), taken in ways.items():
                os.sched_setaffinity(0, cores[:count])
                taken.append(_previewed(company, clients, at_once))
    finally:
        os.sched_setaffinity(0, cores)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda client: take_away(lab, company, client), clients))
    _report(ways, options.clients)


def _pause(lab: Lab, client: str) -> None:
    """Keep a guest from booting: under emulation it would take a core from what is timed."""
    for node in lab.nodes:
        lab.on(node, ["sh", "-c", f"virsh -q suspend {client}.web 2>/dev/null || true"])


def _previewed(company: journey.Company, clients: list[str], at_once: int) -> tuple[float, float]:
    """Return wall and processor seconds of one preview of all *clients*."""
    before, began = _processor_seconds(), time.monotonic()
    said = company.hoster("preview", *clients, "--parallel", str(at_once))
    wall = time.monotonic() - began
    if said["counts"] != {"changed": len(clients)}:
        raise SystemExit(f"the measure says nothing: {said['counts']}")
    return wall, _processor_seconds() - before


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _report(ways: dict[tuple[int, int], list[tuple[float, float]]], clients: int) -> None:
    table = Table("cores", "at once", "wall s", "processor s", "times as quick as one by one")
    for (cores, at_once), taken in ways.items():
        wall = statistics.median(one[0] for one in taken)
        ratios = [alone[0] / one[0] for alone, one in zip(ways[cores, 1], taken, strict=True)]
        table.add_row(
            str(cores),
            str(at_once),
            f"{wall:.1f}",
            f"{statistics.median(one[1] for one in taken):.1f}",
            f"{statistics.median(ratios):.2f}",
        )
    console = Console()
    console.print(f"preview of {clients} stacks, median of {len(ways[1, 1])} rounds")
    console.print(table)


if __name__ == "__main__":
    main()
