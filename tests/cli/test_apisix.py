"""`headrace apisix` from the command line."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.cli.command import headrace

POLICY = """version: 1
upstreams:
  standard: {url: "http://10.0.0.7:8000"}
  high-memory: {url: "https://models.example"}
models:
  - {name: m, pools: [{upstream: standard, max_tokens: 8192}, {upstream: high-memory}]}
filters:
  - routing: {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def config(folder: Path, *options: str) -> str:
    done = headrace("apisix", "config", "policy.yaml", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(folder: Path, *options: str) -> str:
    done = headrace("apisix", "config", "policy.yaml", *options, cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_standalone_resources_name_every_upstream_and_every_worker(folder: Path) -> None:
    text = config(folder, "--socket", "unix:/run/headrace/worker.sock", "--workers", "2")
    assert text.endswith("#END\n")
    tree = YAML(typ="safe").load(text)
    assert [(one["id"], one["scheme"], one["nodes"][0]["port"]) for one in tree["upstreams"]] == [
        ("standard", "http", 8000),
        ("high-memory", "https", 443),
    ]
    models, rest = tree["routes"]
    assert [one["name"] for one in models["plugins"]["ai-proxy-multi"]["instances"]] == ["standard", "high-memory"]
    for route in (models, rest):
        service = route["plugins"]["headrace"]["service"]
        assert service == ["unix:/run/headrace/worker-0.sock", "unix:/run/headrace/worker-1.sock"]


def test_plain_routes_have_no_ai_proxy(folder: Path) -> None:
    (route,) = YAML(typ="safe").load(config(folder, "--routes", "plain"))["routes"]
    assert (set(route["plugins"]), route["uri"], route["upstream_id"]) == ({"headrace"}, "/v1/*", "standard")


def test_the_admin_script_puts_the_same_resources(folder: Path) -> None:
    """Run by a shell with a curl that notes what it is told."""
    (folder / "curl").write_text('#!/bin/sh\necho "$*" >> puts; cat >> puts\n')
    (folder / "curl").chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "APISIX_ADMIN": "http://admin", "APISIX_ADMIN_KEY": "k"}
    script = config(folder, "--part", "admin")
    subprocess.run(["sh", "-c", script], cwd=folder, env=environment, check=True)
    bodies = (folder / "puts").read_text().split("--fail-with-body")[1:]
    put = {one.split("/apisix/admin/")[1].split()[0]: json.loads(one[one.index("\n") :]) for one in bodies}
    standalone = YAML(typ="safe").load(config(folder))
    expected = {f"{kind}/{one.pop('id')}": one for kind, resources in standalone.items() for one in resources}
    assert put == expected


def test_config_yaml_has_the_lua_path_the_plugins_and_the_flush(folder: Path) -> None:
    tree = YAML(typ="safe").load(config(folder, "--part", "config", "--lua-path", "/srv/lua/?.lua"))
    assert tree["apisix"]["extra_lua_path"] == "/srv/lua/?.lua"
    assert {"ai-proxy-multi", "headrace"} <= set(tree["plugins"])
    assert "postpone_output 0;" in tree["nginx_config"]["http_configuration_snippet"]


def test_it_is_written_to_a_file(folder: Path) -> None:
    assert config(folder, "--output", "apisix.yaml") == ""
    assert (folder / "apisix.yaml").read_text() == config(folder)


def test_a_policy_that_apisix_cannot_carry_out_is_refused_with_its_line(folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("routing: {}", "routing: {failover: {attempts: 2}}"))
    said = refused(folder)
    assert said.startswith("policy.yaml:8: filters[0].routing.failover: not behind apisix: APISIX asks one upstream")


@pytest.mark.parametrize(
    ("policy", "options", "words"),
    [
        (POLICY.replace("http://10.0.0.7:8000", "http://10.0.0.7:8000/prefix"), (), "upstreams.standard.url"),
        ("version: 1\n", (), "no upstreams"),
        (POLICY, ("--socket", "10.0.0.9:9470"), "10.0.0.9:9470 is not on this machine"),
        (POLICY, ("--socket", "nowhere"), "'nowhere' is neither"),
        ("version: 2\n", (), "version"),
    ],
)
def test_what_cannot_be_written_is_said(policy: str, options: tuple[str, ...], words: str, folder: Path) -> None:
    (folder / "policy.yaml").write_text(policy)
    assert words in refused(folder, *options)


def test_the_doctor_ends_with_one_and_names_line_and_mend(folder: Path) -> None:
    (folder / "apisix.yaml").write_text(config(folder).replace("      headrace:\n", "      other:\n", 1))
    done = headrace("apisix", "doctor", "apisix.yaml", cwd=folder)
    assert done.returncode == 1
    assert "calls models by ai-proxy-multi without asking Headrace; add the plugin headrace to it" in done.stdout
    shown = json.loads(headrace("apisix", "doctor", "apisix.yaml", "--json", cwd=folder).stdout)
    assert (shown["ok"], [one["rule"] for one in shown["findings"]]) == (False, ["unasked"])


@pytest.mark.parametrize(("options", "words"), [(("--apisix", "new"), "no version"), (("missing.yaml",), "No such file")])
def test_the_doctor_says_what_it_cannot_read(options: tuple[str, ...], words: str, folder: Path) -> None:
    done = headrace("apisix", "doctor", "policy.yaml", *options, cwd=folder)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_and_check_refuse_for_the_gateway_that_they_are_told(folder: Path) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("routing: {}", "routing: {failover: {attempts: 2}}"))
    assert headrace("check", "policy.yaml", cwd=folder).returncode == 0
    for command in (("check", "policy.yaml"), ("serve", "policy.yaml", "--listen", f"unix:{folder}/w.sock", "--admin", "off")):
        done = headrace(*command, "--gateway", "apisix", cwd=folder)
        assert done.returncode == 1
        assert "not behind apisix" in done.stderr
