"""The file that says where the addresses are (RFC 8805, C10.1)."""

from __future__ import annotations

import pytest

from hoster.catalogue import Catalogue
from hoster.catalogue.geofeed import faults, geofeed

# Two pools, and the order in which the file lists them.
SHIPPED = ["203.0.113.0/25,FR,FR-IDF,Paris,75010", "203.0.113.128/25,FR,FR-HDF,Roubaix,59100"]


def test_every_pool_has_its_line_in_order(catalogue: Catalogue) -> None:
    backwards = catalogue.model_copy(
        update={"locations": dict(reversed(catalogue.locations.items()))}
    )

    lines = geofeed(backwards).split("\r\n")

    assert lines[0].startswith("# Example Hosting")
    assert [*SHIPPED, ""] == lines[1:]


def test_what_is_written_is_without_fault(catalogue: Catalogue) -> None:
    assert [] == faults(geofeed(catalogue))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("203.0.113.0/25,FR,FR-IDF,Paris", "line 1: 4 fields instead of 5"),
        ("203.0.113.1/25,FR,FR-IDF,Paris,", "line 1: «203.0.113.1/25» is no prefix"),
        ("# all\n203.0.113.0/25,fr,,Paris,", "line 2: «fr» is no ISO 3166-1 alpha-2 country"),
        ("203.0.113.0/25,FR,BE-BRU,Paris,", "line 1: «BE-BRU» is no ISO 3166-2 region of FR"),
        (f"{SHIPPED[0]}\n{SHIPPED[0]}", "line 2: 203.0.113.0/25 stands twice"),
    ],
)
def test_a_fault_is_named_with_its_line(text: str, fault: str) -> None:
    assert [fault] == faults(text)
