"""envoy/kubernetes.yaml: in agreement with the image, with the patches that lead to it, and with how the service ends."""

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from headrace.ext_proc.cli.lazy import load as load_command
from headrace.ext_proc.envoy.config.nodes import field, walk
from tests.envoy.config.render_samples import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return {one["kind"]: one for one in YAML(typ="safe").load_all(ROOT / "envoy" / "kubernetes.yaml")}


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> Any:
    return objects["Deployment"]["spec"]["template"]


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:
    (found,) = pod["spec"]["containers"]
    return found


@pytest.mark.parametrize("name", ["envoy-gateway.yaml", "istio.yaml"])
def test_the_patches_lead_to_the_service(name: str, objects: dict[str, Any]) -> None:
    nodes = list(walk(YAML(typ="safe").load(ROOT / "envoy" / name)))
    found = [field(node, "socket_address") for node in nodes if field(node, "socket_address") is not None]
    service = objects["Service"]
    (port,) = service["spec"]["ports"]
    place = ".".join((service["metadata"]["name"], service["metadata"]["namespace"], "svc.cluster.local"))
    assert [dict(one) for one in found] == [{"address": place, "port_value": port["port"]}]
    assert port["name"] == "grpc" and service["spec"]["clusterIP"] == "None"


def test_everything_is_about_the_same_pods(objects: dict[str, Any], pod: Any) -> None:
    labels = pod["metadata"]["labels"]
    specs = {kind: one["spec"] for kind, one in objects.items()}
    assert specs["Deployment"]["selector"] == specs["PodDisruptionBudget"]["selector"] == {"matchLabels": labels}
    assert specs["NetworkPolicy"]["podSelector"] == {"matchLabels": labels}
    assert specs["Service"]["selector"] == labels
    assert {one["metadata"]["namespace"] for one in objects.values()} == {"headrace"}


def test_its_ports_are_those_of_the_image(objects: dict[str, Any], container: Any) -> None:
    (exposed,) = re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert sorted(map(str, ports.values()), reverse=True) == exposed.split()
    assert f"HEADRACE_LISTEN=0.0.0.0:{ports['grpc']} HEADRACE_ADMIN=0.0.0.0:{ports['admin']}" in DOCKERFILE
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    assert [(one["path"], one["port"]) for one in probes] == [("/healthz", "admin"), ("/healthz", "admin"), ("/readyz", "admin")]
    let_in = [port["port"] for rule in objects["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]]
    assert let_in == [ports["grpc"], ports["admin"]]


def test_it_is_not_killed_before_open_streams_had_their_time(pod: Any) -> None:
    (drain,) = [param.default for param in load_command("serve").params if param.name == "drain_seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] >= drain + 15


def test_a_changed_policy_reaches_the_pod(container: Any) -> None:
    (mount,) = container["volumeMounts"]
    assert "subPath" not in mount
    (policy,) = [one["value"] for one in container["env"] if one["name"] == "HEADRACE_POLICY"]
    assert policy.rpartition("/")[0] == mount["mountPath"]


def test_it_may_do_nothing_that_it_need_not(pod: Any, container: Any) -> None:
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
