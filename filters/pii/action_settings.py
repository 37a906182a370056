"""What a policy may say is done with findings: one word for all of them, or an action for each entity."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from headrace.ext_proc.engine.policy.values import Matching, Name, word_or_list

Entity = Annotated[str, Matching("[A-Z][A-Z0-9_]{1,63}", "a name in capitals, such as EMPLOYEE_ID")]
Word = Literal["replace", "redact", "mask", "hash", "block", "report", "off"]
Upstreams = Annotated[Annotated[Name, Tag("word")] | Annotated[tuple[Name, ...], Field(min_length=1), Tag("list")], word_or_list()]

ACTIONS = (
    "replace: a placeholder such as <EMAIL_ADDRESS_k3f9q2ma>, the same one for the same value. redact: the entity's name, "
    "<EMAIL_ADDRESS>. mask: a star for every character; {mask: 4} leaves the last four. hash: <EMAIL_ADDRESS#9f86d081884c7d65>, "
    "keyed for each organisation. block: refused. {route: local}: left as it is, and the request goes to that upstream alone. "
    "report: only recorded. off: not a finding."
)


class Mask(BaseModel):
    """Stars, but for the last characters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mask: Annotated[int, Field(ge=0, le=32)] = Field(description="Characters at the end that stay; never more than half of them.")


class Route(BaseModel):
    """The request goes to these upstreams alone, with the finding in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: Upstreams = Field(description="The upstream, or several, that a request with such a finding may go to.")

    @property
    def upstreams(self) -> frozenset[str]:
        return frozenset((self.route,) if isinstance(self.route, str) else self.route)


def _tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "word"
    if isinstance(value, Mask) or (isinstance(value, Mapping) and "mask" in value):
        return "mask"
    if isinstance(value, Route) or (isinstance(value, Mapping) and "route" in value):
        return "route"
    return "each" if isinstance(value, Mapping | BaseModel) else None


_WORDS = "replace, redact, mask, hash, block, report, off, {mask: <characters>} or {route: <upstream>}"
_one = Discriminator(_tag, custom_error_type="one_of", custom_error_message=f"must be one of {_WORDS}")
_all = Discriminator(
    _tag, custom_error_type="one_of", custom_error_message=f"must be one of {_WORDS}, or entities with one of them each"
)
Action = Annotated[Annotated[Word, Tag("word")] | Annotated[Mask, Tag("mask")] | Annotated[Route, Tag("route")], _one]
Each = dict[Literal["default"] | Entity, Action]
Actions = Annotated[
    Annotated[Word, Tag("word")]
    | Annotated[Mask, Tag("mask")]
    | Annotated[Route, Tag("route")]
    | Annotated[Each, Field(min_length=1), Tag("each")],
    _all,
]
