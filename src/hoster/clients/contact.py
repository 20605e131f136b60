"""Who rents: a client's contact details, valid or refused with every reason. Contract: C7.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

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

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

LANGUAGES = ("fr", "en")
LONGEST_TEXT = 200


def _email(address: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    try:
        # Documentation domains (RFC 2606) are what the lab and the examples use. A local part
        # beyond ASCII needs SMTPUTF8 on every server on the way: codes sent there get lost.
        found = validate_email(
            address, check_deliverability=False, test_environment=True, allow_smtputf8=False
        )
    except EmailNotValidError as error:
        raise ValueError(f"{error} One is ada@example.org") from error
    return str(found.ascii_email)


def _country(code: str) -> str:
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    known = {region for regions in COUNTRY_CODE_TO_REGION_CODE.values() for region in regions}
    if code not in known - {"001"}:
        raise ValueError(f"«{code}» is no ISO 3166-1 alpha-2 country; one is FR")
    return code


def _one_line(text: str) -> str:
    text = text.replace("\u00a0", " ").replace("\u202f", " ")
    if not text:
        raise ValueError("is empty")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"is longer than {LONGEST_TEXT} characters")
    if not text.isprintable():
        raise ValueError("holds a line break or another character that cannot be printed")
    return text


Text = Annotated[str, AfterValidator(_one_line)]


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
        if "country" not in info.data and not phone.startswith("+"):
            raise ValueError("needs a valid country, or the form +33199001234")
        return _e164(phone, info.data.get("country"))


def _e164(phone: str, country: str | None) -> str:
    import phonenumbers

    try:
        number = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException as error:
        raise ValueError(f"«{phone}» is no telephone number; one is +33199001234") from error
    if not phonenumbers.is_valid_number(number):
        place = "" if phone.startswith("+") or country is None else f" in {country}"
        raise ValueError(f"«{phone}» is a number that nobody can have{place}")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _reason(fault: ErrorDetails) -> str:
    """Name the option as it is typed, and say what is wrong with it."""
    field = ".".join(str(part) for part in fault["loc"])
    option = "name" if field == "name" else f"--{field.replace('_', '-')}"
    if fault["type"] == "missing":
        return f"{option}: is missing"
    if fault["type"] == "string_pattern_mismatch":
        allowed = "small letters, digits and -, from a letter on, 31 at most, no - at the end"
        return f"{option}: «{fault['input']}» is not a name; one has {allowed}"
    if fault["type"] == "literal_error":
        return f"{option}: «{fault['input']}» is none of {', '.join(LANGUAGES)}"
    return f"{option}: {fault['msg'].removeprefix('Value error, ')}"


def client_of(fields: dict[str, Any]) -> Client:
    """Validate a client's details.

    Raises:
        ConfigurationError: with every reason, one a line, each naming the option.
    """
    try:
        return Client.model_validate(fields)
    except ValidationError as error:
        reasons = [_reason(fault) for fault in error.errors()]
        raise ConfigurationError(
            f"the contact details of {fields.get('name')} are not valid (C7.1):\n"
            + "\n".join(f"  {reason}" for reason in reasons),
            remedy="Give what is missing or mend what is wrong; nothing was written.",
        ) from error
