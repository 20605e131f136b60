"""Declarations in their files: read strictly, edited with every other line kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hoster.errors import ConfigurationError
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project
from hoster.project.declarations import added, exclusive, read, read_all, read_sound, with_plan
from hoster.project.files import write

HAND_WRITTEN = """\
# Acme, since 2024.
encryptionsalt: v1:AAAA=:v1:BBBB:CCCC==
config:
  aws:region: "eu-west-3"   # another program's
  hoster:vps:
    # their shop
    web:
      plan: kvm-2           # asked for kvm-4 in June
      image: 'debian-12@20250703-2162'
      location: paris
      node: paris-1
      ipv4: 203.0.113.17

      ssh_keys:
        - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada
      term_months: 12
  hoster:access:
    web:
      secure: v1:DDDD:EEEE
"""
FOUR_SPACES = """\
encryptionsalt: v1:AAAA=:v1:BBBB:CCCC==
config:
    hoster:vps:
        web:
            plan: kvm-2
            image: debian-12@20250703-2162
            location: paris
            node: paris-1
            ipv4: 203.0.113.17
            ssh_keys:
            - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a
    hoster:access:
        web:
            secure: v1:DDDD:EEEE
"""
IN_ONE_LINE = """\
encryptionsalt: v1:AAAA=:v1:BBBB:CCCC==
config:
  hoster:vps:
    web: {plan: kvm-2, image: debian-12@1, location: paris, node: paris-1, ipv4: 203.0.113.17}
  hoster:access:
    web: {secure: v1:DDDD:EEEE}
"""
SAMPLES = [HAND_WRITTEN, FOUR_SPACES, IN_ONE_LINE]


def file_with(folder: Path, text: str) -> Path:
    file = folder / "Pulumi.acme.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", SAMPLES, ids=["by hand", "four spaces", "in one line"])
def test_a_resize_changes_one_word_and_no_other_byte(tmp_path: Path, text: str) -> None:
    file = file_with(tmp_path, text)

    assert text.replace("plan: kvm-2", "plan: kvm-4") == with_plan(file, "web", "kvm-4")


@pytest.mark.parametrize("text", SAMPLES, ids=["by hand", "four spaces", "in one line"])
def test_an_order_adds_lines_and_takes_none(
    tmp_path: Path, declared: Callable[..., VpsDeclaration], text: str
) -> None:
    file = file_with(tmp_path, text)
    vps = declared("acme/db", ipv4="203.0.113.18")

    after = added(file, vps, "v1:FFFF:GGGG")

    left = iter(after.splitlines())
    assert [] == [line for line in text.splitlines() if line not in left]
    file.write_text(after)
    again = read(file)
    assert ["web", "db"] == [each.name for each in again.vps]
    assert vps == again.vps[1]
    assert {"web": True, "db": True} == again.sealed


def test_the_first_order_of_a_client_follows_pulumis_own_keys(
    tmp_path: Path, declared: Callable[..., VpsDeclaration]
) -> None:
    file = file_with(tmp_path, "encryptionsalt: v1:AAAA=:v1:BBBB:CCCC==\n")
    vps = declared("acme/web")

    file.write_text(added(file, vps, "v1:FFFF:GGGG"))

    assert (vps,) == read(file).vps
    document = yaml.safe_load(file.read_text())
    assert "v1:AAAA=:v1:BBBB:CCCC==" == document["encryptionsalt"]
    assert "203.0.113.17" == document["config"]["hoster:vps"]["web"]["ipv4"]


names = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
comments = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=20)


@given(
    vps=st.dictionaries(names, comments, min_size=1, max_size=6),
    indent=st.sampled_from([2, 4]),
    data=st.data(),
)
def test_a_resize_keeps_whatever_people_wrote_around_it(
    tmp_path_factory: pytest.TempPathFactory,
    vps: dict[str, str],
    indent: int,
    data: st.DataObject,
) -> None:
    pad = " " * indent
    lines = ["config:", f"{pad}hoster:vps:"]
    for number, (name, comment) in enumerate(vps.items()):
        lines += [f"{pad * 2}# {comment}", f"{pad * 2}{name}:"]
        lines += [f"{pad * 3}plan: kvm-1 # {comment}", f"{pad * 3}ipv4: 203.0.113.{number}"]
    text = "\n".join(lines) + "\n"
    file = file_with(tmp_path_factory.mktemp("edit"), text)
    name = data.draw(st.sampled_from(list(vps)))

    after = with_plan(file, name, "kvm-8")

    changed = [
        (old, new)
        for old, new in zip(text.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert [
        (f"{pad * 3}plan: kvm-1 # {vps[name]}", f"{pad * 3}plan: kvm-8 # {vps[name]}")
    ] == changed


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    file = file_with(tmp_path, "old\n")
    file.chmod(0o640)

    write(file, "new\n")

    assert ("new\n", 0o640) == (file.read_text(), file.stat().st_mode & 0o777)
    assert [file] == list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_with(tmp_path, "old\n")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write(file, "new\n")

    assert "old\n" == file.read_text()
    assert [file] == list(tmp_path.iterdir())


def test_one_orders_at_a_time(project: Project) -> None:
    steps: list[str] = []

    def other() -> None:
        with exclusive(project):
            steps.append("second")

    thread = threading.Thread(target=other)
    with exclusive(project):
        thread.start()
        thread.join(timeout=0.3)
        steps.append("first")
    thread.join()

    assert ["first", "second"] == steps


def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path: Path) -> None:
    file = file_with(tmp_path, "config:\n  hoster:vps:\n    web: {}\n    web: {}\n")

    with pytest.raises(ConfigurationError, match=r"Pulumi.acme.yaml:4: .*«web» stands twice"):
        read(file)


def test_the_programs_own_file_is_no_clients(project: Project) -> None:
    assert () == read_all(project).clients


def test_a_choice_is_not_made_while_a_declaration_is_not_valid(project: Project) -> None:
    project.declaration("acme").write_text(HAND_WRITTEN.replace("203.0.113.17", "203.0.113.999"))

    with pytest.raises(ConfigurationError, match=r"Pulumi.acme.yaml:12: .*203.0.113.999"):
        read_sound(project)


def test_another_programs_configuration_is_left_alone(tmp_path: Path) -> None:
    file = file_with(tmp_path, HAND_WRITTEN)

    assert () == read(file).problems
