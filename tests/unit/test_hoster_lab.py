"""The lab's rules that need no container: recipes, the company's files, mail, limits."""

from __future__ import annotations

import os
import resource
import signal
import smtplib
import subprocess
import sys
from email.message import EmailMessage
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hoster.project.inventory import load_catalogue
from hoster_lab import cache, commands, kvm, network, node_image, nodes, os_image
from hoster_lab.client import mails
from hoster_lab.company import Company
from hoster_lab.errors import LabError
from hoster_lab.kvm import Finding
from hoster_lab.lab import Lab
from hoster_lab.mail_sink import HOST, MailSink
from hoster_lab.os_image import OsImage
from hoster_lab.progress import Progress
from hoster_lab.scenario import SCENARIOS
from hoster_lab.ssh import Ssh

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]


def image_at(folder: Path, release: str) -> OsImage:
    file = folder / f"{release}.qcow2"
    file.write_bytes(b"an image")
    return OsImage(
        path=str(file),
        release=release,
        sha512="ab" * 64,
        virtual_size_gib=2,
        kernel="",
        initrd="",
    )


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path / "lab", CHECKOUT)


def write(company: Company, image: OsImage) -> None:
    company.root.mkdir(exist_ok=True)
    ssh = Ssh(company.root / "ssh")
    company.write(nodes.NODES, ssh=ssh, image=image, domain_type="qemu", smtp_port=2525)


def test_the_company_is_one_that_the_schema_accepts(company: Company, tmp_path: Path) -> None:
    write(company, image_at(tmp_path, "20260101-aa"))
    catalogue = load_catalogue(company.inventory)
    assert {"paris-1", "roubaix-1"} == set(catalogue.nodes)
    assert "20260101-aa" == catalogue.images["debian-12"].default_release


def test_an_earlier_release_stays_on_sale_while_its_file_is_there(
    company: Company, tmp_path: Path
) -> None:
    write(company, image_at(tmp_path, "20260101-aa"))
    write(company, image_at(tmp_path, "20260102-bb"))
    debian = load_catalogue(company.inventory).images["debian-12"]
    assert {"20260101-aa", "20260102-bb"} == set(debian.releases)
    assert "20260102-bb" == debian.default_release

    (tmp_path / "20260101-aa.qcow2").unlink()
    write(company, image_at(tmp_path, "20260102-bb"))
    debian = load_catalogue(company.inventory).images["debian-12"]
    assert {"20260102-bb"} == set(debian.releases)


def test_writing_the_company_again_keeps_its_passphrase(company: Company, tmp_path: Path) -> None:
    write(company, image_at(tmp_path, "20260101-aa"))
    first = (company.root / "passphrase").read_text()
    write(company, image_at(tmp_path, "20260101-aa"))
    assert first == (company.root / "passphrase").read_text()
    assert 0o600 == (company.root / "passphrase").stat().st_mode & 0o777


def test_a_recipe_has_another_digest_as_soon_as_anything_in_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "FILES", tmp_path)
    (tmp_path / "box" / "etc").mkdir(parents=True)
    (tmp_path / "box.sh").write_text("true\n")
    recipe = cache.Recipe("box", "bookworm", ("less",))
    digests = [recipe.digest(), cache.Recipe("box", "bookworm", ("more",)).digest()]
    (tmp_path / "box" / "etc" / "motd").write_text("hello\n")
    digests.append(recipe.digest())
    (tmp_path / "box.sh").write_text("false\n")
    digests.append(recipe.digest())
    assert 4 == len(set(digests))
    assert recipe.digest() == recipe.digest()


@pytest.mark.parametrize("recipe", [node_image.RECIPE, os_image.RECIPE])
def test_a_recipe_has_its_files_and_a_script_that_can_run(recipe: cache.Recipe) -> None:
    assert recipe.overlay.is_dir()
    assert recipe.finish.stat().st_mode & 0o100


def test_what_is_built_is_built_in_a_fresh_folder_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def cut_short() -> None:
        with cache.building("thing") as place:
            (place / "half").touch()
            raise LabError("cut")

    with pytest.raises(LabError, match="cut"):
        cut_short()
    assert [] == [path for path in (tmp_path / "hoster").iterdir() if path.is_dir()]
    with cache.building("thing") as place:
        assert [] == list(place.iterdir())


def kept_by(builder: str, cache_home: Path, packages: str = "less") -> subprocess.Popen[str]:
    """Start a process that asks for what `builder`, the body of a function, builds."""
    program = f"""
import os, signal, sys, time
from pathlib import Path
from hoster_lab import cache
from hoster_lab.progress import Progress

def build(place):
    with Path(os.environ["XDG_CACHE_HOME"], "builds").open("a") as log:
        log.write("{packages}\\n")
    (place / "half").write_text("half")
    {builder}
    result = place / "result"
    result.mkdir()
    (result / "whole").write_text("{packages}")
    return result

recipe = cache.Recipe("tiny-1", "bookworm", ("{packages}",))
print(cache.kept(recipe, "Build it", build, Progress()))
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"XDG_CACHE_HOME": str(cache_home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def builds(cache_home: Path) -> list[str]:
    return (cache_home / "builds").read_text().split()


def test_of_two_processes_at_once_one_builds_and_both_have_it(tmp_path: Path) -> None:
    both = [kept_by("time.sleep(1)", tmp_path) for _ in range(2)]
    found = {process.communicate()[0].strip() for process in both}
    assert [0, 0] == [process.returncode for process in both]
    (place,) = found
    assert "less" == Path(place, "whole").read_text()
    assert ["less"] == builds(tmp_path)


def test_a_killed_build_leaves_nothing_half_made_and_the_next_one_is_whole(tmp_path: Path) -> None:
    killed = kept_by("os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert -signal.SIGKILL == (killed.communicate(), killed.returncode)[1]
    assert [] == list((tmp_path / "hoster").glob("tiny-1-*"))
    place = kept_by("assert place.is_dir()", tmp_path).communicate()[0].strip()
    assert ["whole"] == [path.name for path in Path(place).iterdir()]
    assert ["less", "less"] == builds(tmp_path)
    assert [] == list((tmp_path / "hoster").glob(".*.building"))


def test_another_version_is_built_anew_beside_the_former_one(tmp_path: Path) -> None:
    places = [
        kept_by("assert place.is_dir()", tmp_path, packages).communicate()[0].strip()
        for packages in ("less", "more", "less")
    ]
    assert places[0] == places[2] != places[1]
    assert ["less", "more"] == [Path(place, "whole").read_text() for place in places[:2]]
    assert ["less", "more"] == builds(tmp_path)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[MailSink]:
    server = MailSink(tmp_path)
    server.start()
    yield server
    server.stop()


def test_the_mail_server_keeps_a_mail_and_its_accents(sink: MailSink) -> None:
    message = EmailMessage()
    message["To"], message["Subject"] = "elise@example.org", "Votre serveur privé"
    message["Date"] = "Mon, 05 Jan 2026 10:00:00 +0000"
    message.set_content("Prêt.")
    with smtplib.SMTP(HOST, sink.port) as connection:
        connection.send_message(message, from_addr="support@lab.example")
    (kept,) = mails(sink.maildir, "elise@example.org")
    assert "Votre serveur privé" == kept["Subject"]
    assert "Prêt." == kept.get_content().strip()


def test_a_mail_server_that_runs_is_left_alone_and_a_stopped_one_is_gone(sink: MailSink) -> None:
    pid = sink.pid
    sink.start()
    assert pid == sink.pid != 0
    sink.stop()
    assert 0 == sink.pid


def test_the_process_of_somebody_else_is_never_taken_for_the_mail_server(tmp_path: Path) -> None:
    (tmp_path / "mail.pid").write_text("1")
    assert 0 == MailSink(tmp_path).pid


def test_a_machine_without_kvm_emulates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    finding = kvm.find(image_at(tmp_path, "x"), Progress())
    assert "qemu" == finding.domain_type
    assert "TCG" in str(finding)


@pytest.mark.parametrize(
    ("guest", "domain_type"),
    [("exit 0", "kvm"), ("echo no such MSR >&2; exit 134", "qemu"), ("sleep 60", "qemu")],
)
def test_kvm_is_believed_only_after_a_guest_went_through_its_boot(
    guest: str, domain_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo QEMU 7 && exit 0\n{guest}\n')
    program.chmod(0o755)
    (tmp_path / "kvm").touch()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(kvm, "BOUND_SECONDS", 0.5)
    image = image_at(tmp_path, "x")
    assert domain_type == kvm.find(image, Progress()).domain_type
    # Remembered: no second guest.
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo QEMU 7 && exit 0\nexit 9\n')
    assert domain_type == kvm.find(image, Progress()).domain_type


def test_a_finding_says_what_it_means_to_people() -> None:
    assert "guests run under KVM: tried" == str(Finding("kvm", "tried"))


def test_the_limits_of_a_node_are_never_above_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_may_raise_limits", lambda: False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 1000))
    assert "--ulimit=nofile=1000:1000" in nodes.runtime_options()
    monkeypatch.setattr(nodes, "_may_raise_limits", lambda: True)
    assert [] == [option for option in nodes.runtime_options() if "ulimit" in option]


def test_an_unknown_node_is_named_with_the_known_ones() -> None:
    with pytest.raises(LabError, match=r"no node «lyon-1»; its nodes are paris-1, roubaix-1"):
        Lab(CHECKOUT).node("lyon-1")


def test_a_range_that_the_machine_routes_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ip = tmp_path / "ip"
    ip.write_text(
        "#!/bin/sh\n"
        """echo '[{"dst": "default", "dev": "eth0"},"""
        """ {"dst": "198.51.100.11", "dev": "hoster-mgmt"},"""
        """ {"dst": "198.51.100.0/25", "dev": "eth0"}]'\n"""
    )
    ip.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (sentence,) = network.foreign_routes()
    assert "198.51.100.0/25" in sentence
    assert "eth0" in sentence


def test_a_failed_command_says_its_last_words() -> None:
    with pytest.raises(LabError, match=r"code 3:\nalas"):
        commands.run([sys.executable, "-c", "import sys; print('alas'); sys.exit(3)"])


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match="mmdebstrap is missing: install mmdebstrap"):
        commands.run(["mmdebstrap"])
    assert len(commands.PACKAGES) == len(commands.missing_programs())


def test_no_two_nodes_of_lab_and_scenarios_share_an_address() -> None:
    addresses = [node.address for node in nodes.NODES]
    for scenario in SCENARIOS.values():
        addresses += [scenario.address, IPv4Address(int(scenario.address) - 1)]
    addresses += [network.MANAGEMENT.ip, network.CONTROL.ip]
    assert len(addresses) == len(set(addresses))
    assert all(address in network.MANAGEMENT.network for address in addresses)
