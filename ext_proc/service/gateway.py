"""What a policy asks of the gateway in front: its upstreams, failover between them, and calls at every attempt."""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.policy.models import Upstream as PolicyUpstream
from headrace.ext_proc.envoy.config.doctor import Wanted
from headrace.ext_proc.envoy.config.settings import Address, Failover, GatewaySettings, Upstream


def gateway_of(document: PolicyDocument, upstreams: Mapping[str, str] | None = None, **settings: Any) -> GatewaySettings:
    """The gateway that serves the policy. upstreams: name → URL instead of the policy's; settings: of GatewaySettings.

    Raises ValueError for settings or upstreams that no gateway can have.
    """
    named = upstreams or {name: upstream.url for name, upstream in document.upstreams.items()}
    servers = {name: tuple(map(Address.parse, upstream.servers)) for name, upstream in document.upstreams.items()}
    failovers = list(_failovers(document))
    return GatewaySettings(
        upstreams=tuple(Upstream(name=name, url=url, servers=servers.get(name, ())) for name, url in named.items()),
        failover=_failover(failovers),
        attempts=_calls_at_attempts(document, failovers),
        **settings,
    )


def wanted_of(document: PolicyDocument) -> Wanted:
    """What the policy asks of a gateway that somebody else has configured."""
    pools = {pool.upstream: None for model in document.models for pool in model.pools}
    attempts = {name: _at_attempts(upstream) for name, upstream in document.upstreams.items() if name in pools}
    return Wanted(tuple(pools), {name: what for name, what in attempts.items() if what}, bool(list(_failovers(document))))


def _at_attempts(upstream: PolicyUpstream) -> str:
    """What is missing where the service is not called at attempts; empty for nothing."""
    lacks = ["its credential is not put in"] if upstream.api_key else []
    return " and ".join(lacks + (["chats of the other dialect are not translated"] if upstream.dialect else []))


def _failovers(document: PolicyDocument) -> Iterator[Mapping[str, Any]]:
    """The routing filter's settings of that name, for anybody."""
    for entry in (*document.filters, *(override.set for override in document.overrides)):
        failover = entry.get("routing", {}).get("failover")
        if isinstance(failover, dict):
            yield failover


def _failover(failovers: list[Mapping[str, Any]]) -> Failover | None:
    """One route table serves all callers: the longest silence that any of them allows."""
    if not failovers:
        return None
    return Failover(idle_timeout=max(float(failover.get("idle_timeout", Failover().idle_timeout)) for failover in failovers))


def _calls_at_attempts(document: PolicyDocument, failovers: list[Mapping[str, Any]]) -> bool:
    """All upstreams or none: the attempts of a request share their headers, and so the credential that one of them has set."""
    upstreams = document.upstreams.values()
    others = any(pool.model for model in document.models for pool in model.pools)
    several = bool(failovers) and any(len(model.served_by) > 1 for model in document.models)
    if others or several or any(upstream.dialect or upstream.api_key for upstream in upstreams):
        return True
    paths = {Upstream(name=name, url=upstream.url).prefix for name, upstream in document.upstreams.items()}
    return (len(paths) > 1 and bool(failovers)) or any("first_token_timeout" in failover for failover in failovers)
