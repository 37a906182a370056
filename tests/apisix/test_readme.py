"""apisix/README.md and apisix/examples say what is: the table of exceptions, the settings, the rendered files."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headrace.ext_proc.apisix import render
from headrace.ext_proc.apisix.doctor import examine
from headrace.ext_proc.apisix.doctor.plugin_rules import SETTINGS
from headrace.ext_proc.apisix.settings import ApisixSettings, servers_of
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.service.stack import read_document
from tests.apisix.nginx import ROOT
from tests.apisix.not_through import README, exempt, written
from tests.transcripts.test_transcripts import ALL

EXAMPLES = ROOT / "apisix" / "examples"
LUA = ROOT / "apisix" / "lua"


def test_the_table_of_exceptions_is_what_the_transcripts_say() -> None:
    assert written(README.read_text()) == README.read_text()


def test_every_exception_is_found_and_has_its_reason() -> None:
    found = dict(exempt())
    assert set(found) == {transcript.name for transcript in ALL if "apisix" in transcript.not_through}
    assert all(found.values())


def test_every_setting_of_the_schema_is_in_the_readme_and_known_to_the_doctor() -> None:
    schema = (LUA / "headrace" / "config.lua").read_text().split("_M.schema = {")[1].split("required = ")[0]
    settings = set(re.findall(r"^        (\w+) = \{", schema, re.MULTILINE))
    assert settings == set(SETTINGS[""]) - {"_meta"}
    assert all(f"`{name}" in README.read_text() for name in settings)


def rendered() -> dict[str, str]:
    urls = {name: upstream.url for name, upstream in read_document(ROOT / "policies" / "example.yaml").upstreams.items()}
    service = tuple(Address(path=f"/run/headrace/worker-{number}.sock") for number in range(2))
    made = ApisixSettings(service, servers_of(urls))
    return {
        "config.yaml": render.render_config(made),
        "apisix.yaml": render.render_standalone(made),
        "admin.sh": render.render_admin(made),
    }


@pytest.mark.parametrize("name", ["config.yaml", "apisix.yaml", "admin.sh"])
def test_an_example_is_what_config_writes(name: str) -> None:
    assert (EXAMPLES / name).read_text() == rendered()[name]


def test_the_doctor_finds_nothing_in_the_examples() -> None:
    texts = {name: (EXAMPLES / name).read_text() for name in ("config.yaml", "apisix.yaml")}
    assert [found for version in ((3, 14), (3, 16), (3, 18)) for found in examine(texts, version)] == []


@pytest.fixture(scope="module")
def values() -> Any:
    return YAML(typ="safe").load(EXAMPLES / "values.yaml")


def test_the_chart_has_apisix_load_the_plugin(values: Any) -> None:
    """It adds its own plugins to a list that there is; without one APISIX keeps to its defaults."""
    own = [plugin["name"] for plugin in values["apisix"]["customPlugins"]["plugins"]]
    assert [*values["apisix"].get("plugins", ()), *own] == YAML(typ="safe").load(EXAMPLES / "config.yaml")["plugins"]


def test_the_service_beside_apisix_ends_after_it_and_before_the_pod_is_killed(values: Any) -> None:
    """The chart has APISIX sleep for 30 seconds, and leaves Kubernetes its 30 seconds until it kills."""
    (service,) = values["extraContainers"]
    *_, sleeps = service["lifecycle"]["preStop"]["exec"]["command"]
    drains = service["args"][service["args"].index("--drain-seconds") + 1]
    settles = 5
    assert int(sleeps) >= 15 and int(sleeps) + int(drains) + settles <= 30


def test_the_service_beside_apisix_is_asked_for_once_it_listens(values: Any) -> None:
    (service,) = values["extraContainers"]
    listens = service["args"][service["args"].index("--listen") + 1]
    assert service["readinessProbe"]["exec"]["command"] == ["test", "-S", listens.removeprefix("unix:")]


def test_the_charts_values_name_files_that_are_there(values: Any) -> None:
    (plugin,) = values["apisix"]["customPlugins"]["plugins"]
    (mount,) = plugin["configMap"]["mounts"]
    place = Path(mount["path"]).relative_to(Path(values["apisix"]["customPlugins"]["luaPath"]).parent)
    assert (LUA / place).is_file()
    comments = re.findall(r"--from-file=(?:[\w.]+=)?(apisix/\S+)", (EXAMPLES / "values.yaml").read_text())
    assert [path for path in comments if not (ROOT / path).exists()] == []
    assert len(comments) == 2
