"""The modules of envoy-data-plane that build our configuration, under short names.

Imported in this one place because its generated code warns at import (a pydantic spelling it has not followed yet), and because
it belongs to an extra: ImportError where `headrace[stack]` is not installed.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
    from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
    from envoy_data_plane.envoy.config.cluster import v3 as cluster
    from envoy_data_plane.envoy.config.common.mutation_rules import v3 as mutation
    from envoy_data_plane.envoy.config.core import v3 as core
    from envoy_data_plane.envoy.config.endpoint import v3 as endpoint
    from envoy_data_plane.envoy.config.listener import v3 as listener
    from envoy_data_plane.envoy.config.route import v3 as route
    from envoy_data_plane.envoy.extensions.access_loggers.filters.cel import v3 as cel
    from envoy_data_plane.envoy.extensions.access_loggers.grpc import v3 as grpc_log
    from envoy_data_plane.envoy.extensions.common.matching import v3 as matching
    from envoy_data_plane.envoy.extensions.content_parsers.json import v3 as json_parser
    from envoy_data_plane.envoy.extensions.filters.common.matcher.action import v3 as match_action
    from envoy_data_plane.envoy.extensions.filters.http.ext_proc import v3 as ext_proc
    from envoy_data_plane.envoy.extensions.filters.http.json_to_metadata import v3 as json_filter
    from envoy_data_plane.envoy.extensions.filters.http.router import v3 as router
    from envoy_data_plane.envoy.extensions.filters.http.sse_to_metadata import v3 as sse_filter
    from envoy_data_plane.envoy.extensions.filters.http.upstream_codec import v3 as upstream_codec
    from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
    from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation import v3 as early_mutation
    from envoy_data_plane.envoy.extensions.load_balancing_policies.least_request import v3 as least_request
    from envoy_data_plane.envoy.extensions.load_balancing_policies.override_host import v3 as override_host
    from envoy_data_plane.envoy.extensions.matching.common_inputs.network import v3 as match_inputs
    from envoy_data_plane.envoy.extensions.matching.input_matchers.metadata import v3 as metadata_matcher
    from envoy_data_plane.envoy.extensions.retry.host.previous_hosts import v3 as previous_hosts
    from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls
    from envoy_data_plane.envoy.extensions.upstreams.http import v3 as http
    from envoy_data_plane.envoy.type.matcher import v3 as value_matcher
    from envoy_data_plane.envoy.type.metadata import v3 as metadata_key
    from envoy_data_plane.google import protobuf as wrappers
    from envoy_data_plane.google.protobuf import Any as PackedAny
    from envoy_data_plane.google.protobuf import Struct
    from envoy_data_plane.message_pool import default_message_pool as message_pool
    from envoy_data_plane.xds.core import v3 as xds_core
    from envoy_data_plane.xds.type.matcher import v3 as xds_matcher

__all__ = [
    "PackedAny",
    "Struct",
    "accesslog",
    "bootstrap",
    "cel",
    "cluster",
    "core",
    "early_mutation",
    "endpoint",
    "ext_proc",
    "grpc_log",
    "hcm",
    "http",
    "json_filter",
    "json_parser",
    "least_request",
    "listener",
    "match_action",
    "match_inputs",
    "matching",
    "message_pool",
    "metadata_key",
    "metadata_matcher",
    "mutation",
    "override_host",
    "previous_hosts",
    "route",
    "router",
    "sse_filter",
    "tls",
    "upstream_codec",
    "value_matcher",
    "wrappers",
    "xds_core",
    "xds_matcher",
]
