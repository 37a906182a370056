"""docker-compose.yml: well-formed, and in agreement with the files and the gateway configuration it uses."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headrace.ext_proc.cli.lazy import load as load_command
from headrace.ext_proc.envoy.config.managers import clusters
from headrace.ext_proc.envoy.config.nodes import field, walk
from headrace.ext_proc.service.stack import read_document

ROOT = Path(__file__).parents[1]


def load(name: str) -> Any:
    return YAML(typ="safe").load(ROOT / name)


@pytest.fixture(scope="module")
def compose() -> Any:
    return load("docker-compose.yml")


def has_compose() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker is not installed, or has no compose plugin")
def test_docker_compose_takes_the_file() -> None:
    command = ["docker", "compose", "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_everything_it_mounts_or_builds_from_is_there(compose: Any) -> None:
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", ())]
    ours = [mount for mount in mounts if mount.startswith("./")]
    assert ours and [name for name in ours if not (ROOT / name).exists()] == []
    assert {mount for mount in mounts if not mount.startswith("./")} == set(compose["volumes"])
    assert (ROOT / compose["services"]["headrace"]["build"] / "Dockerfile").is_file()


def test_an_edited_policy_reaches_the_container(compose: Any) -> None:
    """An editor that saves by a new file leaves a container that has the file itself mounted with the old one."""
    service = compose["services"]["headrace"]
    [(source, target)] = [mount.split(":")[:2] for mount in service["volumes"]]
    inside = Path(service["environment"]["HEADRACE_POLICY"])
    assert (ROOT / source).is_dir() and (ROOT / source / inside.relative_to(target)).is_file()


def test_images_have_a_version(compose: Any) -> None:
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    assert len(images) == 3
    assert [image for image in images if image.rpartition(":")[2] in ("latest", "", image, "server")] == []


def test_services_wait_only_for_services_that_say_when_they_are_healthy(compose: Any) -> None:
    services = compose["services"]
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            built = "build" in services[name] and "\nHEALTHCHECK " in (ROOT / "Dockerfile").read_text()
            assert wait == {"condition": "service_healthy"} and (built or "healthcheck" in services[name])


def test_the_gateway_finds_the_services_it_is_configured_for(compose: Any) -> None:
    config = load("envoy/envoy.yaml")
    found = {
        (field(node, "socket_address", "address"), field(node, "socket_address", "port_value"))
        for cluster in clusters(config)
        for node in walk(cluster)
        if field(node, "socket_address") is not None
    }
    model = compose["services"]["model"]["environment"]
    assert found == {("headrace", 9470), ("model", int(model["LLAMA_ARG_PORT"]))}
    assert "HEADRACE_LISTEN=0.0.0.0:9470" in (ROOT / "Dockerfile").read_text()


def test_the_policy_offers_the_model_that_is_served(compose: Any) -> None:
    document = read_document(ROOT / "policies" / "compose.yaml")
    [model] = document.models
    served = compose["services"]["model"]["environment"]
    assert (model.name, str(model.context)) == (served["LLAMA_ARG_ALIAS"], served["LLAMA_ARG_CTX_SIZE"])


def test_only_loopback_ports_are_published(compose: Any) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 2 and all(port.startswith("127.0.0.1:") for port in ports)


def test_it_is_not_killed_before_open_streams_had_their_time(compose: Any) -> None:
    (drain,) = [param.default for param in load_command("serve").params if param.name == "drain_seconds"]
    assert int(compose["services"]["headrace"]["stop_grace_period"].removesuffix("s")) >= drain + 15
