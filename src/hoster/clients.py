"""Who rents: a client's contact details, valid or refused with every reason. Contract: C7.1."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from hoster.catalogue import NAME
from hoster.errors import ConfigurationError

LANGUAGES = ("fr", "en")


def _email(address: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    try:
        # Documentation domains (RFC 2606) are what the lab and the examples use.
        return validate_email(address, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error


def _country(code: str) -> str:
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    known = {region for regions in COUNTRY_CODE_TO_REGION_CODE.values() for region in regions}
    if code not in known - {"001"}:
        raise ValueError(f"«{code}» is no ISO 3166-1 alpha-2 country; one is FR")
    return code


Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\r\n\t]*\S[^\r\n\t]*$")]


class Client(BaseModel):
    """A client's contact details.

    ``phone`` is stored in E.164 (``+33199001234``); it may be given as people write it in
    ``country``. ``language`` is the one of the client's mails.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    name: Annotated[str, Field(pattern=NAME)]
    last_name: Text
    first_name: Text
    organisation: Text | None = None
    street: Text
    postal_code: Text
    city: Text
    country: Annotated[str, AfterValidator(_country)]
    phone: str
    email: Annotated[str, AfterValidator(_email)]
    language: Literal["fr", "en"] = "fr"

    @field_validator("phone")
    @classmethod
    def _phone_in_e164(cls, phone: str, info: ValidationInfo) -> str:
        return _e164(phone, str(info.data.get("country", "")))


def _e164(phone: str, country: str) -> str:
    import phonenumbers

    try:
        number = phonenumbers.parse(phone, country or None)
    except phonenumbers.NumberParseException as error:
        raise ValueError(f"«{phone}» is no telephone number of {country}") from error
    if not phonenumbers.is_valid_number(number):
        raise ValueError(f"«{phone}» is not assigned to anybody in {country}")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def client_of(fields: dict[str, Any]) -> Client:
    """Validate a client's details.

    Raises:
        ConfigurationError: with every reason, one a line, each naming the field.
    """
    try:
        return Client.model_validate(fields)
    except ValidationError as error:
        reasons = [
            f"{'.'.join(str(part) for part in fault['loc'])}: "
            f"{fault['msg'].removeprefix('Value error, ')}".removeprefix(": ")
            for fault in error.errors()
        ]
        raise ConfigurationError(
            f"the contact details of {fields.get('name')} are not valid (C7.1):\n"
            + "\n".join(f"  {reason}" for reason in reasons),
            remedy="Give what is missing or mend what is wrong; nothing was written.",
        ) from error
