"""``hoster catalogue``: what is on sale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.catalogue import Catalogue


@click.command()
@_common.as_json
def catalogue(as_json: bool) -> None:
    """Show plans, images, locations and host nodes (C4.1).

    \b
    Examples:
      hoster catalogue
      hoster catalogue --json | jq '.plans[].name'
    """
    content = as_data(_common.catalogue())
    if as_json:
        _common.print_json(content)
        return
    for section, rows in content.items():
        columns = list(rows[0]) if rows else ["name"]
        cells = [[_cell(value) for value in row.values()] for row in rows]
        _common.print_table(columns, cells, title=section)


def _cell(value: object) -> object:
    if value is None:
        return "-"
    return ", ".join(value) if isinstance(value, list) else value


def as_data(content: Catalogue) -> dict[str, list[dict[str, Any]]]:
    """Return the catalogue with stable keys, a list a section."""
    plans = [
        {
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
        for name, plan in content.plans.items()
    ]
    images = [
        {
            "name": name,
            "title": image.title,
            "default_release": image.default_release,
            "releases": list(image.releases),
        }
        for name, image in content.images.items()
    ]
    locations = [
        {
            "name": name,
            "title": place.title,
            "country": place.country,
            "region": place.region,
            "city": place.city,
            "pools": [str(pool.cidr) for pool in place.pools],
        }
        for name, place in content.locations.items()
    ]
    nodes = [
        {"name": node.name, "location": node.location, "domain_type": node.domain_type}
        for node in content.nodes.values()
    ]
    return {"plans": plans, "images": images, "locations": locations, "nodes": nodes}
