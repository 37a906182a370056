"""Another upstream where one fails: candidates in the order the service gives, retries, and what is left out for a while."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from headrace.ext_proc.envoy.config.names import CANDIDATES_NAMESPACE
from headrace.ext_proc.envoy.config.priority_group import ClusterWeight, PriorityGroup, PriorityGroupClusterSpecifier
from headrace.ext_proc.envoy.config.settings import Failover, Upstream
from headrace.ext_proc.envoy.config.stubs import PackedAny, cluster, core, endpoint, route

RETRY_ON: Final = "5xx,reset,connect-failure,refused-stream,retriable-status-codes"
"""`reset` includes an attempt that has had its time. Nothing is retried once a byte of an answer has gone to the caller."""

NOBODY: Final = "127.0.0.1"
"""Together with port 0, on which nothing can listen: a connection there fails at once."""

ONE_OF_TWO: Final = 50
"""Percent of a cluster's endpoints that may be left out; the one at which nobody listens stays in."""


def candidates_of_route(first: Upstream, upstreams: Sequence[Upstream]) -> route.ClusterSpecifierPlugin:
    """One group an upstream. Envoy chooses the first attempt's before it stores the service's metadata, hence `first`; the further
    ones it takes from the metadata.
    """
    others = [upstream for upstream in upstreams if upstream is not first]
    groups = [
        PriorityGroup(name=upstream.name, clusters=[ClusterWeight(cluster_name=upstream.name, weight=1)])
        for upstream in (first, *others)
    ]
    plugin = PriorityGroupClusterSpecifier(priority_groups=groups, override_metadata_namespace=CANDIDATES_NAMESPACE)
    return route.ClusterSpecifierPlugin(
        extension=core.TypedExtensionConfig(
            name="envoy.router.cluster_specifier_plugin.priority_group", typed_config=PackedAny.pack(plugin)
        )
    )


def retry_policy(failover: Failover) -> route.RetryPolicy:
    """No retry by itself: the service says, with each request, how many upstreams may be asked."""
    return route.RetryPolicy(
        retry_on=RETRY_ON,
        retriable_status_codes=[429],
        num_retries=0,
        refresh_cluster_on_retry=True,
        per_try_idle_timeout=timedelta(seconds=failover.idle_timeout),
        retry_back_off=route.RetryPolicyRetryBackOff(
            base_interval=timedelta(milliseconds=1), max_interval=timedelta(milliseconds=10)
        ),
    )


def outlier_detection(failover: Failover) -> cluster.OutlierDetection:
    """Envoy's own measure: five answers of 5xx in a row; a connection or an attempt's time that failed counts as one."""
    pause = timedelta(seconds=failover.ejection)
    return cluster.OutlierDetection(
        interval=timedelta(seconds=1),
        base_ejection_time=pause,
        max_ejection_time=pause * 6,
        max_ejection_percent=ONE_OF_TWO,
    )


def nobody() -> endpoint.LocalityLbEndpoints:
    """Used while every endpoint of the upstream is left out: the attempt fails at once, and the next upstream is asked.

    Without it, Envoy would either ask those that are left out all the same, or answer 503 without asking anybody else.
    """
    address = core.Address(socket_address=core.SocketAddress(address=NOBODY, port_value=0))
    return endpoint.LocalityLbEndpoints(priority=1, lb_endpoints=[endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=address))])


def strictly_by_priority() -> endpoint.ClusterLoadAssignmentPolicy:
    """One endpoint that answers is enough to keep the traffic away from `nobody`."""
    return endpoint.ClusterLoadAssignmentPolicy(overprovisioning_factor=100_000)
