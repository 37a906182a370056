"""Headrace put into a bootstrap that somebody else wrote."""

from typing import Any

from headrace.ext_proc.envoy.config.document import Document
from headrace.ext_proc.envoy.config.managers import Manager, managers
from headrace.ext_proc.envoy.config.names import CLUSTER
from headrace.ext_proc.envoy.config.network import service_cluster
from headrace.ext_proc.envoy.config.nodes import Node, field, items, key_of, line_of, plain
from headrace.ext_proc.envoy.config.patch.edit import Editor
from headrace.ext_proc.envoy.config.patch.listed import ensure
from headrace.ext_proc.envoy.config.patch.manager import patch_manager
from headrace.ext_proc.envoy.config.patch.values import Attachment, Report
from headrace.ext_proc.envoy.config.tree import tree

__all__ = ["Attachment", "Report", "patch"]


def patch(document: Document, attachment: Attachment) -> Report:
    """Edit the document in place. Twice is the same as once: what is there and as it should be is not touched.

    The cluster and the filters called after Headrace belong to this command; where they differ they are replaced,
    but for the cluster's transport_socket.
    Raises ConfigError where there is no HTTP connection manager, or one without a router.
    """
    report, editor = Report(), Editor(document)
    for manager in _chosen(document, attachment.listeners):
        patch_manager(document, editor, manager, attachment, report)
    resources = field(document.root, "static_resources")
    if ensure(editor, resources, "clusters", _cluster(resources, attachment), _is_ours):
        report.changes.append(f"cluster {CLUSTER}")
    return report


def _cluster(resources: Node, attachment: Attachment) -> Any:
    """The service's cluster; a transport_socket that it has stays, for TLS towards the service is the operator's."""
    wanted: dict[str, Any] = tree(service_cluster(attachment.service))
    there = next(filter(_is_ours, items(resources, "clusters")), None)
    if (key := key_of(there, "transport_socket")) is not None:
        wanted[key] = plain(field(there, "transport_socket"))
    return wanted


def _is_ours(cluster: Node) -> bool:
    return bool(field(cluster, "name") == CLUSTER)


def _chosen(document: Document, names: frozenset[str]) -> list[Manager]:
    found = list(managers(field(document.root, "static_resources")))
    if not found:
        raise document.error(*_nowhere(document.root))
    if unknown := names - {manager.listener_name for manager in found}:
        there = ", ".join(sorted({manager.listener_name for manager in found}))
        raise document.error(0, f"no listener {', '.join(sorted(unknown))} that handles HTTP; there are: {there}")
    return [manager for manager in found if not names or manager.listener_name in names]


def _nowhere(root: Node) -> tuple[int, str]:
    """Where one would look for the HTTP connection manager, and why there is none."""
    resources = field(root, "dynamic_resources")
    if field(resources, "lds_config") is not None:
        return line_of(resources, "lds_config"), (
            "the listeners come from LDS, so this file has no HTTP connection manager to patch; "
            "patch what the control plane sends: envoy/README.md shows how for Envoy Gateway and Istio"
        )
    if (listeners := items(root, "static_resources", "listeners")) and line_of(listeners):
        return line_of(listeners), "none of these listeners has a filter of type HttpConnectionManager; Headrace works on HTTP"
    return 1, "there is no static_resources.listeners; Headrace is put into an HTTP connection manager"
