"""The command line as a whole: quick help, completion, data apart from talk, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hoster import __version__
from hoster.cli import COMMANDS, cli
from hoster.project import Project

HEAVY = ("pydantic", "sqlalchemy", "alembic", "ruamel", "yaml", "pulumi", "libvirt", "jinja2")
RUN = "from hoster.cli import main; main()"


def hoster(
    *arguments: str, project: Project | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    environment |= {"HOSTER_PROJECT": str(project.root)} if project else {}
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["order", "--help"], ["check", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    probe = (
        "import sys\nfrom hoster.cli import cli\n"
        f"try: cli({arguments!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )

    assert "[]" == done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])

    assert 0 == shown.exit_code, shown.output
    assert "Example" in shown.output


def test_the_version_is_told() -> None:
    assert __version__ in CliRunner().invoke(cli, ["--version"]).output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_each_shell(shell: str) -> None:
    # bash is asked for its version; a shell that is not installed has nothing to complete.
    done = hoster(_HOSTER_COMPLETE=f"{shell}_source")

    assert "_HOSTER_COMPLETE" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hoster order acme/web --plan kvm", ["kvm-1", "kvm-2", "kvm-4", "kvm-8"]),
        ("hoster order acme/web --image d", ["debian-12"]),
        ("hoster order acme/web --location r", ["roubaix"]),
        ("hoster resize ac", ["acme/web"]),
        ("hoster res", ["resize"]),
    ],
)
def test_names_are_completed_from_catalogue_and_declarations(
    project: Project, words: str, expected: list[str]
) -> None:
    project.declaration("acme").write_text(
        "config:\n  hoster:vps:\n    web: {plan: kvm-2, image: debian-12@1, location: paris, "
        "node: paris-1, ipv4: 203.0.113.17}\n"
    )
    done = hoster(
        project=project,
        _HOSTER_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )

    assert expected == [line.partition(",")[2] for line in done.stdout.splitlines()], done.stderr


def test_data_goes_to_standard_output_and_talk_to_the_other(project: Project) -> None:
    done = hoster("check", "--json", project=project)

    assert {"vps": 0, "findings": []} == json.loads(done.stdout)


def test_a_table_in_a_pipe_is_tab_separated_without_colours(project: Project) -> None:
    lines = hoster("catalogue", project=project).stdout.splitlines()

    assert "name" == lines[0].split("\t")[0]
    assert "\x1b" not in "".join(lines)


def test_the_catalogue_as_json_is_for_programs(project: Project) -> None:
    content = json.loads(hoster("catalogue", "--json", project=project).stdout)

    assert ["kvm-1", "kvm-2", "kvm-4", "kvm-8"] == [plan["name"] for plan in content["plans"]]
    assert [["203.0.113.0/25"], ["203.0.113.128/25"]] == [
        place["pools"] for place in content["locations"]
    ]
    assert [["20250703-2162"]] == [image["releases"] for image in content["images"]]


def test_the_geofeed_is_written_to_a_file(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "geofeed.csv"

    assert 0 == hoster("geofeed", "--output", str(file), project=project).returncode
    assert "203.0.113.0/25,FR,FR-IDF,Paris,75010" in file.read_text().splitlines()


def test_an_error_says_what_and_how_to_mend_it_without_a_traceback(project: Project) -> None:
    plans = project.inventory / "group_vars/all/plans.yml"
    plans.write_text(plans.read_text().replace("disk_gib: 10\n", "disk_gb: 10\n"))

    done = hoster("catalogue", project=project)

    assert 2 == done.returncode
    assert "plans.yml:10: plans.kvm-1.disk_gb: unknown key; did you mean disk_gib?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "" == done.stdout


def test_debug_shows_the_traceback(project: Project) -> None:
    (project.inventory / "hosts.yml").unlink()

    assert "Traceback" in hoster("--debug", "catalogue", project=project).stderr


def test_outside_a_project_the_way_to_one_is_told(tmp_path: Path) -> None:
    done = hoster("--project", str(tmp_path), "show")

    assert 2 == done.returncode
    assert "HOSTER_PROJECT" in done.stderr


def test_a_file_that_is_no_yaml_is_named_and_exits_2(project: Project) -> None:
    project.declaration("acme").write_text("config: [\n")

    done = hoster("check", project=project)

    assert 2 == done.returncode
    assert "Pulumi.acme.yaml:" in done.stderr
