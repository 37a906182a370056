"""The server that the service has picked, among those of one upstream."""

from headrace.ext_proc.envoy.config.names import PICKED, PICKED_NAMESPACE, SERVED
from headrace.ext_proc.envoy.config.stubs import PackedAny, cluster, core, least_request, metadata_key, override_host


def picked_server() -> cluster.LoadBalancingPolicy:
    """The servers in the order the service gives them; the one with the fewest requests where it gives none that there is."""
    spread = _policy("envoy.load_balancing_policies.least_request", PackedAny.pack(least_request.LeastRequest()))
    policy = override_host.OverrideHost(
        override_host_sources=[override_host.OverrideHostOverrideHostSource(metadata=_key(PICKED))],
        selected_host_key=_key(SERVED),
        fallback_policy=spread,
    )
    return _policy("envoy.load_balancing_policies.override_host", PackedAny.pack(policy))


def _policy(name: str, config: PackedAny) -> cluster.LoadBalancingPolicy:
    extension = core.TypedExtensionConfig(name=name, typed_config=config)
    return cluster.LoadBalancingPolicy(policies=[cluster.LoadBalancingPolicyPolicy(typed_extension_config=extension)])


def _key(name: str) -> metadata_key.MetadataKey:
    return metadata_key.MetadataKey(key=PICKED_NAMESPACE, path=[metadata_key.MetadataKeyPathSegment(key=name)])
