"""``hoster outbox``: which mails are due, sent, refused."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.ledger import Mail
    from hoster.mail.outbox import Report


@click.group(invoke_without_command=True)
@_common.as_json
@click.pass_context
def outbox(ctx: click.Context, as_json: bool) -> None:
    """List the mails, without their text; send those that are due.

    \b
    Examples:
      hoster outbox
      hoster outbox send        # a timer runs this every minute: docs/mail.md
      hoster outbox retry 17
    """
    if ctx.invoked_subcommand is not None:
        return
    with _common.ledger() as ledger:
        rows = [_row(mail) for mail in ledger.outbox.mails()]
    if as_json:
        _common.print_json({"mails": rows})
    else:
        columns = list(rows[0]) if rows else ["id"]
        _common.print_table(columns, [list(row.values()) for row in rows])


def _row(mail: Mail) -> dict[str, Any]:
    return {
        "id": mail.id,
        "occasion": mail.occasion,
        "client": mail.client,
        "state": mail.state,
        "attempts": mail.attempts,
        "queued_at": mail.queued_at.isoformat(timespec="seconds"),
        "next_attempt_at": mail.next_attempt_at.isoformat(timespec="seconds"),
        "last_error": mail.last_error or "",
    }


@outbox.command()
@_common.as_json
def send(as_json: bool) -> None:
    """Send every mail that is due.

    \b
    Example:
      hoster outbox send

    \b
    Exit codes: 0 nothing is left over; 4 the mail server did not take something.
    """
    from hoster.errors import ExitCode
    from hoster.mail.outbox import send_due

    with _common.ledger() as ledger:
        report = send_due(ledger, _common.catalogue().company, _common.clock)
    if as_json:
        _common.print_json(vars(report))
    else:
        _tell(report)
    if report.later or report.failed:
        sys.exit(ExitCode.RESOURCE)


def _tell(report: Report) -> None:
    _common.say(f"{len(report.sent)} sent, {len(report.later)} later, {len(report.failed)} failed")
    for occasion, reason in (report.later | report.failed).items():
        _common.say(f"  {occasion}: {reason}")


@outbox.command()
@click.argument("mail_id", type=int)
@_common.as_json
def retry(mail_id: int, as_json: bool) -> None:
    """Put a mail that failed, or waits, at the head of the queue.

    \b
    Example:
      hoster outbox retry 17 && hoster outbox send
    """
    with _common.ledger() as ledger:
        mail = ledger.outbox.retry(mail_id, _common.clock())
    if as_json:
        _common.print_json({"id": mail.id, "state": mail.state})
    else:
        _common.say(f"Mail {mail.id} ({mail.occasion}) is due now. Next: hoster outbox send")
