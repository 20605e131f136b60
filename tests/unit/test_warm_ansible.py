"""Playbooks that are run in forks of one process: each as if it were started alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hoster_lab.errors import LabError
from hoster_lab.warm_ansible import WarmAnsible

if TYPE_CHECKING:
    from collections.abc import Iterator

FORKS = Path(__file__).parents[1] / "lab" / "ansible_forks.py"
PLAY = """
- hosts: all
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ word }} {{ lookup('env', 'ANOTHER_WORD') }}"
    - ansible.builtin.command: "{{ command }}"
"""


@pytest.fixture(scope="module")
def ansible() -> Iterator[WarmAnsible]:
    with WarmAnsible(FORKS, os.environ) as found:
        yield found


@pytest.fixture
def argv(tmp_path: Path) -> list[str]:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("word: first\ncommand: 'true'\n")
    (tmp_path / "hosts.yml").write_text("all: {hosts: {here: }}\n")
    return ["-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml")]


def test_each_run_reads_its_files_and_its_environment_anew(
    ansible: WarmAnsible, argv: list[str], tmp_path: Path
) -> None:
    first = ansible.run(argv, timeout=60)
    assert (0, True) == (first.returncode, "msg: 'first '" in first.stdout), first.stderr
    (tmp_path / "group_vars" / "all.yml").write_text("word: second\ncommand: 'true'\n")
    second = ansible.run(argv, timeout=60, more={"ANOTHER_WORD": "more"})
    assert "msg: second more" in second.stdout
    assert 2 == ansible.run([*argv, "-e", "command=false"], timeout=60).returncode


def test_a_run_that_takes_too_long_is_killed_and_ends_no_other(
    ansible: WarmAnsible, argv: list[str], tmp_path: Path
) -> None:
    folder = {"TMPDIR": str(tmp_path)}  # what is killed leaves its files there
    with pytest.raises(LabError, match="took over"):
        ansible.run([*argv, "-e", "command='sleep 5'"], timeout=2, more=folder)
    assert 0 == ansible.run(argv, timeout=60).returncode
