"""From the order to the client's login and through a resize, on a real guest of the lab."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hoster_lab import client as client_side
from hoster_lab import journey
from hoster_lab.errors import LabError
from hoster_lab.wire import Rented

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.conftest import Cuts

    from hoster_lab.client import AccessCodes, Client
    from hoster_lab.lab import Lab

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
VPS = "e2e/web"
EMAIL = "e2e@example.org"
NODE_FILES = "/etc/libvirt /run/libvirt /var/log/libvirt"


class ProcessListWatch:
    """Keeps every command line and environment that any process shows while it runs."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessListWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                for file in ("cmdline", "environ"):
                    try:
                        self.seen.add((process / file).read_bytes())
                    except OSError:  # it ended meanwhile
                        continue


@pytest.fixture(scope="module")
def company(lab: Lab) -> journey.Company:
    return journey.Company(lab.env(), lab.company.project / "pulumi")


@pytest.fixture(scope="module")
def watch() -> Iterator[ProcessListWatch]:
    with ProcessListWatch() as watch:
        yield watch


@pytest.fixture(scope="module")
def output(lab: Lab, company: journey.Company, watch: ProcessListWatch) -> list[str]:
    """Order, deploy and deliver; returns all that the commands printed."""
    said = [
        company.run("hoster", "client", "add", "e2e", *journey.contact(EMAIL, "fr"), "--json"),
        company.run(
            *("hoster", "order", VPS, "--plan", "kvm-1", "--image", "debian-12"),
            *("--location", "paris"),
        ),
        company.pulumi("preview", "--diff", "--stack", "e2e"),
        company.up("e2e"),
    ]
    journey.wait_until_answering(lab, str(declared(company)["ipv4"]))
    said.append(company.run("hoster", "deliver", VPS))
    watch.__exit__()
    return said


@pytest.fixture(scope="module")
def codes(lab: Lab, output: list[str]) -> AccessCodes:
    return journey.delivered_codes(lab.mail_dir, EMAIL)


@pytest.fixture(scope="module")
def client(lab: Lab, codes: AccessCodes) -> Client:
    return client_side.Client(codes, outside=lab.outside_prefix, notes=lab.root / "e2e.json")


@pytest.fixture(scope="module")
def file_before(client: Client) -> str:
    return journey.leave_a_file(client, mebibytes=32)


@pytest.fixture(scope="module")
def seen_before(client: Client) -> dict[str, int]:
    return journey.size_seen_inside(client)


@dataclass(frozen=True)
class Change:
    """What the pipeline said of a change before it was merged, and reported when it was."""

    review: str
    report: dict[str, Any]


@pytest.fixture(scope="module")
def resized(
    lab: Lab,
    company: journey.Company,
    file_before: str,
    seen_before: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Change:
    """Resize to kvm-2 while the guest runs, by a commit that the pipeline judges and applies."""

    def commit(message: str) -> None:
        company.run(*git, "add", "--all", "--", "inventory", "pulumi")
        company.run(*git, "commit", "--quiet", "--message", message)

    git = ["git", "-C", str(lab.company.project)]
    git += ["-c", "user.name=ops", "-c", "user.email=ops@example.org"]
    company.run(*git, "init", "--quiet")
    commit("Begin")
    company.hoster("resize", VPS, "--plan", "kvm-2")
    commit("Resize e2e/web")
    review = company.run(str(ROOT / "scripts/review-change"), "--against", "HEAD^")
    report = tmp_path_factory.mktemp("apply") / "report.json"
    applied = ("--against", "HEAD^", "--report", str(report))
    company.run(str(ROOT / "scripts/apply-changes"), *applied)
    return Change(review, json.loads(report.read_text()))


def declared(company: journey.Company) -> dict[str, object]:
    [vps] = [vps for vps in company.hoster("show")["vps"] if vps["name"] == VPS]
    return dict(vps)


def test_the_client_logs_in_from_outside_with_the_codes_of_the_mail(client: Client) -> None:
    """C4.2: and must choose a password of its own first."""
    assert client.run("hostname; whoami").split() == ["web", "debian"]


def test_the_guest_has_the_declared_address_and_no_other(
    client: Client, company: journey.Company, codes: AccessCodes
) -> None:
    """C4.3."""
    assert codes.address == declared(company)["ipv4"]
    addresses = client.run("ip -4 -o addr show scope global | awk '{print $4}'").split()
    assert addresses == [f"{codes.address}/25"]


def test_nothing_of_the_hosters_is_inside(client: Client) -> None:
    """C4.4: no key, no agent."""
    keys = client.run("sudo find / -xdev -name authorized_keys -size +0 2>/dev/null; true")
    agents = client.run("systemctl list-unit-files --no-legend '*agent*'; pgrep -l qemu-ga; true")
    assert (keys, agents) == ("", "")


def content(path: Path) -> bytes:
    """What a file holds; nothing where it went meanwhile, is a socket, or a disk."""
    try:
        small = path.is_file() and path.stat().st_size < 50_000_000
        return path.read_bytes() if small else b""
    except FileNotFoundError:
        return b""


def test_the_clear_password_is_nowhere(
    lab: Lab,
    company: journey.Company,
    codes: AccessCodes,
    client: Client,
    output: list[str],
    watch: ProcessListWatch,
) -> None:
    """C4.2: not in state, ledger, declarations, logs, printed output or the process list."""
    assert client.run("true") == ""
    assert [] == places_of(lab, codes.password)
    assert [text for text in output if codes.password in text] == []
    assert len(watch.seen) > 10
    assert [line for line in watch.seen if codes.password.encode() in line] == []


def places_of(lab: Lab, secret: str) -> list[str]:
    """Return the files that hold *secret*, mails apart, and the nodes whose files do."""
    files = [
        Path(folder) / name
        for top in (lab.root, Path("/tmp"))  # noqa: S108 - looked into, not written to
        for folder, _, names in os.walk(top)
        for name in names
    ]
    files = [path for path in files if not path.is_symlink() and lab.mail_dir not in path.parents]
    logs = ["sh", "-c", f"cat $(find {NODE_FILES} -type f)"]
    found = [str(path) for path in files if secret.encode() in content(path)]
    return found + [node.name for node in lab.nodes if secret in lab.on(node, logs).stdout]


def test_a_second_delivery_mails_nobody(company: journey.Company, lab: Lab, client: Client) -> None:
    company.hoster("deliver", VPS)
    assert len(client_side.mails(lab.mail_dir, EMAIL)) == 1


def test_a_second_up_changes_nothing(company: journey.Company, client: Client) -> None:
    assert client.run("true") == ""
    company.pulumi("preview", "--expect-no-changes", "--stack", "e2e")
    company.pulumi("up", "--yes", "--expect-no-changes", "--stack", "e2e")


def test_the_pipeline_says_that_a_resize_is_live_and_applies_it(resized: Change) -> None:
    """C4.7: of this client's stack alone, however many there are."""
    assert resized.review.startswith("### This change can be merged\n")
    assert "| e2e/web | kvm-1 -> kvm-2 | live | +4.00 |" in resized.review
    assert "**1 stack: 1 changed**" in resized.review
    assert "no reboot" in resized.review
    assert "replace" not in resized.review
    assert {"changed": 1} == resized.report["counts"]
    assert ["e2e"] == [one["client"] for one in resized.report["clients"]]


def test_a_resize_is_seen_inside_without_a_reboot(
    client: Client, resized: Change, seen_before: dict[str, int]
) -> None:
    """C4.7: more vCPUs, RAM and disk, and the guest never stopped."""
    after = journey.size_seen_inside(client)
    assert after["vcpus"] == 2
    assert after["disk_gib"] == 20
    assert after["memory_mib"] >= seen_before["memory_mib"] + 1000
    assert after["uptime_seconds"] > seen_before["uptime_seconds"]


def test_a_resize_keeps_file_and_address(
    client: Client,
    company: journey.Company,
    codes: AccessCodes,
    file_before: str,
    resized: Change,
) -> None:
    assert journey.leave_a_file(client, mebibytes=32) == file_before
    assert declared(company)["ipv4"] == codes.address


def test_a_reboot_keeps_the_new_size_and_the_file(
    client: Client, file_before: str, resized: Change
) -> None:
    """What was plugged in live is there after the client's own reboot, too."""
    boot = client.run("cat /proc/sys/kernel/random/boot_id")
    client.run("sudo systemd-run --on-active=2 systemctl reboot 2>/dev/null")
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        time.sleep(5)
        try:
            if client.run("cat /proc/sys/kernel/random/boot_id") != boot:
                break
        except client_side.LoginError:
            continue
    after = journey.size_seen_inside(client)
    assert (after["vcpus"], after["disk_gib"]) == (2, 20)
    assert after["memory_mib"] > 1800
    assert journey.leave_a_file(client, mebibytes=32) == file_before


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"location": "roubaix", "node": "roubaix-1", "ipv4": "203.0.113.200"}, "C10.1"),
        ({"ipv4": "203.0.113.99"}, "C4.3"),
        ({"plan": "kvm-1"}, "never shrinks"),
    ],
)
def test_an_edit_of_what_is_final_fails_in_preview(
    company: journey.Company, lab: Lab, resized: Change, edit: dict[str, str], said: str
) -> None:
    """C4.3, C4.7, C10.1: the preview says why, and nothing is touched."""
    path = lab.company.project / "pulumi" / "Pulumi.e2e.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    document["config"]["hoster:vps"]["web"].update(edit)
    path.write_text(yaml.safe_dump(document))
    try:
        with pytest.raises(journey.StepError, match=said):
            company.pulumi("preview", "--stack", "e2e")
    finally:
        path.write_text(before)


def test_neither_a_destroy_nor_an_edit_ends_a_vps(
    lab: Lab, company: journey.Company, client: Client
) -> None:
    """C6.3: disk and domain are protected; not even for a moment is it switched off."""
    domain = on_its_node(lab, "virsh", "domid", "e2e.web")
    with pytest.raises(journey.StepError, match="protected"):
        company.pulumi("destroy", "--yes", "--skip-preview", "--stack", "e2e")
    path = lab.company.project / "pulumi" / "Pulumi.e2e.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    for section in ("hoster:vps", "hoster:access"):
        del document["config"][section]["web"]
    path.write_text(yaml.safe_dump(document))
    try:
        with pytest.raises(journey.StepError, match="e2e/web is declared no more"):
            company.pulumi("up", "--yes", "--skip-preview", "--stack", "e2e")
    finally:
        path.write_text(before)
    assert domain == on_its_node(lab, "virsh", "domid", "e2e.web")
    assert client.run("true") == ""
    company.pulumi("preview", "--stack", "e2e", "--expect-no-changes")


def test_what_is_not_as_declared_is_told_and_left_alone(
    lab: Lab, company: journey.Company, client: Client
) -> None:
    """C4.7, C6.3: what ops did by hand, on the node or in a declaration that is not deployed."""

    def found() -> set[tuple[str, str, str]]:
        said = json.loads(company.run("sh", "-c", "hoster drift --json; true"))
        assert said["silent"] == {}
        return {(one["kind"], one["what"], one["where"]) for one in said["findings"]}

    assert client.run("true") == ""
    before = found()
    assert VPS not in {what for _, what, _ in before}
    xml = "<domain type='qemu'><name>by hand</name><memory>1024</memory><os><type>hvm</type></os>"
    by_hand = (
        f'echo "{xml}</domain>" | virsh define /dev/stdin; ip tuntap add vps-cb0071ff mode tap'
    )
    on_its_node(lab, "sh", "-ec", by_hand)
    path = lab.company.project / "pulumi" / "Pulumi.e2e.yaml"
    declared = path.read_text()
    path.write_text(declared.replace("plan: kvm-2", "plan: kvm-4"))
    try:
        assert {
            ("unknown", "by hand", "paris-1"),
            ("unknown", "vps-cb0071ff", "paris-1"),
            ("different", VPS, "paris-1"),
            ("different", VPS, "stack"),
        } == found() - before
        assert "by hand" in on_its_node(lab, "virsh", "list", "--all")
    finally:
        path.write_text(declared)
        gone = "virsh undefine 'by hand'; ip tuntap delete vps-cb0071ff mode tap"
        on_its_node(lab, "sh", "-ec", gone)
    assert before == found()


def test_the_node_knows_the_vps_by_its_address(lab: Lab, resized: Change) -> None:
    """The tap and the metadata carry the identity that the packet filter will hold it to."""
    xml = lab.on(lab.node("paris-1"), ["virsh", "dumpxml", "e2e.web"]).stdout
    assert "target dev='vps-cb0071" in xml
    assert "urn:hoster:vps:1" in xml
    assert xml.count("mac address='02:00:cb:00:71:") == 1


def on_its_node(lab: Lab, *argv: str, check: bool = True) -> str:
    return lab.on(lab.node("paris-1"), argv, check=check).stdout


def status(lab: Lab) -> dict[str, object]:
    """What the node says of the VPS, after it counted."""
    on_its_node(lab, "systemctl", "start", "hoster-node-reconcile.service")
    [vps] = json.loads(on_its_node(lab, "hoster-node", "status", VPS, "--json"))
    return dict(vps)


def reachable(lab: Lab, codes: AccessCodes) -> bool:
    ping = ["ping", "-c", "3", "-i", "0.2", "-W", "1", codes.address]
    return lab.outside(ping, check=False).returncode == 0


def test_the_vps_is_limited_and_counted_since_it_started(
    lab: Lab, client: Client, resized: Change
) -> None:
    """C4.8, C4.9: by the hook alone; and the larger plan is in force, too."""
    before = int(str(status(lab)["used_bytes"]))
    client.run("head -c 200000 /dev/urandom | base64 --wrap=0")
    said = status(lab)
    assert (said["running"], said["plan"], said["quota_bytes"]) == (True, "kvm-2", 10**13)
    assert int(str(said["used_bytes"])) - before > 266_000
    kinds = [
        json.loads(line)["kind"]
        for line in on_its_node(lab, "hoster-node", "events", "--json").splitlines()
        if json.loads(line)["subject"] == VPS
    ]
    assert kinds[0] == "vps-new"
    assert "plan-changed" in kinds
    assert "rate 100Mbit" in on_its_node(lab, "tc", "class", "show", "dev", "eth1")


def test_what_the_nodes_tell_is_collected_once(
    lab: Lab, company: journey.Company, resized: Change
) -> None:
    """C4.9, C4.10: over the SSH that Ansible uses."""
    told = on_its_node(lab, "hoster-node", "events", "--json").splitlines()
    first, second = company.hoster("collect"), company.hoster("collect")
    assert [""] * len(lab.nodes) == [node["trouble"] for node in first["nodes"]]
    assert {node["node"]: node["new"] for node in first["nodes"]}["paris-1"] >= len(told)
    assert not any(node["missing"] for node in first["nodes"])
    assert second["changed"] is False
    kept = company.hoster("events", VPS)["events"]
    assert kept[0]["kind"] == "vps-new"
    assert kept[0]["node"] == "paris-1"
    assert {event["id"] for event in kept} <= {json.loads(line)["id"] for line in told}


SPOOF = """
import socket, time
honest, spoofing = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
spoofing.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT: any source
spoofing.bind(("203.0.113.99", 0))
while True:
    for link, text in ((spoofing, b"spoofed-packet"), (honest, b"honest-packet")):
        try:
            link.sendto(text, ("192.0.2.10", 9))
        except OSError:
            pass  # no network yet
    time.sleep(0.02)
"""
UNIT = """
[Service]
ExecStart=/usr/bin/python3 /opt/spoof.py
Restart=always
[Install]
WantedBy=sysinit.target
"""


@contextlib.contextmanager
def captured(lab: Lab, node: str = "paris-1") -> Iterator[dict[str, int]]:
    """Count what leaves a node meanwhile, by what the VPS wrote into it."""
    station = str(ROOT / "src" / "hoster_lab" / "traffic" / "station.py")
    command = [*lab.outside_prefix, sys.executable, station, f"up-{node}"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=-1
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,))
    reader.start()
    counts = {"spoofed": 0, "honest": 0}
    try:
        yield counts
    finally:
        process.kill()
        reader.join()
        process.communicate()
        for what in counts:
            counts[what] = sum(f"{what}-packet".encode().hex() in line for line in lines)


def test_the_client_cannot_send_as_somebody_else(lab: Lab, client: Client) -> None:
    """C7.2: root inside the guest may do what it likes; the tap lets its own address through.

    It goes on with it as a service of the guest, through what the next tests do to the node.
    """
    for file, text in (("/opt/spoof.py", SPOOF), ("/etc/systemd/system/spoof.service", UNIT)):
        encoded = base64.b64encode(text.encode()).decode()
        client.run(f"echo {encoded} | base64 -d | sudo tee {file} > /dev/null")
    with captured(lab) as seen:
        client.run("sudo systemctl enable --now spoof.service 2>/dev/null")
        time.sleep(5)
    assert seen["spoofed"] == 0
    assert seen["honest"] > 20
    on_its_node(lab, "systemctl", "start", "hoster-node-reconcile.service")
    refused = [
        json.loads(line)["details"]["packets"]
        for line in on_its_node(lab, "hoster-node", "events", "--json").splitlines()
        if '"spoof-refused"' in line and VPS in line
    ]
    assert sum(refused) > 20


def test_quarantine_holds_through_a_restart_of_libvirt(
    lab: Lab, client: Client, codes: AccessCodes
) -> None:
    """C4.11: and a restart alone neither cuts nor opens anything."""
    assert client.run("true") == ""
    with captured(lab) as seen:
        on_its_node(lab, "systemctl", "restart", "libvirtd")
        assert reachable(lab, codes)
    assert seen["spoofed"] == 0
    assert seen["honest"] > 20
    on_its_node(lab, "hoster-node", "quarantine", VPS, "--reason", "a test")
    try:
        assert not reachable(lab, codes)
        on_its_node(lab, "systemctl", "restart", "libvirtd")
        on_its_node(lab, "systemctl", "start", "hoster-node-reconcile.service")
        assert not reachable(lab, codes)
    finally:
        on_its_node(lab, "hoster-node", "quarantine", VPS, "--lift")
    assert reachable(lab, codes)


@pytest.fixture(scope="module")
def changed_by(lab: Lab) -> Callable[..., bool]:
    """Run a playbook about the VPS; return whether it changed anything."""

    def run(playbook: str, *more: str) -> bool:
        variables = [word for one in (f"vps={VPS}", *more) for word in ("-e", one)]
        return says_changed(lab.playbook(playbook, *variables))

    return run


def says_changed(output: str) -> bool:
    recap = output.partition("PLAY RECAP")[2]
    return any(int(count) for count in re.findall(r"changed=(\d+)", recap))


def test_an_incident_from_the_cut_to_the_reconnection(
    lab: Lab,
    client: Client,
    codes: AccessCodes,
    company: journey.Company,
    cuts: Cuts,
    changed_by: Callable[..., bool],
) -> None:
    """C6.1, C6.2, C7.7, C15.1, C15.3: by playbooks that are killed after each of their steps."""

    def subjects() -> list[str]:
        return [str(mail["Subject"]) for mail in client_side.mails(lab.mail_dir, EMAIL)[1:]]

    def act(playbook: str, *more: str) -> None:
        assert cuts.run(playbook, f"vps={VPS}", *more) >= 4
        assert not changed_by(playbook, *more)

    assert client.run("true") == ""
    act("suspend-vps.yml", "reason=unpaid")
    assert changed_by("suspend-vps.yml", "reason=licence")
    act("quarantine-vps.yml", "kind=spam", "severity=minor", "hours=24")
    with captured(lab) as seen:
        time.sleep(3)
    assert seen == {"spoofed": 0, "honest": 0}
    company.pulumi("preview", "--stack", "e2e", "--expect-no-changes")
    company.up("e2e")
    assert not reachable(lab, codes)

    act("resume-vps.yml", "reason=unpaid", "note=paid")
    assert not reachable(lab, codes)
    assert changed_by("resume-vps.yml", "reason=licence")
    assert not reachable(lab, codes)
    act("reconnect-vps.yml")
    assert reachable(lab, codes)
    assert client.run("true") == ""
    told = ("suspendu", "suspendu", "coupé", "levée", "levée", "clos")
    assert sorted(told) == sorted(
        next(word for word in told if word in subject) for subject in subjects()
    )
    assert company.hoster("audit", "verify")["sound"]
    when = ("-e", "start=2030-01-01T22:00", "-e", "hours=2", "-e", "what='a new kernel'")
    lab.playbook("announce-maintenance.yml", "-e", "node=paris-1", *when)
    assert subjects()[-1].startswith("Maintenance le 1 janvier 2030, 22:00")


@pytest.fixture
def undeployed(company: journey.Company, lab: Lab) -> Iterator[str]:
    """A VPS that is declared on the other node, and was never made."""
    company.hoster("client", "add", "far", *journey.contact("far@example.org", "en"))
    plan = ("--plan", "kvm-1", "--image", "debian-12", "--location", "roubaix")
    company.hoster("order", "far/web", *plan)
    yield "far/web"
    company.pulumi("stack", "rm", "--yes", "--stack", "far")


def test_of_many_each_is_done_that_can_be_and_a_table_says_which(
    lab: Lab, company: journey.Company, codes: AccessCodes, undeployed: str
) -> None:
    """C15.1: one node that fails hinders no other."""
    both = ("-e", f"vps={VPS},{undeployed}", "-e", "reason=licence", "-e", "serial=1")
    with pytest.raises(LabError):
        lab.playbook("suspend-vps.yml", *both)
    assert not reachable(lab, codes)
    rows = company.hoster("incidents")["measures"]
    numbers = [str(row["id"]) for row in rows]
    assert {VPS: "in force", undeployed: "wanted"} == {row["vps"]: row["stage"] for row in rows}
    assert "1 done, 1 not" in company.run("hoster", "act", "summary", *numbers)
    lab.playbook("resume-vps.yml", "-e", "node=paris-1", "-e", "reason=licence")
    assert reachable(lab, codes)


def test_who_is_late_with_a_proof_is_suspended_until_it_comes(
    lab: Lab, company: journey.Company, codes: AccessCodes
) -> None:
    """C7.1: 72 hours after the mail, and not before."""

    def changed() -> bool:
        return says_changed(lab.playbook("enforce-proofs.yml"))

    company.hoster("proof", "demand", "e2e")
    assert not changed()
    assert reachable(lab, codes)
    ledger = lab.company.project / ".hoster" / "ledger.sqlite3"
    with contextlib.closing(sqlite3.connect(ledger)) as database, database:
        older = "UPDATE outbox SET sent_at = datetime(sent_at, '-73 hours') WHERE template = ?"
        database.execute(older, ["proof-demanded"])
    assert changed()
    assert not reachable(lab, codes)
    assert not changed()
    company.hoster("proof", "settle", "e2e", "--note", "seen")
    assert changed()
    assert reachable(lab, codes)
    assert not changed()


def test_what_a_node_cannot_do_is_refused_before_anything_is_touched(
    lab: Lab, company: journey.Company, client: Client
) -> None:
    """C6.3: no image, no room, no way to the node."""
    assert client.run("true") == ""
    declaration = lab.company.project / "pulumi" / "Pulumi.e2e.yaml"
    before, last = declaration.read_text(), company.hoster("audit")["entries"][-1]
    asked = ("-e", f"vps={VPS}", "-e", "request=ticket-1")
    [image] = on_its_node(lab, "sh", "-c", "ls /var/lib/libvirt/images/vps/debian-12@*").split()
    try:
        on_its_node(lab, "sh", "-ec", f"mv {image} {image}.away; virsh -q pool-refresh vps")
        with pytest.raises(LabError, match="has no image"):
            lab.playbook("reinstall-vps.yml", *asked)
    finally:
        on_its_node(lab, "sh", "-ec", f"mv {image}.away {image}; virsh -q pool-refresh vps")
    for playbook in ("reinstall-vps.yml", "terminate-vps.yml"):
        with pytest.raises(LabError, match="could not be reached"):
            lab.playbook(
                playbook,
                *asked,
                "-e",
                "reason=request",
                "-e",
                f"confirm={VPS}",
                "-e",
                "ansible_port=1",
            )
    assert before == declaration.read_text()
    assert last == company.hoster("audit")["entries"][-1]


@pytest.fixture
def neighbour(lab: Lab) -> Iterator[Rented]:
    """A VPS on the other node that sends as the hostile guest does; a namespace is its guest."""
    node = lab.node("roubaix-1")
    gateway = node.location.gateway
    vps = Rented("neighbour", gateway.ip + 119)
    hook = "/etc/libvirt/hooks/qemu.d/hoster acme.neighbour"
    plugged = f"""
ip netns add {vps.name}
ip link add {vps.tap} type veth peer name eth0 address {vps.mac} netns {vps.name}
ip link set {vps.tap} master br-public up
ip -n {vps.name} link set eth0 up
ip -n {vps.name} address add {vps.ipv4}/{gateway.network.prefixlen} dev eth0
ip -n {vps.name} route add default via {gateway.ip}
systemd-run --unit {vps.name} ip netns exec {vps.name} python3 -c '{SPOOF}'
"""
    lab.on(node, ["sh", "-ec", f"{hook} prepare begin - <<'XML'\n{vps.domain()}\nXML\n{plugged}"])
    yield vps
    gone = f"systemctl stop {vps.name}; ip netns delete {vps.name}"
    lab.on(node, ["sh", "-ec", f"{gone}\n{hook} release end - <<'XML'\n{vps.domain()}\nXML"])


def test_a_reboot_of_the_node_keeps_the_volume_and_opens_nothing(
    lab: Lab, client: Client, codes: AccessCodes, neighbour: Rented
) -> None:
    """C4.9: the count goes on; rules are loaded before the first guest starts.

    Meanwhile nothing changes for the VPS of the other node.
    """
    assert client.run("true") == ""
    before = int(str(status(lab)["used_bytes"]))
    with captured(lab) as before_it:
        time.sleep(2)
    assert before_it["honest"] > 20
    with captured(lab, "roubaix-1") as elsewhere:
        lab.reboot(lab.node("paris-1"))
        with captured(lab) as seen:
            journey.wait_until_answering(lab, codes.address)
            time.sleep(5)
    for node in (seen, elsewhere):
        assert node["spoofed"] == 0
        assert node["honest"] > 20
    assert int(str(status(lab)["used_bytes"])) >= before
    unit = ("systemctl", "show", "--value", "--property", "ActiveEnterTimestampMonotonic")
    loaded = int(on_its_node(lab, *unit, "hoster-node-restore.service"))
    libvirt = int(on_its_node(lab, *unit, "libvirtd.service"))
    assert 0 < loaded <= libvirt


TOKEN = "only-this-client-wrote-this"
FLOW = """
import socket, sys, time
link = socket.create_connection((sys.argv[1], 22), 10)
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4000)
print(link.recv(4).decode(), flush=True)
try:
    while True:
        link.sendall(b"x")
        time.sleep(0.2)
except OSError as error:
    print(type(error).__name__, flush=True)
"""


@pytest.fixture(scope="module")
def other_image(lab: Lab) -> str:
    """Another image on sale; with a user of its own."""
    images = lab.company.inventory / "group_vars" / "all" / "images.yml"
    content = yaml.safe_load(images.read_text())
    content["images"]["other-12"] = content["images"]["debian-12"] | {"default_user": "other"}
    images.write_text(yaml.safe_dump(content))
    lab.playbook("configure-nodes.yml", "-e", "batch=100%")
    return "other-12"


@pytest.fixture(scope="module")
def reinstalled(
    lab: Lab,
    company: journey.Company,
    client: Client,
    codes: AccessCodes,
    other_image: str,
    cuts: Cuts,
    changed_by: Callable[..., bool],
) -> AccessCodes:
    """Quarantine the VPS, then put another system on it, killed after each step; the new codes.

    Its former disk is kept.
    """

    def has_a_disk_and_no_network() -> None:
        disks = on_its_node(lab, "virsh", "vol-list", "vps")
        [vps] = company.hoster("show", VPS)["vps"]
        is_over = any(
            "seen" in one["stage"] or "finished" in one["stage"] for one in vps["systems"]
        )
        assert is_over or "e2e.web.qcow2" in disks
        assert is_over or not reachable(lab, codes)

    client.run(f"for _ in $(seq 1000); do echo {TOKEN}; done > token; sync")
    with subprocess.Popen(
        [*lab.outside_prefix, sys.executable, "-c", FLOW, codes.address],
        stdout=subprocess.PIPE,
        text=True,
    ) as flow:
        assert flow.stdout is not None
        assert flow.stdout.readline() == "SSH-\n"
        assert changed_by("quarantine-vps.yml", "kind=hacked", "reinstall=true")
        assert flow.stdout.readline() == "TimeoutError\n"
    with captured(lab) as seen:
        cut = cuts.run(
            "reinstall-vps.yml",
            f"vps={VPS}",
            f"image={other_image}",
            "keep=true",
            then=has_a_disk_and_no_network,
        )
    assert cut >= 10
    assert seen == {"spoofed": 0, "honest": 0}
    # A mail that a killed run had in hand comes after those that were queued behind it.
    words = ("coupé", "clos", "réinstallé")
    told = {
        next(word for word in words if word in str(mail["Subject"])): mail
        for mail in client_side.mails(lab.mail_dir, EMAIL)[-3:]
    }
    assert set(words) == set(told)
    return client_side.access_codes(told["réinstallé"])


@pytest.fixture(scope="module")
def new_client(lab: Lab, reinstalled: AccessCodes) -> Client:
    return client_side.Client(
        reinstalled, outside=lab.outside_prefix, notes=lab.root / "e2e-reinstalled.json"
    )


def test_a_reinstalled_vps_is_another_system_at_the_same_address(
    lab: Lab, codes: AccessCodes, reinstalled: AccessCodes, new_client: Client
) -> None:
    """C4.3, C7.4: with new codes, which are nowhere else."""
    assert new_client.run("test ! -e precious && hostname").split() == ["web"]
    assert (codes.address, "other") == (reinstalled.address, reinstalled.user)
    assert codes.password != reinstalled.password
    assert [] == places_of(lab, reinstalled.password)
    assert reachable(lab, codes)


def test_the_former_disk_is_readable_and_no_more(new_client: Client) -> None:
    """C7.5."""
    loop = "sudo losetup --find --show --partscan --read-only /dev/sr0"
    new_client.run(f"sudo mkdir -p /old && sudo mount -o ro,noload $({loop})p1 /old")
    assert new_client.run("sudo head -n 1 /old/home/debian/token").strip() == TOKEN
    refused = "sudo dd if=/dev/zero of=/dev/sr0 bs=2048 count=1 2>&1 || true"
    assert "Read-only file system" in new_client.run(refused)
    new_client.run("sudo umount /old && sudo losetup --detach-all")


def test_nothing_of_a_reinstall_is_left_to_do(
    company: journey.Company, new_client: Client, changed_by: Callable[..., bool]
) -> None:
    assert new_client.run("true") == ""
    company.pulumi("preview", "--stack", "e2e", "--expect-no-changes")
    assert not changed_by("reinstall-vps.yml", "keep=true")
    [vps] = company.hoster("show", VPS)["vps"]
    assert ("connected", ["finished"]) == (vps["state"], [one["stage"] for one in vps["systems"]])


def test_the_former_disk_goes_when_its_time_has_come(
    lab: Lab,
    company: journey.Company,
    codes: AccessCodes,
    new_client: Client,
    changed_by: Callable[..., bool],
) -> None:
    """C7.5: and no sooner."""
    lab.playbook("erase-former-disks.yml")
    assert new_client.run("lsblk -dno SIZE").split() == ["20G", "20G", "1M"]
    assert changed_by("erase-former-disks.yml")
    assert not changed_by("erase-former-disks.yml")
    journey.wait_until_answering(lab, codes.address)
    assert new_client.run("lsblk -dno SIZE").split() == ["20G", "1M"]
    assert f"{VPS.replace('/', '.')}.qcow2" not in on_its_node(lab, "virsh", "vol-list", "vps")
    company.pulumi("preview", "--stack", "e2e", "--expect-no-changes")


def test_a_termination_leaves_nothing_of_the_vps(
    lab: Lab,
    company: journey.Company,
    codes: AccessCodes,
    new_client: Client,
    cuts: Cuts,
    changed_by: Callable[..., bool],
) -> None:
    """C12.5, C15.2: not a byte; its address rests; who typed no name lost nothing."""
    new_client.run(f"for _ in $(seq 1000); do echo {TOKEN}; done > token; sync")
    pool = "/var/lib/libvirt/images/vps"
    search = ["sh", "-c", f"grep --recursive --files-with-matches {TOKEN} {pool} || true"]
    assert "e2e.web" in on_its_node(lab, *search)
    with pytest.raises(LabError, match="was not confirmed"):
        changed_by("terminate-vps.yml", "reason=request")
    assert new_client.run("true") == ""

    assert cuts.run("terminate-vps.yml", f"vps={VPS}", "reason=request", f"confirm={VPS}") >= 10
    assert not changed_by("terminate-vps.yml", "reason=request", f"confirm={VPS}")
    assert on_its_node(lab, *search) == ""
    assert "e2e" not in on_its_node(lab, "sh", "-c", "virsh list --all; virsh vol-list vps")
    known = json.loads(on_its_node(lab, "hoster-node", "status", "--json"))
    assert VPS not in [one["vps"] for one in known]
    assert not (lab.company.project / "pulumi" / "Pulumi.e2e.yaml").exists()
    assert "supprimé" in str(client_side.mails(lab.mail_dir, EMAIL)[-1]["Subject"])
    plan = ("--plan", "kvm-1", "--image", "debian-12", "--location", "paris")
    with pytest.raises(journey.StepError, match="was delivered before"):
        company.hoster("order", VPS, *plan)
    assert codes.address != company.hoster("order", "e2e/next", *plan, "--dry-run")["ipv4"]
