"""What the gateways in front can do by themselves, and what of a policy a gateway could not carry out."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line shows the names of gateways before it reads a policy
    from headrace.ext_proc.engine.policy.models import PolicyDocument
    from headrace.ext_proc.engine.policy.problems import Where

Places = Iterator["Where"]


class Gateway(StrEnum):
    """Who calls the service, by the adapter it uses."""

    ENVOY = "envoy"
    APISIX = "apisix"
    APISIX_REQUEST_ONLY = "apisix-request-only"


def failover(document: "PolicyDocument") -> Places:
    for where, settings in _settings(document, "routing"):
        if settings.get("failover") is not None:
            yield (*where, "failover")


def servers(document: "PolicyDocument") -> Places:
    for name, upstream in document.upstreams.items():
        if upstream.servers:
            yield ("upstreams", name, "servers")


def credentials(document: "PolicyDocument") -> Places:
    for name, upstream in document.upstreams.items():
        if upstream.api_key is not None:
            yield ("upstreams", name, "api_key")


def dialects(document: "PolicyDocument") -> Places:
    for name, upstream in document.upstreams.items():
        if upstream.dialect is not None:
            yield ("upstreams", name, "dialect")


def other_names(document: "PolicyDocument") -> Places:
    for index, model in enumerate(document.models):
        for place, pool in enumerate(model.pools):
            if pool.model is not None:
                yield ("models", index, "pools", place, "model")


def answers(document: "PolicyDocument") -> Places:
    """Settings that have answers read, whatever the request is. Filters of others ask for themselves, request by request."""
    for where, settings in _settings(document, "pii"):
        if settings.get("response", "off") != "off":
            yield (*where, "response")
        if settings.get("restore", True) and "replace" in str(settings.get("request", "replace")):
            yield (*where, "restore")
    for name, setting, value in _READING:
        for where, settings in _settings(document, name):
            if settings.get(setting) == value:
                yield (*where, setting)


_READING = (("budget", "on_exhausted", "cut"), ("usage", "on_hang_up", "count"), ("usage", "usage_chunk", "remove"))


def _settings(document: "PolicyDocument", name: str) -> Iterator[tuple["Where", Mapping[str, Any]]]:
    """Every place with settings of the filter `name` that is not turned off there. An override has those of the chain beneath."""
    chain: Mapping[str, Any] = next((entry[name] for entry in document.filters if name in entry), {})
    for index, entry in enumerate(document.filters):
        if name in entry and entry[name].get("mode") != "off":
            yield ("filters", index, name), entry[name]
    for index, override in enumerate(document.overrides):
        merged = {**chain, **override.set.get(name, {})}
        if name in override.set and merged.get("mode") != "off":
            yield ("overrides", index, "set", name), merged


Feature = Callable[["PolicyDocument"], Places]

_ONE_UPSTREAM: Mapping[Feature, str] = {
    failover: "APISIX asks one upstream for each request; remove failover, or let ai-proxy-multi fall back by itself",
    servers: "APISIX picks the server of an upstream by itself; list them as nodes there, and remove servers and metrics here",
    credentials: "APISIX adds credentials by itself; name them in ai-proxy's auth, and remove api_key here",
    dialects: "APISIX translates by itself, by ai-proxy's provider; remove dialect here",
    other_names: "APISIX names models by itself, by ai-proxy's options.model; remove model from this pool",
}
_NO_ANSWERS: Mapping[Feature, str] = {
    answers: "the answer must be read, and in request-only mode the plugin gives none; turn request_only off, or this setting",
}

LACKS: Mapping[Gateway, Mapping[Feature, str]] = {
    Gateway.ENVOY: {},
    Gateway.APISIX: _ONE_UPSTREAM,
    Gateway.APISIX_REQUEST_ONLY: {**_ONE_UPSTREAM, **_NO_ANSWERS},
}
"""What each adapter cannot do: the reason, and what would be right."""


def beyond(document: "PolicyDocument", gateway: Gateway) -> Iterator[tuple["Where", str]]:
    """Where the policy asks for more than `gateway` can do."""
    for feature, reason in LACKS[gateway].items():
        for where in feature(document):
            yield where, f"not behind {gateway.value}: {reason}"
