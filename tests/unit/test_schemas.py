"""The editors' schemas say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoster.catalogue.schemas import SECTIONS, schemas, text_of

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.mark.parametrize("section", SECTIONS)
def test_a_schema_is_as_new_as_the_model(section: str) -> None:
    # After a change: python -m hoster.catalogue.schemas docs/schemas
    assert text_of(schemas()[section]) == (FOLDER / f"{section}.json").read_text()


def test_there_is_a_schema_for_each_file_and_no_other() -> None:
    assert sorted(f"{section}.json" for section in SECTIONS) == sorted(
        file.name for file in FOLDER.iterdir()
    )


def test_unknown_keys_are_marked_by_the_editor() -> None:
    plan = schemas()["plans"]["$defs"]["Plan"]

    assert plan["additionalProperties"] is False
    assert {"disk_gib", "memory_mib", "vcpus"} <= set(plan["required"])
