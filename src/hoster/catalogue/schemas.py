"""JSON Schemas of the inventory for editors.

``python -m hoster.catalogue.schemas FOLDER`` writes them.
They say what a file may hold; what has to fit together is judged by ``hoster catalogue``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, create_model

from hoster.catalogue import Catalogue, Value

SECTIONS = ("plans", "images", "locations", "policy", "network", "company")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return a schema for each file of ``inventory/group_vars/all``, by the file's stem."""
    return {section: _schema(section) for section in SECTIONS}


def _schema(section: str) -> dict[str, Any]:
    field = Catalogue.model_fields[section]
    fields: dict[str, Any] = {section: (field.rebuild_annotation(), ...)}
    file = create_model(f"inventory/group_vars/all/{section}.yml", __base__=Value, **fields)
    return {"$schema": _DIALECT, **TypeAdapter(file).json_schema()}


def text_of(schema: dict[str, Any]) -> str:
    """Return a schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.json").write_text(text_of(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
