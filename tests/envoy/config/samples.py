"""Bootstraps as other people write them."""

EDGE = """\
# Our edge.
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 9901}}

static_resources:
  # Everything listens here.
  listeners:
  - name: edge   # public
    address:
      socket_address: {address: 127.0.0.1, port_value: 0}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: 'edge'
          http_filters:
          # Compress what goes to browsers.
          - name: envoy.filters.http.compressor
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
              compressor_library:
                name: gzip
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
          # The router is last.
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route: {cluster: llm, timeout: 0s}
  # The pools.
  clusters:
  - name: llm
    type: STATIC
    load_assignment:
      cluster_name: llm
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 9000}}}
  # The end of the clusters.

# Statistics.
stats_config:
  use_all_default_tags: true
"""

ROUTES = """
              route_config:
                virtual_hosts:
                  - name: all
                    domains: ['*']
                    routes:
                      - match: {prefix: /}
                        direct_response: {status: 200}
"""


def manager(filters: str, routes: str = ROUTES, prefix: str = "x") -> str:
    """A network filter, as an item of a list at column 10."""
    return f"""\
          - name: envoy.filters.network.http_connection_manager
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
              stat_prefix: {prefix}
              http_filters:
{filters}{routes}"""


def listener(name: str, *network_filters: str) -> str:
    """A listener, as an item of a list at column 4."""
    return f"""\
    - name: {name}
      address:
        socket_address: {{address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - filters:
{"".join(network_filters)}"""


def bootstrap(*listeners: str) -> str:
    return "static_resources:\n  listeners:\n" + "".join(listeners)


def http_filter(kind: str, message: str, more: str = "") -> str:
    """An HTTP filter, as an item of a list at column 16."""
    return f"""\
                - name: envoy.filters.http.{kind}
                  typed_config:
                    '@type': type.googleapis.com/envoy.extensions.filters.http.{kind}.v3.{message}
{more}"""


ROUTER = http_filter("router", "Router")
TCP = """\
          - name: envoy.filters.network.echo
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}
"""
