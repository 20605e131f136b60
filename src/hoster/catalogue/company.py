"""Who the hosting company is, and how its mail leaves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hoster.catalogue.values import Value


class Smtp(Value):
    """The mail server that takes the company's mail."""

    host: str
    port: Annotated[int, Field(gt=0, le=65535)] = 587
    starttls: bool = True
    user: str | None = None
    password_file: str | None = None


class Company(Value):
    """Who signs the mails."""

    name: str
    mail_from: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
    support_url: Annotated[str, Field(pattern=r"^https://.+")]
    smtp: Smtp
