"""The geofeed (RFC 8805): where on Earth each pool's addresses are. Contract: C10.1."""

from __future__ import annotations

import csv
import io
from ipaddress import ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoster.catalogue import Catalogue

FIELDS = 5


def geofeed(catalogue: Catalogue) -> str:
    """Return the file that the company publishes: one line a pool, sorted, CRLF-ended.

    RFC 8805, 2.1: prefix, country, region, city, postal code; comments start with ``#``.
    """
    out = io.StringIO()
    out.write(f"# {catalogue.company.name}: where our addresses are (RFC 8805)\r\n")
    pools = sorted(
        (
            (pool.cidr, location)
            for location in catalogue.locations.values()
            for pool in location.pools
        ),
        key=lambda entry: entry[0],
    )
    csv.writer(out).writerows(
        (str(cidr), place.country, place.region, place.city, place.postal_code)
        for cidr, place in pools
    )
    return out.getvalue()


def faults(text: str) -> list[str]:
    """Say what in a geofeed breaks RFC 8805, line by line; empty where all is well."""
    found: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in next(csv.reader([line]))]
        found += [f"line {number}: {fault}" for fault in _faults(fields, seen)]
        seen.add(fields[0])
    return found


def _faults(fields: list[str], seen: set[str]) -> list[str]:
    if len(fields) != FIELDS:
        return [f"{len(fields)} fields instead of {FIELDS}"]
    prefix, country, region, _, _ = fields
    found = []
    try:
        ip_network(prefix)
    except ValueError:
        found.append(f"«{prefix}» is no prefix")
    if prefix in seen:
        found.append(f"{prefix} stands twice")
    if country and not (len(country) == 2 and country.isalpha() and country.isupper()):  # noqa: PLR2004
        found.append(f"«{country}» is no ISO 3166-1 alpha-2 country")
    if region and not region.startswith(f"{country}-"):
        found.append(f"«{region}» is no ISO 3166-2 region of {country}")
    return found
