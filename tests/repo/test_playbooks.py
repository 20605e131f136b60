"""A playbook is read from top to bottom: what is long is an act of `hoster` or a file of tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

PLAYBOOKS = sorted((Path(__file__).parents[2] / "playbooks").rglob("*.yml"))
MOST_LINES = 100


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_a_playbook_is_short_and_refers_to_no_other_place_of_itself(playbook: Path) -> None:
    text = playbook.read_text()
    anchors = (yaml.AnchorToken, yaml.AliasToken)

    assert MOST_LINES >= len(text.splitlines())
    assert [] == [token.value for token in yaml.scan(text) if isinstance(token, anchors)]
