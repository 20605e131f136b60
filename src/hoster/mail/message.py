"""A mail as it goes out: rendered from a template, handed to the company's mail server."""

from __future__ import annotations

import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoster.errors import ConfigurationError
from hoster.templates import render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from hoster.catalogue import Company, Smtp
    from hoster.clients.contact import Client

TIMEOUT_SECONDS = 30
_SUBJECT = "Subject: "


class MailNotTakenError(Exception):
    """The mail server did not take a mail; ``final`` where trying again is of no use.

    The reason is the server's answer, never the mail.
    """

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


def compose(
    template: str,
    *,
    client: Client,
    company: Company,
    values: Mapping[str, Any],
    message_id: str,
    date: datetime,
) -> EmailMessage:
    """Return the mail *template* in the client's language, as plain text.

    The template's first line is its subject. *message_id* stays the same over every attempt, so
    that a mail that was taken and not noted is recognised by the mail programs it comes to twice.
    """
    text = render(
        f"mail/{client.language}/{template}.txt.j2",
        first_name=client.first_name,
        last_name=client.last_name,
        company=company.name,
        support_url=company.support_url,
        language=client.language,
        **values,
    )
    subject, _, body = text.partition("\n")
    message = EmailMessage()
    # Not as text: a name of «é» and «<x@example.org>» would be read as somebody else's address.
    message["From"] = Address(company.name, addr_spec=company.mail_from)
    message["To"] = Address(f"{client.first_name} {client.last_name}", addr_spec=client.email)
    message["Subject"] = subject.removeprefix(_SUBJECT)
    message["Date"] = format_datetime(date)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body, cte="quoted-printable")
    # After the content, which drops the Content-* headers that were there.
    message["Content-Language"] = client.language
    return message


def send(message: EmailMessage, smtp: Smtp) -> None:
    """Hand *message* to the mail server.

    Raises:
        MailNotTakenError: it was out of reach, or said no.
        ConfigurationError: the file with the server's password cannot be read.
    """
    password = _password(smtp)
    try:
        with smtplib.SMTP(smtp.host, smtp.port, timeout=TIMEOUT_SECONDS) as server:
            if smtp.starttls:
                server.starttls(context=ssl.create_default_context())
            if smtp.user:
                server.login(smtp.user, password)
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = next(iter(error.recipients.values()))
        raise MailNotTakenError(_answer(code, answer), final=_is_final(code)) from None
    except smtplib.SMTPResponseException as error:
        final = _is_final(error.smtp_code) and not isinstance(
            error, smtplib.SMTPConnectError | smtplib.SMTPAuthenticationError
        )
        raise MailNotTakenError(_answer(error.smtp_code, error.smtp_error), final=final) from None
    except (OSError, smtplib.SMTPException) as error:
        reason = f"{smtp.host}:{smtp.port}: {error}"
        raise MailNotTakenError(reason, final=False) from None


def _is_final(code: int) -> bool:
    return 500 <= code < 600  # noqa: PLR2004 - RFC 5321: permanent negative completion


def _answer(code: int, text: bytes | str) -> str:
    readable = text.decode(errors="replace") if isinstance(text, bytes) else text
    return f"{code} {readable}"


def _password(smtp: Smtp) -> str:
    if not smtp.user:
        return ""
    if smtp.password_file is None:
        raise ConfigurationError(
            "company.smtp names a user and no password_file",
            remedy="Add password_file to inventory/group_vars/all/company.yml.",
        )
    try:
        return Path(smtp.password_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{smtp.password_file}: {error.strerror}") from error
