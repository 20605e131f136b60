"""The lab of this checkout, up; the VPS that its tests follow; acts that are cut at each step."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hoster_lab import client as client_side
from hoster_lab import journey
from hoster_lab.commands import refuse_failure
from hoster_lab.e2e import (
    EMAIL,
    NODE,
    TOKEN,
    VPS,
    ProcessListWatch,
    captured,
    declared,
    on_its_node,
    reachable,
    says_changed,
)
from hoster_lab.lab import PLAYBOOK_SECONDS, Lab
from hoster_lab.warm_ansible import WarmAnsible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hoster_lab.client import AccessCodes, Client

ROOT = Path(__file__).parents[2]
ORDER = (
    "test_lab",
    "test_policy",  # the guest of the others boots meanwhile
    "test_order_to_login",
    "test_changes",
    "test_network",
    "test_incidents",
    "test_node_reboot",
    "test_reinstall",
)
"""The files with tests, as they are run: a VPS is followed from its order to its end."""
FORKS = Path(__file__).parent / "ansible_forks.py"
PLUGINS = Path(__file__).parent / "callback_plugins"
MOST_STEPS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of this folder in their order, one file after the other.

    Raises:
        UsageError: a file has no place in `ORDER`, or is not there.
    """
    here = Path(__file__).parent
    unknown = {file.stem for file in here.glob("test_*.py")} ^ set(ORDER)
    if unknown:
        raise pytest.UsageError(f"not both in tests/lab and in its ORDER: {', '.join(unknown)}")
    places = [place for place, item in enumerate(items) if item.path.parent == here]
    ours = sorted((items[place] for place in places), key=lambda one: ORDER.index(one.path.stem))
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@dataclass(frozen=True)
class WarmLab(Lab):
    """The lab, whose playbooks are run without loading Ansible for each."""

    ansible: WarmAnsible

    def playbook(self, name: str, *arguments: str) -> str:
        """Run a playbook as `Lab.playbook` does."""
        argv = [str(self.checkout / "playbooks" / name), *arguments]
        done = self.ansible.run(argv, timeout=PLAYBOOK_SECONDS)
        refuse_failure(done)
        return done.stdout


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab; what is missing of it is brought up first, and it stays up for the next run."""
    found = Lab(ROOT)
    found.up()
    with WarmAnsible(FORKS, found.env()) as ansible:
        yield WarmLab(ROOT, ansible)


@dataclass
class Cuts:
    """Runs playbooks that are killed after each of their steps; keeps where each was."""

    lab: Lab
    ansible: WarmAnsible
    folder: Path
    made: list[tuple[str, str]] = field(default_factory=list)

    def run(self, playbook: str, *variables: str, then: Callable[[], None] | None = None) -> int:
        """Run it, killed after its first task; again, killed after the next one; and so on.

        *then* is called after each kill. Returns how often it was killed until a run came to its
        end; that run must have gone well.
        """
        argv = [str(self.lab.checkout / "playbooks" / playbook)]
        argv += [word for variable in variables for word in ("-e", variable)]
        after = self.folder / str(len(self.made))
        for kills in range(MOST_STEPS):
            more = {"HOSTER_CUT_AFTER": str(after)}
            done = self.ansible.run(argv, more=more, timeout=PLAYBOOK_SECONDS)
            if done.returncode != -signal.SIGKILL:
                assert done.returncode == 0, done.stdout + done.stderr
                return kills
            self.made.append((playbook, after.read_text("utf-8").splitlines()[-1]))
            if then:
                then()
        raise AssertionError(f"{playbook} has more than {MOST_STEPS} steps")


_MADE = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture(scope="session")
def cuts(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Cuts]:
    """Acts that are cut; the report says where."""
    plugins = {"ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS), "ANSIBLE_CALLBACKS_ENABLED": "cut"}
    with WarmAnsible(FORKS, lab.env() | plugins) as ansible:
        made = Cuts(lab, ansible, tmp_path_factory.mktemp("cuts"))
        request.config.stash[_MADE] = made.made
        yield made


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the matrix: every step after which an act was killed, and run again."""
    made = config.stash.get(_MADE, [])
    if made:
        terminalreporter.section("acts killed after each step, and run again")
    for playbook, step in made:
        terminalreporter.line(f"{playbook:28} {re.sub(r'^.*: ', '', step)}")


@pytest.fixture(scope="session")
def company(lab: Lab) -> journey.Company:
    return journey.Company(lab.env(), lab.company.project / "pulumi")


@pytest.fixture(scope="session")
def watch() -> Iterator[ProcessListWatch]:
    with ProcessListWatch() as watch:
        yield watch


@pytest.fixture(scope="session")
def ordered(lab: Lab, company: journey.Company, watch: ProcessListWatch) -> list[str]:
    """Order and deploy; returns what the commands printed. Its guest boots from here on."""
    return [
        company.run("hoster", "client", "add", "e2e", *journey.contact(EMAIL, "fr"), "--json"),
        company.run(
            *("hoster", "order", VPS, "--plan", "kvm-1", "--image", "debian-12"),
            *("--location", "paris"),
        ),
        company.pulumi("preview", "--diff", "--stack", "e2e"),
        company.pulumi("up", "--yes", "--skip-preview", "--stack", "e2e"),
    ]


@pytest.fixture(scope="session")
def output(
    lab: Lab, company: journey.Company, watch: ProcessListWatch, ordered: list[str]
) -> list[str]:
    """Deliver it once it answers; returns all that the commands printed since the order."""
    journey.wait_until_answering(lab, str(declared(company)["ipv4"]))
    said = [*ordered, company.run("hoster", "deliver", VPS)]
    watch.__exit__()
    return said


@pytest.fixture(scope="session")
def codes(lab: Lab, output: list[str]) -> AccessCodes:
    return journey.delivered_codes(lab.mail_dir, EMAIL)


@pytest.fixture(scope="session")
def client(lab: Lab, codes: AccessCodes) -> Client:
    return client_side.Client(codes, outside=lab.outside_prefix, notes=lab.root / "e2e.json")


@pytest.fixture(scope="session")
def file_before(client: Client) -> str:
    return journey.leave_a_file(client, mebibytes=32)


@pytest.fixture(scope="session")
def seen_before(client: Client) -> dict[str, int]:
    return journey.size_seen_inside(client)


@dataclass(frozen=True)
class Change:
    """What the pipeline said of a change before it was merged, and reported when it was."""

    review: str
    report: dict[str, Any]


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def rebooting(client: Client, file_before: str, resized: Change) -> str:
    """Have the client reboot its resized VPS; returns the id of the boot before."""
    boot = client.run("cat /proc/sys/kernel/random/boot_id")
    client.run("sudo systemd-run --on-active=2 systemctl reboot 2>/dev/null")
    return boot


@pytest.fixture(scope="session")
def changed_by(lab: Lab) -> Callable[..., bool]:
    """Run a playbook about the VPS; return whether it changed anything."""

    def run(playbook: str, *more: str) -> bool:
        variables = [word for one in (f"vps={VPS}", *more) for word in ("-e", one)]
        return says_changed(lab.playbook(playbook, *variables))

    return run


@pytest.fixture(scope="session")
def other_image(lab: Lab) -> str:
    """Another image on sale, on the VPS's node; with a user of its own."""
    images = lab.company.inventory / "group_vars" / "all" / "images.yml"
    content = yaml.safe_load(images.read_text())
    content["images"]["other-12"] = content["images"]["debian-12"] | {"default_user": "other"}
    images.write_text(yaml.safe_dump(content))
    lab.playbook("configure-nodes.yml", "--limit", NODE)
    return "other-12"


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


@pytest.fixture(scope="session")
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
    quarantine(lab, codes, changed_by)
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
    return new_codes(lab)


def quarantine(lab: Lab, codes: AccessCodes, changed_by: Callable[..., bool]) -> None:
    """Cut it off until it is reinstalled, in the middle of a conversation."""
    with subprocess.Popen(
        [*lab.outside_prefix, sys.executable, "-c", FLOW, codes.address],
        stdout=subprocess.PIPE,
        text=True,
    ) as flow:
        assert flow.stdout is not None
        assert flow.stdout.readline() == "SSH-\n"
        assert changed_by("quarantine-vps.yml", "kind=hacked", "reinstall=true")
        assert flow.stdout.readline() == "TimeoutError\n"


def new_codes(lab: Lab) -> AccessCodes:
    """Return the codes of the last mails, which tell of the cut, of its end and of the system."""
    # A mail that a killed run had in hand comes after those that were queued behind it.
    words = ("coupé", "clos", "réinstallé")
    told = {
        next(word for word in words if word in str(mail["Subject"])): mail
        for mail in client_side.mails(lab.mail_dir, EMAIL)[-3:]
    }
    assert set(words) == set(told)
    return client_side.access_codes(told["réinstallé"])


@pytest.fixture(scope="session")
def new_client(lab: Lab, reinstalled: AccessCodes) -> Client:
    return client_side.Client(
        reinstalled, outside=lab.outside_prefix, notes=lab.root / "e2e-reinstalled.json"
    )
