"""``hoster geofeed``: the RFC 8805 file of the pools."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from hoster.cli import _common


@click.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write this file, all or nothing, instead of standard output.",
)
@_common.as_json
def geofeed(output: Path | None, as_json: bool) -> None:
    """Print where on Earth the addresses are, for the operators of geolocation databases (C10.1).

    \b
    Examples:
      hoster geofeed
      hoster geofeed --output geofeed.csv
    """
    from hoster.catalogue.geofeed import geofeed as feed
    from hoster.project.files import write

    text = feed(_common.catalogue())
    if output:
        write(output, text)
        _common.say(f"wrote {output}")
    elif as_json:
        names = ("prefix", "country", "region", "city", "postal_code")
        rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
        _common.print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        click.echo(text, nl=False)
