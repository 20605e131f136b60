"""``hoster catalogue``: what is on sale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.catalogue import Catalogue, Image, Location, Plan


@click.command()
@_common.as_json
def catalogue(as_json: bool) -> None:
    """Show plans, images, locations and host nodes (C4.1).

    \b
    Examples:
      hoster catalogue
      hoster catalogue --json | jq '.plans[].name'
    """
    sections = as_data(_common.catalogue())
    if as_json:
        _common.print_json(sections)
        return
    for section, rows in sections.items():
        columns = list(rows[0]) if rows else ["name"]
        cells = [[_cell(value) for value in row.values()] for row in rows]
        _common.print_table(columns, cells, title=section)


def _cell(value: object) -> object:
    if value is None:
        return "-"
    return ", ".join(value) if isinstance(value, list) else value


def as_data(catalogue: Catalogue) -> dict[str, list[dict[str, Any]]]:
    """Return the catalogue with stable keys, a list a section."""
    return {
        "plans": [_plan(*one) for one in catalogue.plans.items()],
        "images": [_image(*one) for one in catalogue.images.items()],
        "locations": [_location(*one) for one in catalogue.locations.items()],
        "nodes": [
            {"name": node.name, "location": node.location, "domain_type": node.domain_type}
            for node in catalogue.nodes.values()
        ],
    }


def _plan(name: str, plan: Plan) -> dict[str, Any]:
    return {
        "name": name,
        "title": plan.title,
        "range": plan.range,
        "vcpus": plan.vcpus,
        "memory_mib": plan.memory_mib,
        "disk_gib": plan.disk_gib,
        "price_eur_month": str(plan.price_eur_month),
        "guaranteed_mbit_s": plan.guaranteed_mbit_s,
        "ceiling_mbit_s": plan.ceiling_mbit_s,
        "traffic_bytes_month": plan.traffic_bytes_month,
        "throttle_mbit_s": plan.throttle_mbit_s,
    }


def _image(name: str, image: Image) -> dict[str, Any]:
    return {
        "name": name,
        "title": image.title,
        "default_release": image.default_release,
        "releases": list(image.releases),
    }


def _location(name: str, location: Location) -> dict[str, Any]:
    return {
        "name": name,
        "title": location.title,
        "country": location.country,
        "region": location.region,
        "city": location.city,
        "pools": [str(pool.cidr) for pool in location.pools],
    }
