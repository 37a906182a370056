"""Writes the tracked files of envoy/ anew: `python -m tests.envoy.config.render_samples`."""

from collections.abc import Mapping
from pathlib import Path

from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
from headrace.ext_proc.envoy.config.kubernetes import envoy_gateway, istio
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.config.yaml import render
from headrace.ext_proc.service.gateway import gateway_of
from headrace.ext_proc.service.stack import read_document

ROOT = Path(__file__).parents[3]
POLICY = ROOT / "policies" / "compose.yaml"
COMPOSE = """Envoy with Headrace: the gateway of docker-compose.yml, rendered by
headrace envoy config policies/compose.yaml --host 0.0.0.0 --socket headrace:9470"""
ISTIO = """Headrace in Istio's ingress gateway; the service is headrace.headrace.svc with one worker to a pod.
Its route table is yours. See README.md."""
GATEWAY = """Headrace in Envoy Gateway, for the listener `http` of the Gateway `eg` in the namespace `default`; the service is
headrace.headrace.svc with one worker to a pod. EnvoyPatchPolicy has to be enabled (extensionApis.enableEnvoyPatchPolicy).
See README.md."""
SERVICE = Address(host="headrace.headrace.svc.cluster.local", port=9470)


def samples() -> Mapping[str, str]:
    """File name below envoy/ → its text."""
    settings = gateway_of(
        read_document(POLICY),
        service=(Address(host="headrace", port=9470),),
        listen=Address(host="0.0.0.0", port=10000),
    )
    return {
        "envoy.yaml": render_bootstrap(settings, COMPOSE),
        "istio.yaml": render(istio(SERVICE, "istio-system", {"istio": "ingressgateway"}), ISTIO),
        "envoy-gateway.yaml": render(envoy_gateway(SERVICE, "eg", "default/eg/http"), GATEWAY),
    }


if __name__ == "__main__":
    for name, text in samples().items():
        (ROOT / "envoy" / name).write_text(text)
