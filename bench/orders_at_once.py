"""Twenty clients order at once, over two nodes: all correct, no address twice, no disk lost.

Runs on the lab (`scripts/lab up` first). The same number of orders one after another, on the same
lab in the same run, is what it is compared to.

Example:
  .venv/bin/python bench/orders_at_once.py --clients 20
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hoster.wire import names
from hoster_lab import journey
from hoster_lab.lab import Lab

LOCATIONS = ("paris", "roubaix")


def main() -> None:
    """Order, deploy, judge, take away; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20, help="how many (default: 20)")
    count = parser.parse_args().clients
    lab = Lab(Path(__file__).resolve().parents[1])
    company = journey.Company(lab.env(), lab.company.project / "pulumi")
    table = Table("orders", "clients", "wall", "addresses", "disks", "domains", "rules broken")
    for title, workers in (("one after another", 1), ("at once", count)):
        clients = [f"many{workers}x{number}" for number in range(count)]
        began = time.monotonic()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda client: order(company, client), clients))
        seconds = time.monotonic() - began
        table.add_row(title, str(count), f"{seconds:.1f} s", *_judge(lab, company, clients))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda client: take_away(lab, company, client), clients))
    Console().print(table)


def order(company: journey.Company, client: str) -> None:
    """Order a VPS for a new client whose name ends in ``x<number>``, and deploy it."""
    location = LOCATIONS[int(client.rpartition("x")[2]) % 2]
    company.hoster("client", "add", client, *journey.contact("bench@example.org", "en"))
    order = ("--plan", "kvm-1", "--image", "debian-12", "--location", location)
    company.hoster("order", f"{client}/web", *order)
    company.pulumi("up", "--yes", "--skip-preview", "--stack", client)


def _judge(lab: Lab, company: journey.Company, clients: list[str]) -> tuple[str, str, str, str]:
    mine = [vps for vps in company.hoster("show")["vps"] if names.client_of(vps["name"]) in clients]
    addresses = {vps["ipv4"] for vps in mine}
    disks = domains = 0
    for node in lab.nodes:
        volumes = lab.on(node, ["virsh", "vol-list", "vps"]).stdout
        running = lab.on(node, ["virsh", "list", "--name"]).stdout.split()
        here = [names.domain_name(vps["name"]) for vps in mine if vps["node"] == node.name]
        disks += sum(f"{name}.qcow2" in volumes for name in here)
        domains += sum(name in running for name in here)
    broken = len(company.hoster("check")["findings"])
    wanted = len(clients)
    return (
        f"{len(addresses)} of {wanted}",
        f"{disks} of {wanted}",
        f"{domains} of {wanted}",
        str(broken),
    )


def take_away(lab: Lab, company: journey.Company, client: str) -> None:
    """Leave nothing of a client of `order`."""
    company.pulumi("state", "unprotect", "--all", "--yes", "--stack", client)
    company.pulumi("destroy", "--yes", "--skip-preview", "--stack", client)
    company.pulumi("stack", "rm", "--yes", "--preserve-config", client)
    (lab.company.project / "pulumi" / f"Pulumi.{client}.yaml").unlink()


if __name__ == "__main__":
    main()
