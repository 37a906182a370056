"""Headrace for gateways whose Envoy is configured by a control plane: the same parts, as their patch resources."""

from collections.abc import Iterator
from typing import Any, Final

from headrace.ext_proc.envoy.config.access_log import access_log
from headrace.ext_proc.envoy.config.filters import own_headers_removed, processing_filter
from headrace.ext_proc.envoy.config.local_replies import replies_to_calls
from headrace.ext_proc.envoy.config.names import BODY_LIMIT, ROUTE_HEADER, UsageReader
from headrace.ext_proc.envoy.config.network import service_cluster
from headrace.ext_proc.envoy.config.routes import response_headers
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.config.tree import Tree, tree
from headrace.ext_proc.envoy.config.usage import json_usage_filter, sse_usage_filter

MANAGER: Final = "envoy.filters.network.http_connection_manager"
MANAGER_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
MESSAGE_TIMEOUT: Final = 5.0
MANAGERS: Final = f"$..filters[?(@.name == '{MANAGER}')].typed_config"
"""In whichever filter chains a listener has: one without a match for HTTP, one to each host for HTTPS."""
ROUTERS: Final = f"{MANAGERS}.http_filters[?(@.name == 'envoy.filters.http.router')]"


def http_filters() -> list[Tree]:
    """In the order of the chain; the router comes after them."""
    return [tree(processing_filter(MESSAGE_TIMEOUT)), tree(json_usage_filter()), tree(sse_usage_filter())]


def replies() -> list[Tree]:
    """Mappers of what Envoy refuses because of Headrace."""
    return [tree(mapper) for mapper in replies_to_calls()]


def table_headers() -> Tree:
    """What a route configuration has to do with headers."""
    return {
        "request_headers_to_remove": [ROUTE_HEADER],
        "response_headers_to_add": [tree(option) for option in response_headers()],
    }


def istio(service: Address, namespace: str, labels: dict[str, str]) -> Tree:
    """An EnvoyFilter for the gateway pods with these labels."""
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "headrace", "namespace": namespace},
        "spec": {"workloadSelector": {"labels": labels}, "configPatches": list(_istio_patches(service))},
    }


def _istio_patches(service: Address) -> Iterator[Tree]:
    """The service reads the answers. Istio's proxy is built without what reads usage natively (bazel/extension_config of its
    sources), and refuses a listener that names it.
    """
    yield _istio_patch("CLUSTER", {}, "ADD", tree(service_cluster((service,))))
    at_router = {"filter": {"name": MANAGER, "subFilter": {"name": "envoy.filters.http.router"}}}
    processing = tree(processing_filter(MESSAGE_TIMEOUT, usage=UsageReader.SERVICE))
    yield _istio_patch("HTTP_FILTER", {"listener": {"filterChain": at_router}}, "INSERT_BEFORE", processing)
    manager = {"early_header_mutation_extensions": [tree(own_headers_removed())], "local_reply_config": {"mappers": replies()}}
    typed = {"typed_config": {"@type": MANAGER_TYPE, **manager}}
    yield _istio_patch("NETWORK_FILTER", {"listener": {"filterChain": {"filter": {"name": MANAGER}}}}, "MERGE", typed)
    yield _istio_patch("LISTENER", {}, "MERGE", {"per_connection_buffer_limit_bytes": BODY_LIMIT})
    yield _istio_patch("ROUTE_CONFIGURATION", {}, "MERGE", table_headers())


def _istio_patch(apply_to: str, match: Tree, operation: str, value: Any) -> Tree:
    return {
        "applyTo": apply_to,
        "match": {"context": "GATEWAY", **match},
        "patch": {"operation": operation, "value": value},
    }


def envoy_gateway(service: Address, gateway: str, listener: str) -> Tree:
    """An EnvoyPatchPolicy for one listener (`namespace/gateway/name`) of a Gateway of this name."""
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyPatchPolicy",
        "metadata": {"name": "headrace"},
        "spec": {
            "targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway},
            "type": "JSONPatch",
            "jsonPatches": list(_json_patches(service, listener)),
        },
    }


def _json_patches(service: Address, listener: str) -> Iterator[Tree]:
    """Lists grow, none is replaced: Envoy Gateway makes what is missing on the way to an item (internal/utils/jsonpatch), and JSON
    Patch puts an item in front of the one that is named.
    """
    cluster = tree(service_cluster((service,)))
    yield _json_patch("cluster.v3.Cluster", cluster["name"], {"path": ""}, cluster)
    for http_filter in http_filters():  # each one is put right before the router, and so behind the one before it
        yield _json_patch("listener.v3.Listener", listener, {"jsonPath": ROUTERS}, http_filter)
    parts = [("/access_log/-", tree(access_log())), ("/early_header_mutation_extensions/0", tree(own_headers_removed()))]
    parts += [("/local_reply_config/mappers/-", mapper) for mapper in replies()]
    for path, part in parts:
        yield _json_patch("listener.v3.Listener", listener, {"jsonPath": MANAGERS, "path": path}, part)
    yield _json_patch("listener.v3.Listener", listener, {"path": "/per_connection_buffer_limit_bytes"}, BODY_LIMIT)
    for name, values in table_headers().items():
        for value in values:
            yield _json_patch("route.v3.RouteConfiguration", listener, {"path": f"/{name}/-"}, value)


def _json_patch(kind: str, name: str, where: dict[str, str], value: Any) -> Tree:
    operation = {"op": "add", **where, "value": value}
    return {"type": f"type.googleapis.com/envoy.config.{kind}", "name": name, "operation": operation}
