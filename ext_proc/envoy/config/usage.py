"""Usage without seeing the answer: Envoy's own filters read it from JSON and from events into the metadata `headrace.usage`."""

from collections.abc import Iterable, Mapping
from typing import Final

from headrace.ext_proc.envoy.config.names import JSON_FILTER, MAX_EVENT, NAMESPACE, SETTLE_KEY, SSE_FILTER, USAGE_NAMESPACE
from headrace.ext_proc.envoy.config.stubs import (
    PackedAny,
    core,
    hcm,
    json_filter,
    json_parser,
    match_action,
    match_inputs,
    matching,
    metadata_matcher,
    sse_filter,
    value_matcher,
    xds_core,
    xds_matcher,
)

CHAT: Final[Mapping[str, str]] = {
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "prompt_tokens_details.cached_tokens": "cached_tokens",
    "completion_tokens_details.reasoning_tokens": "reasoning_tokens",
}
"""Path below a `usage` object → key of the usage namespace: OpenAI's chat, completions and embeddings."""

RESPONSES: Final[Mapping[str, str]] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "input_tokens_details.cached_tokens": "cached_tokens",
    "output_tokens_details.reasoning_tokens": "reasoning_tokens",
}

MESSAGES: Final[Mapping[str, str]] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_input_tokens",
    "cache_creation_input_tokens": "cache_creation_input_tokens",
    "cache_creation.ephemeral_1h_input_tokens": "cache_creation_1h_input_tokens",
    "service_tier": "service_tier",
}
"""Anthropic's. Its cached tokens are counted beside `input_tokens`, OpenAI's within them: hence keys of their own."""

JSON_CONTENT_TYPE: Final = r"(?i)application/json\s*(;.*)?"
"""`allow_content_types` compares the whole value, so that `application/json; charset=utf-8` would go unread."""

_TIER: Final = {"service_tier": "service_tier"}
"""OpenAI says beside `usage` which tier served the request; Anthropic within."""

IN_ANSWER: Final = (("usage", {**CHAT, **RESPONSES, **MESSAGES}), ("", _TIER))
_STARTED: Final = {name: key for name, key in MESSAGES.items() if name != "output_tokens"}
"""Anthropic's `message_start`. Its count of the answer is of one that has only begun: read, it would pass for the whole answer's
when the caller hangs up before the `message_delta` at the end."""

IN_EVENTS: Final = (
    ("response.usage", RESPONSES),
    ("message.usage", _STARTED),
    ("usage", {**CHAT, **MESSAGES}),
    ("response", _TIER),
    ("", _TIER),
)
"""Path of an object, "" for the whole, → what to read from it."""


def json_usage_filter() -> hcm.HttpFilter:
    """Reads `usage` of a whole JSON answer, which Envoy buffers for it."""
    rules = json_filter.JsonToMetadataMatchRules(
        rules=list(_rules(IN_ANSWER)), allow_content_types_regex=value_matcher.RegexMatcher(regex=JSON_CONTENT_TYPE)
    )
    return _where_settled(JSON_FILTER, PackedAny.pack(json_filter.JsonToMetadata(response_rules=rules)))


def sse_usage_filter() -> hcm.HttpFilter:
    """Reads `usage` of every event that has one; the last one stands."""
    parser = json_parser.JsonContentParser(rules=[json_parser.JsonContentParserRuleConfig(rule=rule) for rule in _rules(IN_EVENTS)])
    rules = sse_filter.SseToMetadataProcessingRules(
        content_parser=core.TypedExtensionConfig(name="envoy.content_parsers.json", typed_config=PackedAny.pack(parser)),
        max_event_size=MAX_EVENT,
    )
    return _where_settled(SSE_FILTER, PackedAny.pack(sse_filter.SseToMetadata(response_rules=rules)))


def _where_settled(name: str, config: PackedAny) -> hcm.HttpFilter:
    """The filter for those requests whose usage the service wants.

    Envoy 1.40's sse_to_metadata dies of an event that is a JSON scalar (`data: 5`), so it must see model answers only; and
    json_to_metadata turns an answer over the buffer limit into a 500.
    """
    wrapped = matching.ExtensionWithMatcher(
        extension_config=core.TypedExtensionConfig(name=name, typed_config=config), xds_matcher=_skipped_unless_settled()
    )
    return hcm.HttpFilter(name=name, typed_config=PackedAny.pack(wrapped))


def _skipped_unless_settled() -> xds_matcher.Matcher:
    settled = xds_matcher.MatcherMatcherListPredicate(single_predicate=_has_settle_key())
    skip = xds_core.TypedExtensionConfig(name="skip", typed_config=PackedAny.pack(match_action.SkipFilter()))
    otherwise = xds_matcher.MatcherMatcherListFieldMatcher(
        predicate=xds_matcher.MatcherMatcherListPredicate(not_matcher=settled),
        on_match=xds_matcher.MatcherOnMatch(action=skip),
    )
    return xds_matcher.Matcher(matcher_list=xds_matcher.MatcherMatcherList(matchers=[otherwise]))


def _has_settle_key() -> xds_matcher.MatcherMatcherListPredicateSinglePredicate:
    key = match_inputs.DynamicMetadataInput(filter=NAMESPACE, path=[match_inputs.DynamicMetadataInputPathSegment(key=SETTLE_KEY)])
    present = metadata_matcher.Metadata(value=value_matcher.ValueMatcher(present_match=True))
    return xds_matcher.MatcherMatcherListPredicateSinglePredicate(
        input=xds_core.TypedExtensionConfig(name="envoy.matching.inputs.dynamic_metadata", typed_config=PackedAny.pack(key)),
        custom_match=xds_core.TypedExtensionConfig(
            name="envoy.matching.matchers.metadata_matcher", typed_config=PackedAny.pack(present)
        ),
    )


def _rules(places: Iterable[tuple[str, Mapping[str, str]]]) -> Iterable[json_filter.JsonToMetadataRule]:
    for place, members in places:
        for member, key in members.items():
            path = f"{place}.{member}" if place else member
            yield json_filter.JsonToMetadataRule(
                selectors=[json_filter.JsonToMetadataSelector(key=step) for step in path.split(".")],
                on_present=json_filter.JsonToMetadataKeyValuePair(metadata_namespace=USAGE_NAMESPACE, key=key),
            )
