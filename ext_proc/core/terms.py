"""What a settlement must know of an exchange, wherever it takes place and under whichever policy: one compact string.

It goes out with the request, as the gateway's metadata, and comes back with its access log. One string costs the gateway and
us a fifth of what a key for each of its members does.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.facts import ASKED, ESTIMATED, MODEL, Fact
from headrace.ext_proc.core.ledger import AMOUNT_MAX
from headrace.ext_proc.core.price import Price, is_price
from headrace.ext_proc.core.principal import ANONYMOUS, MAX_PART, PRINCIPAL
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.traceparent import FORM, traceparent_of
from headrace.ext_proc.core.usage import Usage

MAX_MODEL = 200
"""Characters of a model's name; what a client asks for is cut there."""

PRICE: Fact[Price] = Fact("price")
"""What a token of this exchange costs."""
RESERVED: Fact[Usage] = Fact("reserved")
"""What budgets hold for this exchange, in a lease of its id: the most it may use."""
KEEPS_RESERVED: Fact[bool] = Fact("keeps_reserved")
"""A stream that ends without usage costs what was reserved, also where its words passed through here and can be counted."""

SIZES_STREAMS: Fact[bool] = Fact("sizes_streams")
"""A stream that ends without usage, and that nobody here reads, costs what its size says: see StreamSizes."""

Part = Annotated[str, Meta(min_length=1, max_length=MAX_PART)]
Name = Annotated[str, Meta(max_length=MAX_MODEL)]
Tokens = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]


class Terms(Struct, frozen=True, array_like=True, omit_defaults=True):
    """asked: the model's name as the client wrote it. model: the catalogue's entry. reserved: prompt and answer; None: no lease.

    estimated: tokens of the prompt before correction; None where they were counted exactly, or not at all.
    sized: without usage the answer costs what its size says.
    """

    version: Literal[1]
    organisation: Part
    team: Part | None
    app: Part | None
    user: Part | None
    key: Part | None
    asked: Name
    model: Name | None
    endpoint: Endpoint
    stream: bool
    reserved: tuple[Tokens, Tokens] | None
    price: Price | None
    traceparent: Annotated[str, Meta(pattern=f"^(?:{FORM})$")] | None
    estimated: Tokens | None = None
    sized: bool = False

    @property
    def most(self) -> Usage | None:
        """The reserved usage."""
        return None if self.reserved is None else Usage(*self.reserved)

    @property
    def members(self) -> dict[str, Any]:
        """For records; absent values are left out."""
        found: dict[str, Any] = {"organisation": self.organisation, "endpoint": self.endpoint._value_, "stream": self.stream}
        for name in _RECORDED:
            if value := getattr(self, name):
                found[name] = value
        return found


_RECORDED = ("team", "app", "user", "key", "asked", "model", "traceparent", "estimated")


def terms_of(request: Request) -> Terms:
    """The terms of a request on one of the endpoints, as its facts are by now."""
    assert request.endpoint is not None, "other paths are not settled"
    facts = request.facts
    call = request.call if request.document is not None else None
    principal = facts.get(PRINCIPAL) or ANONYMOUS
    reserved = facts.get(RESERVED)
    return Terms(
        version=1,
        organisation=principal.organisation,
        team=principal.team,
        app=principal.app,
        user=principal.user,
        key=principal.key,
        asked=(facts.get(ASKED) or call.model)[:MAX_MODEL] if call else "",
        model=facts.get(MODEL),
        endpoint=request.endpoint,
        stream=bool(call and call.stream),
        reserved=None if reserved is None else (reserved.input_tokens, reserved.output_tokens),
        price=facts.get(PRICE),
        traceparent=traceparent_of(request.headers),
        estimated=facts.get(ESTIMATED),
        sized=facts.get(SIZES_STREAMS) is True and call is not None and call.stream,
    )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Terms).decode


def written(terms: Terms) -> str:
    """Compact JSON."""
    return _encode(terms).decode()


def read(text: Any) -> Terms | None:
    """The other direction; None for anything that this version has not written, or could not have."""
    if not isinstance(text, str):
        return None
    try:
        terms = _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return terms if terms.price is None or is_price(terms.price) else None
