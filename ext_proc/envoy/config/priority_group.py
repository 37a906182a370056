"""Envoy 1.40's priority_group cluster specifier, which envoy-data-plane does not have yet.

Source: api/envoy/extensions/router/cluster_specifiers/priority_group/v3/priority_group.proto of Envoy 1.40; its fields
`header_name` and `use_hash_policy` are left out.
"""

import betterproto2
from pydantic.dataclasses import dataclass

from headrace.ext_proc.envoy.config.stubs import message_pool, wrappers

_PACKAGE = "envoy.extensions.router.cluster_specifiers.priority_group.v3"


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class ClusterWeight(betterproto2.Message):
    cluster_name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    weight: int | None = betterproto2.field(2, betterproto2.TYPE_MESSAGE, unwrap=lambda: wrappers.UInt32Value, optional=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class PriorityGroup(betterproto2.Message):
    """The clusters of one attempt."""

    name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    clusters: list[ClusterWeight] = betterproto2.field(2, betterproto2.TYPE_MESSAGE, repeated=True)


@dataclass(eq=False, repr=False, config={"extra": "forbid"})
class PriorityGroupClusterSpecifier(betterproto2.Message):
    """The first group serves the first attempt, the second one the second.

    override_metadata_namespace: dynamic metadata with groups of its own, by name; it orders them for one request.
    """

    priority_groups: list[PriorityGroup] = betterproto2.field(1, betterproto2.TYPE_MESSAGE, repeated=True)
    override_metadata_namespace: str = betterproto2.field(2, betterproto2.TYPE_STRING)


for _message in (ClusterWeight, PriorityGroup, PriorityGroupClusterSpecifier):
    message_pool.register_message(_PACKAGE, _message.__name__, _message)
