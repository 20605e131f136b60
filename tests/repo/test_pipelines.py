"""The pipelines for GitHub Actions and GitLab CI: sound, thin, and the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB = ROOT / ".gitlab-ci.yml"
JOBS = {"review-change", "check-nodes", "apply-merged", "find-drift"}


def github_steps(file: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(file.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def gitlab_commands() -> list[str]:
    jobs = [job for job in yaml.safe_load(GITLAB.read_text()).values() if isinstance(job, dict)]
    return [
        line for job in jobs for key in ("before_script", "script") for line in job.get(key, [])
    ]


def scripts_in(commands: list[str]) -> set[str]:
    return {name for line in commands for name in re.findall(r"scripts/([\w-]+)", line)}


def test_actionlint_has_nothing_to_say() -> None:
    if shutil.which("actionlint") is None:
        pytest.skip("no actionlint, and no Go to build it")
    done = subprocess.run(
        ["actionlint", "-no-color", *WORKFLOWS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stdout)


@pytest.mark.parametrize(
    ("schema", "files"), [("vendor.github-workflows", WORKFLOWS), ("vendor.gitlab-ci", [GITLAB])]
)
def test_each_forge_knows_what_is_asked_of_it(schema: str, files: list[Path]) -> None:
    argv = ["check-jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout


def test_a_mistake_would_be_seen(tmp_path: Path) -> None:
    text = GITLAB.read_text()
    broken = tmp_path / "broken.yml"
    broken.write_text(text.replace("resource_group: apply", "resource_group: [apply]"))

    argv = ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", broken]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert broken.read_text() != text
    assert 1 == done.returncode


def test_both_call_the_scripts_that_anybody_can_run_and_do_nothing_else() -> None:
    runs = [step["run"] for file in WORKFLOWS for step in github_steps(file) if "run" in step]
    gitlab = gitlab_commands()

    assert JOBS | {"setup"} == scripts_in(runs) == scripts_in(gitlab)
    assert [] == [name for name in scripts_in(runs) if not (ROOT / "scripts" / name).is_file()]
    assert [] == [line for line in runs if not line.startswith("scripts/")]
    assert [] == [line for line in gitlab if not line.startswith(("scripts/", "git "))]


@pytest.mark.parametrize("line", [*gitlab_commands()])
def test_the_scripts_know_their_options(line: str) -> None:
    """Asked for its help, a script passes over what it knows and refuses what it does not."""
    script, *options = line.split()
    if not script.startswith("scripts/"):
        assert "git" == script
        return
    help_text = subprocess.run(
        [ROOT / script, "--help"], capture_output=True, text=True, check=True
    ).stdout

    assert [] == [one for one in options if one.startswith("--") and one not in help_text]


def test_no_secret_is_in_a_workflow() -> None:
    """The control machine has them; a pipeline passes on the forge's own token alone."""
    texts = {file.name: file.read_text() for file in (*WORKFLOWS, GITLAB)}

    assert {} == {name: text for name, text in texts.items() if "secrets." in text}
    assert ["review.yml"] == [name for name, text in texts.items() if "github.token" in text]


def test_nothing_from_a_fork_runs_on_the_control_machine() -> None:
    """A pull request's own scripts run there, beside the passphrase of all stacks (C4.2)."""
    for file in WORKFLOWS:
        workflow = yaml.safe_load(file.read_text())
        for job in workflow["jobs"].values():
            assert "vars.HOSTER_PIPELINE == 'on'" in job["if"]
            if "pull_request" in workflow[True]:
                own = "github.event.pull_request.head.repo.full_name == github.repository"
                assert own in job["if"]
            assert "pull_request_target" not in workflow[True]
