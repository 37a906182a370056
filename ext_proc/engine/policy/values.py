"""The scalar values of a policy document, and the choices between shapes; each says in words what would be right."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# Long enough for any vendor's model name; a bound keeps names usable as metric labels and store keys.
MAX_NAME = 200

PrincipalField = Literal["organisation", "team", "app", "user", "key"]
Dimension = Literal["organisation", "team", "app", "user", "key", "model"]
CalendarWindow = Literal["minute", "hour", "day", "week", "month"]
Encoding = Literal["cl100k_base", "o200k_base", "o200k_harmony", "qwen3.5"]


@dataclass(frozen=True)
class Matching:
    """Marks a string that must match `pattern` as a whole; `right` says in words what does."""

    pattern: str
    right: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^({self.pattern})$"}

    def _check(self, value: str) -> str:
        if re.fullmatch(self.pattern, value) is None:
            raise PydanticCustomError("pattern", "{shown} is not {right}", {"shown": repr(value), "right": self.right})
        return value


def by_key(*keys: str) -> Discriminator:
    """Chooses between mappings by the one of `keys` that each holds."""

    def key_of(value: Any) -> str | None:
        present = value if isinstance(value, Mapping) else getattr(value, "__pydantic_fields_set__", ())
        found = [key for key in keys if key in present]
        return found[0] if len(found) == 1 else None

    message = f"must be a mapping with exactly one of {', '.join(keys)}"
    return Discriminator(key_of, custom_error_type="one_of", custom_error_message=message)


def word_or_mapping(message: str) -> Discriminator:
    """Chooses between a string (tag "word") and a mapping (tag "mapping"); `message` says what would be right."""

    def tag_of(value: Any) -> str | None:
        if isinstance(value, str):
            return "word"
        return "mapping" if isinstance(value, Mapping | BaseModel) else None

    return Discriminator(tag_of, custom_error_type="one_of", custom_error_message=message)


def word_or_list() -> Discriminator:
    """Chooses between a string (tag "word") and a list (tag "list")."""

    def tag_of(value: Any) -> str | None:
        if isinstance(value, str):
            return "word"
        return "list" if isinstance(value, list | tuple) else None

    return Discriminator(tag_of, custom_error_type="one_of", custom_error_message="must be a string or a list of strings")


def _http_url(url: str) -> str:
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        raise PydanticCustomError("pattern", "the port of {shown} is none of 1 to 65535", {"shown": repr(url)})
    return url


def _ip_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        port = "0"
    if not 0 < int(port) < 2**16:
        raise PydanticCustomError("pattern", "{shown} is no ip:port", {"shown": repr(text)})
    return text


def _as_written(value: Any) -> Any:
    """Numbers as the decimals they were written as: 0.1 is a tenth. Text is no number, as the JSON Schema says."""
    if isinstance(value, str | bool):
        raise PydanticCustomError("decimal_type", "")
    return Decimal(repr(value)) if isinstance(value, int | float) else value


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = "{shown} is no time zone, such as UTC or Europe/Berlin"
        raise PydanticCustomError("pattern", message, {"shown": repr(name)}) from None
    return name


def _day(text: str) -> str:
    try:
        if len(text) != len("2026-12-31"):
            raise ValueError
        date.fromisoformat(text)
    except ValueError:
        raise PydanticCustomError("pattern", "{shown} is no day, such as 2026-12-31", {"shown": repr(text)}) from None
    return text


TimeZone = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_time_zone)]
Day = Annotated[str, AfterValidator(_day), WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"})]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
FileName = Annotated[str, Field(min_length=1, max_length=4096)]
Identifier = Annotated[
    str, Matching(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", "a name of 1 to 63 characters a-z, 0-9, _ and - (not first or last)")
]
ClaimPath = Annotated[
    str, Field(max_length=MAX_NAME), Matching(r"[^.\s]+(\.[^.\s]+)*", "a path of members and list positions, such as groups.0")
]
HeaderName = Annotated[str, Matching(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}", "the name of a header in lower case")]
PathGlob = Annotated[
    str,
    Field(max_length=1024),
    Matching(
        r"[A-Z]{1,20} (/|(/(?!\.)[A-Za-z0-9._~:@!$&'()*+,=\[\]-]+)+)",
        "a method and a path, such as GET /v1/models or GET /v1/models/*",
    ),
]
HttpUrl = Annotated[
    str,
    Field(max_length=2048),
    Matching(
        r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#]*)?",
        "an http:// or https:// URL of host, port and path (no credentials, query or fragment)",
    ),
    AfterValidator(_http_url),
]
IpPort = Annotated[
    str,
    Matching(r"([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", "an ip:port, such as 10.0.0.7:8000 or [fd00::7]:8000"),
    AfterValidator(_ip_port),
]
Tokens = Annotated[int, Field(ge=1, le=1_000_000_000_000)]
UsdPerMillion = Annotated[
    Decimal,
    Field(ge=0, le=1_000_000),
    BeforeValidator(_as_written, json_schema_input_type=Annotated[float, Field(ge=0, le=1_000_000)]),
]
Factor = Annotated[
    Decimal,
    Field(ge=0, le=100),
    BeforeValidator(_as_written, json_schema_input_type=Annotated[float, Field(ge=0, le=100)]),
]
Share = Annotated[
    Decimal,
    Field(gt=0, le=1),
    BeforeValidator(_as_written, json_schema_input_type=Annotated[float, Field(gt=0, le=1)]),
]
Usd = Annotated[
    Decimal,
    Field(gt=0, le=1_000_000_000),
    BeforeValidator(_as_written, json_schema_input_type=Annotated[float, Field(gt=0, le=1_000_000_000)]),
]
