"""``hoster client``: who the clients are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Callable

_Command = TypeVar("_Command", bound="Callable[..., Any]")

# Field of the client, and the help of its option.
_FIELDS = {
    "last_name": "Last name.",
    "first_name": "First name.",
    "organisation": "Organisation (optional).",
    "street": "Street and number.",
    "postal_code": "Postal code.",
    "city": "City.",
    "country": "Country, ISO 3166-1 alpha-2 (FR).",
    "phone": "Phone, as written in that country or in E.164.",
    "email": "E-mail: access codes and notices go there.",
    "language": "Language of the mails: fr or en. Default: fr.",
}


def _details(command: _Command) -> _Command:
    for name, text in reversed(_FIELDS.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, help=text)(command)
    return command


@click.group()
def client() -> None:
    """Keep the clients' contact details, in the ledger and never in Git (C7.1).

    \b
    Examples:
      hoster client show
      hoster client edit acme --email ops@acme.example
    """


@client.command()
@click.argument("name")
@_details
@_common.dry_run
@_common.as_json
def add(name: str, dry_run: bool, as_json: bool, **fields: str | None) -> None:
    """Register a client.

    \b
    Example:
      hoster client add acme --first-name Ada --last-name Martin --street "1 rue de l'Exemple" \\
        --postal-code 75010 --city Paris --country FR --phone "01 99 00 12 34" \\
        --email ada@example.org --language fr
    """
    from hoster.clients.contact import client_of

    given = {field: value for field, value in fields.items() if value is not None}
    new = client_of({"name": name, **given})
    changed = False
    if not dry_run:
        with _common.ledger() as ledger:
            changed = ledger.clients.add(new, _common.clock())
    if as_json:
        _common.print_json({"changed": changed, **new.model_dump()})
    elif dry_run:
        _common.say(f"Dry run: {name} is valid; nothing was written.")
    elif changed:
        _common.say(f"Registered {name}. Next: hoster order {name}/web --help")
    else:
        _common.say(f"{name} is registered already, with just these details.")


@client.command()
@click.argument("name")
@_details
@_common.dry_run
@_common.as_json
def edit(name: str, dry_run: bool, as_json: bool, **fields: str | None) -> None:
    """Change the details that are given; the others stay. An empty --organisation clears it.

    \b
    Example:
      hoster client edit acme --email ops@acme.example
    """
    from hoster.acts import clients

    details = {field: value or None for field, value in fields.items() if value is not None}
    edited = _common.act(clients.edit, name=name, details=details, dry_run=dry_run)
    if as_json:
        _common.print_json(edited.as_json())
    else:
        what = ", ".join(edited.changed) or "nothing"
        _common.say(f"{'Dry run: would change' if dry_run else 'Changed'} {what} of {name}.")


@client.command()
@click.argument("name", required=False)
@_common.as_json
def show(name: str | None, as_json: bool) -> None:
    """Show one client, or all.

    \b
    Examples:
      hoster client show
      hoster client show acme --json
    """
    with _common.ledger() as ledger:
        found = [ledger.clients.named(name)] if name else ledger.clients.all()
    rows = [known.model_dump() for known in found]
    if as_json:
        _common.print_json({"clients": rows})
    else:
        columns = ["name", *_FIELDS]
        _common.print_table(columns, [[row[column] or "" for column in columns] for row in rows])
