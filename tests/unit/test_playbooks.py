"""Reinstall and termination as playbooks: what they refuse before anything is touched, and erase.

`hoster` and the nodes' programs are stand-ins that note what is asked of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
POOL = "/var/lib/libvirt/images/vps"
PROGRAM = r"""#!/bin/sh
name=${0##*/}
echo "$name $*" | sed 's/ --quiet --connect qemu:...system//' >> "$HOSTER_FAKE/calls"
case "$*" in
*vol-list*) cat "$HOSTER_FAKE/listing" ;;
*vol-wipe*web.qcow2) exit "$(cat "$HOSTER_FAKE/wiping")" ;;
*pool-info*) cat "$HOSTER_FAKE/room" ;;
*domblklist*) printf 'shut off\n vda /pool/acme.web.2.qcow2\n' ;;
"measures"*) echo '[{"changed": true}]' ;;
*forget*) echo '{"changed": true}' ;;
esac
"""
JOB = {
    "vps": "acme/web",
    "client": "acme",
    "node": "paris-1",
    "domain": "acme.web",
    "pool": "vps",
    "ipv4": "203.0.113.17",
    "base": "debian-12@1.qcow2",
    "disk": "acme.web.2.qcow2",
    "disk_bytes": 20 * 2**30,
    "reinstall": 4,
    "open": True,
    "stage": "possible",
}
ROOM = f"running\n\nName: debian-12@1.qcow2\nCapacity: 1\n\nAvailable:      {20 * 2**30}\n"
LISTED = ["acme.web.qcow2", "acme.web-2.qcow2", "acme.web.2.seed.iso", "other.web.qcow2"]
TERMINATE = ("terminate-vps.yml", "vps=acme/web", "reason=request")
CONFIRMED = (*TERMINATE, "confirm=acme/web")
REINSTALL = ("reinstall-vps.yml", "vps=acme/web", "request=ticket-1")
Played = subprocess.CompletedProcess[str]


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """What the stand-ins answer, all well; a test changes the file that it is about."""
    answers = {
        "terminate": {"jobs": [JOB]},
        "reinstall": {"jobs": [JOB]},
        "seen": {"measures": [{"measure": 17}], "now": ""},
        "reinstalled": {"now": "connected"},
    }
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    (tmp_path / "listing").write_text("".join(f" {one}   {POOL}/{one}\n" for one in LISTED))
    (tmp_path / "wiping").write_text("0")
    (tmp_path / "room").write_text(ROOM)
    _inventory(tmp_path, ansible_connection="local")
    (tmp_path / "calls").touch()
    for name in ("virsh", "hoster-node"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
    return tmp_path


def _inventory(folder: Path, **variables: str | int) -> None:
    (folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": {"paris-1": variables}}}))


@pytest.fixture
def play(fake: Path) -> Callable[..., Played]:
    """Run a playbook with variables; of the nodes, paris-1 is this machine."""

    def run(playbook: str, *variables: str) -> Played:
        environment: dict[str, Any] = {
            **os.environ,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_ACTION_PLUGINS": str(Path(__file__).parent / "action_plugins"),
            "HOSTER_FAKE": str(fake),
            "PATH": f"{fake / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        program = Path(sys.executable).parent / "ansible-playbook"
        return subprocess.run(
            [program, "-i", fake / "inventory.yml", CHECKOUT / "playbooks" / playbook]
            + [word for one in variables for word in ("-e", one)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
        )

    return run


def calls(fake: Path, program: str) -> list[str]:
    """What was asked of *program*, in order."""
    lines = (fake / "calls").read_text().splitlines()
    return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == program]


def erasing(fake: Path) -> list[str]:
    return [one for one in calls(fake, "virsh") if one.startswith(("vol-wipe", "vol-delete"))]


WANTED = "terminate vps=acme/web reason=request"
JUDGED = f"{WANTED} --dry-run"


def test_a_termination_overwrites_what_is_the_vpss_then_deletes_it_then_is_on_record(
    play: Callable[..., Played], fake: Path
) -> None:
    """C12.5, C15.2: and no volume of another client's."""
    done = play(*CONFIRMED)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert [
        "vol-wipe --pool vps acme.web.qcow2",
        "vol-wipe --pool vps acme.web.2.seed.iso",
        "vol-delete --pool vps acme.web.qcow2",
        "vol-delete --pool vps acme.web.2.seed.iso",
    ] == erasing(fake)
    assert ["forget acme/web --ipv4 203.0.113.17 --json"] == calls(fake, "hoster-node")
    ended = ["remove vps=acme/web", "terminated vps=acme/web"]
    assert [JUDGED, WANTED, *ended] == calls(fake, "hoster")


@pytest.mark.parametrize(
    ("file", "text", "erased"),
    [
        ("wiping", "1", ["vol-wipe --pool vps acme.web.qcow2",
                         "vol-wipe --pool vps acme.web.2.seed.iso"]),
        ("listing", " Name   Path\n------\n acme.web.qcow2   /pool/acme.web.qcow2\n", []),
    ],
    ids=["wiping", "listing"],
)  # fmt: skip
def test_what_was_not_overwritten_is_not_deleted_nor_what_a_listing_does_not_tell(
    play: Callable[..., Played], fake: Path, file: str, text: str, erased: list[str]
) -> None:
    """C15.2: the record says then that it is not over."""
    (fake / file).write_text(text)

    assert 2 == play(*CONFIRMED).returncode
    assert erased == erasing(fake)
    assert "terminated vps=acme/web" not in calls(fake, "hoster")


def test_an_empty_pool_has_nothing_to_erase(play: Callable[..., Played], fake: Path) -> None:
    (fake / "listing").write_text("\n")

    assert 0 == play(*CONFIRMED).returncode
    assert [] == erasing(fake)
    assert "terminated vps=acme/web" == calls(fake, "hoster")[-1]


def test_a_termination_without_the_names_touches_nothing(
    play: Callable[..., Played], fake: Path
) -> None:
    done = play(*TERMINATE)

    assert "was not confirmed: nothing was touched" in done.stdout
    assert [JUDGED] == calls(fake, "hoster")
    assert [] == calls(fake, "virsh")


@pytest.mark.parametrize("playbook", [CONFIRMED, REINSTALL], ids=lambda words: words[0])
def test_a_node_that_cannot_be_reached_is_refused_before_anything_is_touched(
    play: Callable[..., Played], fake: Path, playbook: tuple[str, ...]
) -> None:
    """C6.3."""
    _inventory(fake, ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    done = play(*playbook)

    assert "paris-1 could not be reached: nothing was touched" in done.stdout
    assert 1 == len(calls(fake, "hoster"))
    assert calls(fake, "hoster")[0].endswith("--dry-run")


@pytest.mark.parametrize(
    ("room", "reason"),
    [
        (ROOM.replace("debian-12@1", "debian-12@2"), "has no image debian-12@1.qcow2"),
        (ROOM.replace(str(20 * 2**30), "4096"), "has 4096 bytes left in the pool vps"),
    ],
    ids=["image", "room"],
)
def test_a_node_without_the_image_or_the_room_is_refused_before_anything_is_touched(
    play: Callable[..., Played], fake: Path, room: str, reason: str
) -> None:
    """C2.1, C6.3."""
    (fake / "room").write_text(room)
    done = play(*REINSTALL)

    assert 2 == done.returncode
    assert reason in done.stdout
    judged = "reinstall vps=acme/web request=ticket-1 --dry-run"
    assert [judged] == calls(fake, "hoster")


def test_a_new_system_is_seen_up_before_its_client_is_told_and_the_former_disk_erased(
    play: Callable[..., Played], fake: Path
) -> None:
    """C4.2, C7.4, C7.5: what is paused is switched off first, else it would go on from there."""
    (fake / "room").write_text(ROOM.replace("running", "paused"))
    done = play(*REINSTALL, "keep=true", "image=debian-13")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert ["destroy acme.web", "start acme.web"] == [calls(fake, "virsh")[at] for at in (1, -1)]
    on_node = ["watch acme/web --seconds 600 --json", "measures"]
    assert on_node == calls(fake, "hoster-node")
    wanted = "reinstall vps=acme/web request=ticket-1 image=debian-13 keep=True"
    handed_over = ["seen reinstall=4", "reinstalled reinstall=4 measures=[17]"]
    erased = "erase vps=acme/web due=True"
    assert [f"{wanted} --dry-run", wanted, *handed_over, erased] == calls(fake, "hoster")
