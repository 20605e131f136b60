"""Builds Debian root file systems with mmdebstrap, from the mirrors that this machine uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoster_lab.commands import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hoster_lab.cache import Recipe

MINUTES_15 = 900.0
_APT = ('APT::Install-Recommends "false"', 'Acquire::Languages "none"', 'Acquire::Retries "3"')
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_KEPT = ("/usr/share/doc/*/copyright",)


def bootstrap(recipe: Recipe, target: Path) -> None:
    """Make the system of *recipe* in *target*: a folder, or a tar archive if it ends in .tar.

    Raises:
        LabError: mmdebstrap failed; with the last lines that it printed.
    """
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", "--quiet"]
    argv += [f"--aptopt={option}" for option in _APT]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    argv += [f"--dpkgopt=path-include={pattern}" for pattern in _KEPT]
    argv += [f"--include={','.join(recipe.packages)}"]
    argv += [f"--customize-hook=sync-in {recipe.overlay} /", f"--customize-hook={recipe.finish}"]
    _bootstrap(argv, recipe, target)


def extract(recipe: Recipe, root: Path) -> None:
    """Unpack the packages of *recipe*; none is configured, and nothing runs but what is asked.

    Raises:
        LabError: mmdebstrap failed; with the last lines that it printed.
    """
    argv = ["mmdebstrap", "--mode=root", "--variant=extract", "--quiet"]
    argv += [f"--aptopt={option}" for option in _APT]
    argv += [f"--include={','.join(recipe.packages)}"]
    _bootstrap(argv, recipe, root)


def _bootstrap(argv: Sequence[str], recipe: Recipe, target: Path) -> None:
    mirrors = sources(recipe.suite)
    from_stdin = ["-"] if mirrors else []
    argv = [*argv, recipe.suite, str(target), *from_stdin]
    run(argv, stdin=mirrors or None, timeout=MINUTES_15)


def sources(suite: str) -> str:
    """Return this machine's own APT sources of *suite*; empty where it runs something else."""
    asked = ["apt-get", "indextargets", "--format", "deb $(REPO_URI) $(CODENAME) $(COMPONENT)"]
    listed = run([*asked, "Created-By: Packages"], check=False).stdout.splitlines()
    mine = {line for line in listed if line.split()[2].split("-")[0] == suite}
    main = {line for line in mine if line.split()[2] == suite}
    return "\n".join(sorted(mine)) + "\n" if main else ""
