"""The lab of this checkout, up; and acts that are cut after each of their steps."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hoster_lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGINS = Path(__file__).parent / "callback_plugins"
MOST_STEPS = 60
SECONDS = 600


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab; what is missing of it is brought up first, and it stays up for the next run."""
    found = Lab(Path(__file__).parents[2])
    found.up()
    return found


@dataclass
class Cuts:
    """Runs playbooks that are killed after each of their steps; keeps where each was."""

    lab: Lab
    folder: Path
    made: list[tuple[str, str]] = field(default_factory=list)

    def run(self, playbook: str, *variables: str, then: Callable[[], None] | None = None) -> int:
        """Run it, killed after its first task; again, killed after the next one; and so on.

        *then* is called after each kill. Returns how often it was killed until a run came to its
        end; that run must have gone well.
        """
        argv = [str(Path(sys.executable).parent / "ansible-playbook")]
        argv += [str(self.lab.checkout / "playbooks" / playbook)]
        argv += [word for variable in variables for word in ("-e", variable)]
        after = self.folder / str(len(self.made))
        for kills in range(MOST_STEPS):
            done = subprocess.run(
                argv,
                env=self.lab.env()
                | {
                    "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
                    "ANSIBLE_CALLBACKS_ENABLED": "cut",
                    "HOSTER_CUT_AFTER": str(after),
                },
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
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
) -> Cuts:
    """Acts that are cut; the report says where."""
    made = Cuts(lab, tmp_path_factory.mktemp("cuts"))
    request.config.stash[_MADE] = made.made
    return made


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the matrix: every step after which an act was killed, and run again."""
    made = config.stash.get(_MADE, [])
    if made:
        terminalreporter.section("acts killed after each step, and run again")
    for playbook, step in made:
        terminalreporter.line(f"{playbook:28} {re.sub(r'^.*: ', '', step)}")
