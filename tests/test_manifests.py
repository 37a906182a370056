"""What the manifests give the image as arguments and environment is what `headrace serve` takes."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headrace.ext_proc.cli.lazy import load
from headrace.ext_proc.envoy.config.nodes import walk

ROOT = Path(__file__).parents[1]
MANIFESTS = [
    ROOT / "docker-compose.yml",
    *sorted((ROOT / "envoy").glob("*.yaml")),
    *sorted((ROOT / "apisix/examples").glob("*.yaml")),
]
OF_A_SECRET = "redis://:secret@valkey:6379"
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def containers(manifest: Path) -> Iterator[Mapping[str, Any]]:
    """Those of our image: built here, or of its name."""
    for document in YAML(typ="safe").load_all(manifest):
        for node in walk(document):
            if node.get("build") == "." or str(node.get("image", "")).split(":")[0].endswith("headrace"):
                yield node


OURS = [(manifest, container) for manifest in MANIFESTS for container in containers(manifest)]


def words(text: str, instruction: str) -> list[str]:
    """The list behind an instruction of the Dockerfile."""
    found = re.findall(rf"^{instruction} (\[.*\])$", text, re.MULTILINE)
    return [str(word) for word in json.loads(found[-1])]


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    given = container.get("environment", {})
    assert isinstance(given, Mapping), "written as a mapping"
    listed = {one["name"]: one.get("value", OF_A_SECRET) for one in container.get("env", ())}
    (of_image,) = re.findall(r"^ENV (HEADRACE_.*)$", DOCKERFILE, re.MULTILINE)
    return {**dict(pair.split("=") for pair in of_image.split()), **given, **listed}


def test_the_image_is_in_a_compose_file_a_chart_and_a_deployment() -> None:
    assert {manifest.name for manifest, _ in OURS} == {"docker-compose.yml", "values.yaml", "kubernetes.yaml"}


@pytest.mark.parametrize(("manifest", "container"), OURS, ids=[manifest.name for manifest, _ in OURS])
def test_the_command_line_takes_what_the_manifest_gives(
    manifest: Path, container: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, name = words(DOCKERFILE, "ENTRYPOINT")
    assert (program, name) == ("headrace", "serve")
    for variable, value in environment(container).items():
        monkeypatch.setenv(variable, value)
    given = [str(word) for word in container.get("args", container.get("command", ()))]
    command = load(name)
    taken = command.make_context(name, given).params
    assert taken["policy"].parent == Path("/etc/headrace")
    assert taken["store"].startswith("redis://")
