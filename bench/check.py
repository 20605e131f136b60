"""`hoster check` over many declarations, alone and against a base, beside merely loading them.

The data is made afresh in a temporary folder and is the same every time. Each row is a process of
its own, so that its peak memory is its own.

    python bench/check.py [--vps 10000] [--clients 1000] [--runs 3]
"""

from __future__ import annotations

import argparse
import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path

LIMIT_SECONDS, LIMIT_MB = 5.0, 300.0
CHECK = "hoster check"
ONE, EVERY = "check and impact, one client", "check and impact, a plan of all"
LIMITS = {CHECK: LIMIT_SECONDS, ONE: 6.0, EVERY: 15.0}
NODES_PER_LOCATION, LOCATIONS = 10, 4
_POOL = int(IPv4Address("198.18.0.0"))  # RFC 2544: for benchmarks; a /16 for each location
_INVENTORY = Path(__file__).parents[1] / "inventory" / "group_vars" / "all"

LOADERS = {
    "yaml.safe_load of the files": (
        "import sys, pathlib, yaml\n"
        "for f in sorted(pathlib.Path(sys.argv[1]).glob('Pulumi.*.yaml')):\n"
        "    yaml.safe_load(f.read_bytes())\n"
    ),
    "yaml.CSafeLoader of the files": (
        "import sys, pathlib, yaml\n"
        "for f in sorted(pathlib.Path(sys.argv[1]).glob('Pulumi.*.yaml')):\n"
        "    yaml.load(f.read_bytes(), yaml.CSafeLoader)\n"
    ),
}


def make_project(root: Path, clients: int, vps: int) -> None:
    """Write an inventory with room for *vps* VPSs, and their declarations."""
    (root / "pulumi").mkdir(parents=True)
    (root / "pulumi" / "Pulumi.yaml").write_text("name: hoster\nruntime: python\n")
    variables = root / "inventory" / "group_vars" / "all"
    variables.mkdir(parents=True)
    for name in ("company", "images", "network", "plans", "policy"):
        (variables / f"{name}.yml").write_text((_INVENTORY / f"{name}.yml").read_text())
    (variables / "locations.yml").write_text(_locations())
    (root / "inventory" / "hosts.yml").write_text(_hosts(vps))
    for client in range(clients):
        mine = range(client, vps, clients)
        file = root / "pulumi" / f"Pulumi.client-{client:04}.yaml"
        file.write_text(_client([_vps(number) for number in mine]))


def change_one_client(root: Path) -> None:
    """Commit all of it, then change the declaration of one client."""
    git = ["git", "-C", str(root), "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for arguments in (("init",), ("add", "--all"), ("commit", "--message", "Begin")):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    file = root / "pulumi" / "Pulumi.client-0001.yaml"
    file.write_text(file.read_text().replace("term_months: 12", "term_months: 24"))


def change_a_plan(root: Path) -> None:
    """Give every VPS more memory, by its plan; back to what is committed otherwise."""
    subprocess.run(["git", "-C", str(root), "checkout", "--quiet", "."], check=True)
    plans = root / "inventory" / "group_vars" / "all" / "plans.yml"
    plans.write_text(plans.read_text().replace("memory_mib: 2048", "memory_mib: 2176"))


def _locations() -> str:
    return "locations:\n" + "".join(
        f"  site-{index}: {{title: Site {index}, country: FR, region: FR-IDF, city: Paris, "
        f'postal_code: "75010", pools: [{{cidr: {IPv4Address(_POOL + (index << 15))}/17, '
        f"gateway: {IPv4Address(_POOL + (index << 15) + 1)}, dns: [192.0.2.53]}}]}}\n"
        for index in range(LOCATIONS)
    )


def _hosts(vps: int) -> str:
    each = vps // (LOCATIONS * NODES_PER_LOCATION) + 2
    capacity = (
        f"{{disk_gib: {each * 20}, memory_mib: {each * 2176 + 4096}, vcpus: {each}, "
        f"uplink_mbit_s: {each * 100}}}"
    )
    lines = ["all:", "  children:", "    host_nodes:", "      children:"]
    for site in range(LOCATIONS):
        lines += [f"        site-{site}:", "          hosts:"]
        lines += [
            f"            site-{site}-{node}: {{node_capacity: {capacity}}}"
            for node in range(NODES_PER_LOCATION)
        ]
    return "\n".join(lines) + "\n"


def _vps(number: int) -> str:
    site, turn = number % LOCATIONS, number // LOCATIONS
    key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + number.to_bytes(32, "big")).decode()
    return (
        f"    vps-{number}:\n      plan: kvm-2\n      image: debian-12@20250703-2162\n"
        f"      location: site-{site}\n      node: site-{site}-{turn % NODES_PER_LOCATION}\n"
        f"      ipv4: {IPv4Address(_POOL + (site << 15) + 2 + turn)}\n      term_months: 12\n"
        f"      ssh_keys:\n        - ssh-ed25519 {key} ops@example\n"
    )


def _client(entries: list[str]) -> str:
    names = [entry.split(":", 1)[0].strip() for entry in entries]
    sealed = "".join(f"    {name}:\n      secure: v1:{'A' * 16}:{'B' * 180}\n" for name in names)
    return (
        "encryptionsalt: v1:AAAAAAAAAAA=:v1:BBBBBBBBBBBBBBBB:CCCCCCCCCCCCCCCCCCCCCCCCCCCC\n"
        f"config:\n  hoster:vps:\n{''.join(entries)}  hoster:access:\n{sealed}"
    )


def measure(*commands: list[str]) -> tuple[float, float, int]:
    """Run *commands*; return seconds in all, the highest peak in MB (10^6) and exit code."""
    each = [_measure(argv) for argv in commands]
    return sum(one[0] for one in each), max(one[1] for one in each), max(one[2] for one in each)


def _measure(argv: list[str]) -> tuple[float, float, int]:
    start = time.perf_counter()
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        errors = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.stderr.write(errors)
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6, process.returncode


def main() -> int:
    """Measure, print the table, and fail where the budget is exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--vps", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoster-bench-") as folder:
        root = Path(folder)
        make_project(root, options.clients, options.vps)
        check = [
            sys.executable,
            "-c",
            "from hoster.cli import main; main()",
            "--project",
            str(root),
            "check",
        ]
        change_one_client(root)
        judged = [[*check, "--against", "HEAD"], [*check[:-1], "impact", "--against", "HEAD"]]
        rows = {CHECK: [check], ONE: judged} | {
            name: [[sys.executable, "-c", code, str(root / "pulumi")]]
            for name, code in LOADERS.items()
        }
        taken = {name: [measure(*some) for _ in range(options.runs)] for name, some in rows.items()}
        change_a_plan(root)
        taken[EVERY] = [measure(*judged) for _ in range(options.runs)]
    return _report(taken, options.vps, options.clients)


def _report(taken: dict[str, list[tuple[float, float, int]]], vps: int, clients: int) -> int:
    print(f"{vps} VPSs in {clients} files, median of {len(taken[CHECK])} runs")
    print(f"{'':32} {'wall s':>8} {'peak MB':>8}  held to")
    met = True
    for name, runs in taken.items():
        seconds, peak = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
        held = f"{LIMITS[name]:g} s, {LIMIT_MB:g} MB" if name in LIMITS else ""
        print(f"{name:32} {seconds:8.2f} {peak:8.0f}  {held}")
        met &= name not in LIMITS or (seconds <= LIMITS[name] and peak <= LIMIT_MB)
    if any(run[2] for name in LIMITS for run in taken[name]):
        print("hoster check found fault with the data: the measure says nothing")
        met = False
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
