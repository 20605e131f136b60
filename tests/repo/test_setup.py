"""`scripts/setup` takes what is there, and says in one sentence what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hoster_lab.commands import PACKAGES

ROOT = Path(__file__).parents[2]
LIBRARY = ["env", "say", "packages", "python", "pulumi"]


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *script* with the functions of scripts/lib."""
    sources = "".join(f"source {ROOT}/scripts/lib/{name}.sh\n" for name in LIBRARY)
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{sources}{script}"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def pulumi(folder: Path, version: str, *, language_host: bool = True) -> Path:
    if language_host:
        program(folder / "pulumi-language-python", "exit 0")
    return program(folder / "pulumi", f"echo {version}")


@pytest.mark.parametrize(
    ("release", "supported"),
    [
        ("ID=debian\nVERSION_ID=12\n", True),
        ("ID=debian\nVERSION_ID=13\n", True),
        ("ID=debian\n", True),
        ("ID=ubuntu\nVERSION_ID=24.04\n", True),
        ("ID=debian\nVERSION_ID=11\n", False),
        ("ID=ubuntu\nVERSION_ID=22.04\n", False),
        ("ID=fedora\nVERSION_ID=44\n", False),
        ("", False),
    ],
)
def test_the_system_is_one_whose_packages_are_known(
    tmp_path: Path, release: str, *, supported: bool
) -> None:
    (tmp_path / "os-release").write_text(release)

    checked = shell("check_system", OS_RELEASE=str(tmp_path / "os-release"))

    assert supported == (checked.returncode == 0)
    assert supported != ("use one of those" in checked.stderr)


def test_an_unknown_system_is_named(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("ID=fedora\nPRETTY_NAME='Fedora 44'\n")

    assert "Fedora 44" in shell("check_system", OS_RELEASE=str(tmp_path / "os-release")).stderr


def test_a_purpose_brings_the_packages_of_those_below_it() -> None:
    run, lab, test = (
        set(shell(f"packages_for {purpose}").stdout.split()) for purpose in ("run", "lab", "test")
    )

    assert run < lab <= test
    assert "libvirt-dev" in run


def test_the_lab_gets_every_package_that_it_calls_a_program_of() -> None:
    packages = {package for package in PACKAGES.values() if " " not in package}

    assert set() == packages - set(shell("packages_for lab").stdout.split())


def test_only_missing_packages_are_installed(tmp_path: Path) -> None:
    known = tmp_path / "packages.txt"
    known.write_text("run dpkg always there\nrun no-such-package-anywhere never there\n")

    done = shell(
        f"PACKAGE_LIST={known}\n"
        'is_root() { true; }; install_packages() { echo "installs $1"; }\n'
        "ensure_packages run"
    )

    assert "installs no-such-package-anywhere\n" == done.stdout


def test_without_root_it_says_what_root_would_run(tmp_path: Path) -> None:
    known = tmp_path / "packages.txt"
    known.write_text("run no-such-package-anywhere never there\n")

    done = shell(f"PACKAGE_LIST={known}\nis_root() {{ false; }}\nensure_packages run")

    assert 1 == done.returncode
    assert "apt-get install --no-install-recommends no-such-package-anywhere" in done.stderr


def test_nothing_missing_asks_for_no_root(tmp_path: Path) -> None:
    known = tmp_path / "packages.txt"
    known.write_text("run dpkg always there\n")

    done = shell(f"PACKAGE_LIST={known}\nis_root() {{ false; }}\nensure_packages run")

    assert (0, "") == (done.returncode, done.stderr)


def test_a_python_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "python3.13", "echo 'command not found' >&2; exit 127")
    (tmp_path / "python3.12").symlink_to(sys._base_executable)  # type: ignore[attr-defined]

    found = shell(f"PATH={tmp_path}:/usr/bin:/bin; type -P env >/dev/null; find_python")

    assert f"{tmp_path}/python3.12" == found.stdout.strip()


def test_no_usable_python_is_one_sentence(tmp_path: Path) -> None:
    program(tmp_path / "python3.13", "exit 127")

    found = shell(f"PATH={tmp_path}; find_python")

    assert 1 == found.returncode
    assert "apt install python3-venv" in found.stderr


@pytest.mark.parametrize(
    ("version", "language_host", "taken"),
    [
        ("v3.259.0", True, True),
        ("v3.300.1", True, True),
        ("v3.258.0", True, False),
        ("v4.0.0", True, False),
        ("", True, False),
        ("v3.259.0", False, False),
    ],
)
def test_a_pulumi_on_path_is_taken_where_it_fits(
    tmp_path: Path, version: str, *, language_host: bool, taken: bool
) -> None:
    path = pulumi(tmp_path / "there", version, language_host=language_host)

    found = shell(f"PATH={path.parent}:/usr/bin:/bin; pulumi_on_path")

    assert (str(path) if taken else "") == found.stdout.strip()


def test_our_own_build_is_not_taken_for_an_official_one(tmp_path: Path) -> None:
    pulumi(tmp_path / "hoster/bin", "v3.259.0")

    found = shell(
        f"PATH={tmp_path}/hoster/bin:/usr/bin:/bin; pulumi_on_path", XDG_CACHE_HOME=str(tmp_path)
    )

    assert "" == found.stdout


def test_a_pulumi_on_path_is_the_one_in_use(tmp_path: Path) -> None:
    path = pulumi(tmp_path / "there", "v3.260.0")
    (tmp_path / "hoster").mkdir()

    done = shell(f"PATH={path.parent}:/usr/bin:/bin; ensure_pulumi", XDG_CACHE_HOME=str(tmp_path))

    assert 0 == done.returncode, done.stderr
    assert path.parent == (tmp_path / "hoster/bin").readlink()


def test_without_pulumi_installer_and_go_it_names_the_three_ways(tmp_path: Path) -> None:
    (tmp_path / "hoster").mkdir()

    done = shell(
        "pulumi_on_path() { false; }; installer_reachable() { false; }\n"
        "find_go() { false; }; apt_go() { false; }\n"
        "ensure_pulumi",
        XDG_CACHE_HOME=str(tmp_path),
    )

    assert 1 == done.returncode
    assert ["on PATH", "installer", "Go 1.21"] == [
        way for way in ("on PATH", "installer", "Go 1.21") if way in done.stderr
    ]


def test_the_official_installer_comes_before_a_build(tmp_path: Path) -> None:
    (tmp_path / "hoster").mkdir()

    done = shell(
        "pulumi_on_path() { false; }; installer_reachable() { true; }\n"
        "build_from_source() { echo 'must not build'; exit 1; }\n"
        'install_official() { mkdir "$1/bin"; printf "#!/bin/sh\\necho v3.259.0\\n" '
        '>"$1/bin/pulumi"; chmod +x "$1/bin/pulumi"; }\n'
        "ensure_pulumi",
        XDG_CACHE_HOME=str(tmp_path),
    )

    assert 0 == done.returncode, done.stderr
    assert (tmp_path / "hoster/bin/pulumi").is_file()


def test_a_build_that_fails_leaves_no_half_pulumi(tmp_path: Path) -> None:
    (tmp_path / "hoster").mkdir()

    done = shell(
        "pulumi_on_path() { false; }; installer_reachable() { false; }; ensure_go() { true; }\n"
        'build_from_source() { mkdir "$1/bin"; touch "$1/bin/pulumi"; false; }\n'
        "ensure_pulumi",
        XDG_CACHE_HOME=str(tmp_path),
    )

    assert 0 != done.returncode
    assert [] == list((tmp_path / "hoster").glob("pulumi-3*"))
    assert not (tmp_path / "hoster/bin").exists()


def test_a_failing_branch_shows_its_log_and_the_other_one_ends(tmp_path: Path) -> None:
    done = shell(
        f"good() {{ sleep 0.3; touch {tmp_path}/ended; }}\n"
        "bad() { echo 'the disk is full'; exit 3; }\n"
        "side_by_side good bad"
    )

    assert 1 == done.returncode
    assert "bad: failed" in done.stderr
    assert "the disk is full" in done.stderr
    assert (tmp_path / "ended").exists()
