"""What a policy says that works, and can hardly be meant: each rule yields the places, and what would be right."""

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Final

from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION
from headrace.ext_proc.engine.policy.callers import told
from headrace.ext_proc.engine.policy.catalogue import matcher
from headrace.ext_proc.engine.policy.models import Override, PolicyDocument, Price
from headrace.ext_proc.engine.policy.problems import Where

Found = Iterator[tuple[Where, str]]

CHEAPEST: Final = Decimal("0.001")
"""USD per million tokens; the cheapest embeddings cost three times as much."""
_EXPRESSION: Final = re.compile(r"\^.*|.*\$|.*\|.*", re.DOTALL)
_GLOB: Final = "{!r} is read as a glob (*, ?, [seq]), not as a regular expression; write a name, or a list of names"


def urls_leave_the_path_to_requests(document: PolicyDocument) -> Found:
    for name, upstream in document.upstreams.items():
        if upstream.url.rstrip("/").endswith("/v1"):
            message = "ends with /v1, which is part of the request's own path; write it without, or `headrace up` refuses it"
            yield ("upstreams", name, "url"), message


def prices_are_of_a_million(document: PolicyDocument) -> Found:
    for index, model in enumerate(document.models):
        if isinstance(model.price, Price):
            for name, amount in (("input", model.price.input), ("output", model.price.output)):
                if 0 < amount < CHEAPEST:
                    message = f"{amount:f} USD per million tokens is next to nothing; if it is the price of one token, write "
                    yield ("models", index, "price", name), f"{message}{(amount * 10**6).normalize():f}"


def callers_are_globs(document: PolicyDocument) -> Found:
    for index, override in enumerate(document.overrides):
        for field, value in override.when.items():
            for glob in (value,) if isinstance(value, str) else value:
                if _EXPRESSION.fullmatch(glob):
                    yield (("overrides", index, "when", field), _GLOB.format(glob))


def organisations_are_told(document: PolicyDocument) -> Found:
    """Callers of whom no source tells the organisation have the default one."""
    if not document.identity or "organisation" in told(document):
        return
    for index, override in enumerate(document.overrides):
        if not _concerns_the_default(override):
            message = "never reached: no source under identity tells the organisation, so that everybody's is"
            yield ("overrides", index, "when", "organisation"), f"{message} {DEFAULT_ORGANISATION!r}"


def _concerns_the_default(override: Override) -> bool:
    value = override.when.get("organisation", DEFAULT_ORGANISATION)
    return matcher((value,) if isinstance(value, str) else value)(DEFAULT_ORGANISATION)


def overrides_set_something(document: PolicyDocument) -> Found:
    for index, override in enumerate(document.overrides):
        for name, settings in override.set.items():
            if not settings:
                yield ("overrides", index, "set", name), "sets nothing; name a setting, or take this away"


def what_pii_does_not_read_is_listed(document: PolicyDocument) -> Found:
    """Prompts may lie in requests that are no LLM calls, too. Whoever writes `other_paths` has thought of them."""
    for index, entry in enumerate(document.filters):
        if "pii" in entry and "other_paths" not in document.model_fields_set:
            message = "requests that are no LLM calls (batches, files, audio) pass unread; say which may, "
            yield ("filters", index, "pii"), f"{message}other_paths: [GET /v1/models, GET /v1/models/*], or pass for all"


DOUBTS: Sequence[Callable[[PolicyDocument], Found]] = (
    urls_leave_the_path_to_requests,
    prices_are_of_a_million,
    callers_are_globs,
    organisations_are_told,
    overrides_set_something,
    what_pii_does_not_read_is_listed,
)
