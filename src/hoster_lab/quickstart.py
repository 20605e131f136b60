"""From a bare machine to a login on a resized VPS, in one go, told as it happens."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from hoster_lab import journey, network
from hoster_lab.client import Client, LoginError
from hoster_lab.errors import LabError
from hoster_lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = "demo"
VPS = f"{CLIENT}/web"
EMAIL = "demo@example.org"

_talk = Console(stderr=True, highlight=False)
_started = time.monotonic()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what begins, and how long it took."""
    _talk.print(f"[bold]{title}[/] ...")
    began = time.monotonic()
    yield
    _talk.print(f"  done in {time.monotonic() - began:.1f} s")


def main() -> int:
    """Run the whole journey; 0 when the client is in, 1 with what went wrong otherwise."""
    try:
        _run(Path(__file__).resolve().parents[2])
    except (journey.StepError, LoginError, LabError) as error:
        _talk.print(f"[red]error:[/] {error}", markup=True)
        _talk.print("Nothing is lost: run scripts/quickstart again, it goes on from here.")
        return 1
    return 0


def _run(checkout: Path) -> None:
    lab = Lab(checkout)
    with step("The lab: two host nodes in two locations, an outside host, a mail server"):
        lab.up()
    company = journey.Company(lab.env(), lab.company.project / "pulumi")
    with step(f"A client signs: hoster client add {CLIENT}"):
        company.hoster("client", "add", CLIENT, *journey.contact(EMAIL, "en"))
    client, address = _deliver(company, lab)
    with step(f"{address}: the client logs in with the codes of the mail, and leaves a file"):
        before = journey.leave_a_file(client, mebibytes=64)
    _resize(company)
    with step(f"{address}: the client looks again"):
        seen = journey.size_seen_inside(client)
        after = journey.leave_a_file(client, mebibytes=64)
    if before != after:
        raise journey.StepError(f"the client's file changed: {before} became {after}")
    with step("Its host node counts and limits it, since its first packet: hoster-node status"):
        on_node = _enforced(lab, company)
    _summary(address, seen, after, on_node)


def _enforced(lab: Lab, company: journey.Company) -> str:
    """Return what the VPS's node says of it: nobody told the node but libvirt, as it started."""
    [vps] = company.hoster("show", VPS)["vps"]
    node = lab.node(vps["node"])
    lab.on(node, ["systemctl", "start", "hoster-node-reconcile.service"])
    [said] = json.loads(lab.on(node, ["hoster-node", "status", VPS, "--json"]).stdout)
    if not said["running"]:
        raise journey.StepError(f"{node.name} does not know {VPS}: `hoster-node events` on it")
    return (
        f"Its node {node.name} lets it send as {said['ipv4']} alone, guarantees "
        f"{said['guaranteed_mbit_s']} Mbit/s, and counted {said['used_bytes'] / 1e6:.1f} MB "
        f"of its {said['quota_bytes'] / 1e12:.0f} TB."
    )


def _deliver(company: journey.Company, lab: Lab) -> tuple[Client, str]:
    with step(f"An order: hoster order {VPS} --plan kvm-1 --image debian-12 --location paris"):
        declared = [vps["name"] for vps in company.hoster("show")["vps"]]
        if VPS not in declared:
            company.hoster(
                *("order", VPS, "--plan", "kvm-1", "--image", "debian-12", "--location", "paris")
            )
    with step(f"pulumi up --stack {CLIENT}"):
        company.up(CLIENT)
    [address] = [vps["ipv4"] for vps in company.hoster("show", VPS)["vps"]]
    with step(f"The guest boots, until it answers at {address} from outside"):
        journey.wait_until_answering(lab, address)
    with step(f"The access codes go to the client: hoster deliver {VPS}"):
        company.hoster("deliver", VPS)
        codes = journey.delivered_codes(lab.mail_dir, EMAIL)
    client = Client(
        codes,
        outside=lab.outside_prefix,
        notes=lab.root / f"client-{CLIENT}.json",
    )
    return client, codes.address


def _resize(company: journey.Company) -> None:
    with step(f"A larger plan: hoster resize {VPS} --plan kvm-2, pulumi up"):
        company.hoster("resize", VPS, "--plan", "kvm-2")
        company.up(CLIENT)


def _summary(address: str, seen: dict[str, int], digest: str, on_node: str) -> None:
    _talk.print(f"\n[bold green]{VPS} runs[/] at its fixed address {address}.")
    _talk.print(
        f"Seen from inside: {seen['vcpus']} vCPUs, {seen['memory_mib']} MiB, "
        f"{seen['disk_gib']} GiB of disk, up for {seen['uptime_seconds']} s."
    )
    _talk.print(f"The client's file is untouched: sha256 {digest[:16]}...")
    _talk.print(on_node)
    _talk.print(f"All in {time.monotonic() - _started:.0f} s. Try next:\n")
    for line in (
        "source .lab/env                # the company's environment",
        "hoster show                    # what is declared",
        "hoster order demo/db --plan kvm-1 --image debian-12 --location roubaix",
        "pulumi -C $HOSTER_PROJECT/pulumi up -s demo",
        "hoster check; hoster catalogue; hoster geofeed",
        "scripts/lab shell paris-1      # then: hoster-node status, hoster-node --help",
        f"ip netns exec {network.OUTSIDE} ssh debian@{address}   # as the client",
        "scripts/lab down               # take it all away",
    ):
        _talk.print(f"  {line}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
