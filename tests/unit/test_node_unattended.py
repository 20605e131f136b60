"""What the node's units run: libvirt is asked by a process that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hoster.node import domains, unattended
from hoster.wire.errors import NodeError


def test_what_a_child_heard_from_libvirt_is_the_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "running_vpss", lambda: {"pid": os.getpid()})

    heard = unattended._running_vpss()

    assert heard is not None
    assert os.getpid() != heard["pid"]


def test_a_libvirt_that_is_away_is_known_as_such() -> None:
    assert domains.running_vpss("qemu:///nobody") is None


@pytest.mark.parametrize("how", ["raises", "dies"])
def test_a_child_that_came_to_nothing_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    how: str,
) -> None:
    """C4.9: no VPS is taken for stopped because nobody was heard."""

    def ask() -> None:
        if how == "dies":
            os._exit(9)
        raise RuntimeError("libvirt speaks in riddles")

    monkeypatch.setattr(domains, "running_vpss", ask)
    state = tmp_path / "state.sqlite3"

    assert 1 == unattended.main("reconcile", str(state), str(tmp_path / "config.json"))

    assert "libvirt could not be asked" in capfd.readouterr().err
    assert not state.exists()
    with pytest.raises(NodeError):
        unattended._running_vpss()


def test_the_libraries_of_libvirt_are_not_the_parents() -> None:
    code = (
        "import sys; from hoster.node import domains, unattended; unattended._running_vpss(); "
        "print('libvirt' in sys.modules); domains.running_vpss('qemu:///nobody'); "
        "print('libvirt' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ["False", "True"] == done.stdout.split()
