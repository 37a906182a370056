"""A gateway that serves more than models, with the filter disabled and enabled as envoy/README.md has it, and no service there."""

import re
from pathlib import Path

import httpx
import pytest

from headrace.ext_proc.envoy.config.doctor import examine
from headrace.ext_proc.envoy.config.document import parse, parse_with_lines
from headrace.ext_proc.envoy.config.patch import Attachment, patch
from headrace.ext_proc.envoy.config.settings import Address
from tests.e2e.envoy_process import running_envoy
from tests.envoy.config.samples import EDGE

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "envoy" / "README.md"
HOSTS = """\
            virtual_hosts:
            - name: www
              domains: [www.example.com]
              routes:
              - {match: {prefix: /}, direct_response: {status: 200}}
"""
HEALTH = """\
          http_filters:
          - name: envoy.filters.http.health_check
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              pass_through_mode: false
              headers: [{name: ":path", string_match: {exact: /healthz}}]
"""


def patched(bootstrap: str, folder: Path) -> str:
    document = parse(bootstrap, "edge.yaml")
    patch(document, Attachment((Address(path=str(folder / "nobody.sock")),)))
    return document.text()


def for_models_alone(bootstrap: str) -> str:
    """The page's two settings."""
    found = re.search(r"typed_per_filter_config:\n +(headrace\.ext_proc: .*)\n", PAGE.read_text("utf-8"))
    assert found
    enabled = f'              domains: ["*"]\n              typed_per_filter_config:\n                {found[1]}\n'
    disabled = re.sub(r"( *)- name: headrace.ext_proc\n", r"\g<0>\1  disabled: true\n", bootstrap, count=1)
    return disabled.replace('              domains: ["*"]\n', enabled)


async def statuses(bootstrap: str) -> list[int]:
    """Of a model's host, another host, and a health check that is for no model's."""
    text = re.sub(r"admin:\n.*\n", "", bootstrap)
    async with running_envoy(text) as envoy, httpx.AsyncClient(base_url=f"http://127.0.0.1:{await envoy.port('edge')}") as client:
        asked = [("/v1/models", "llm.example.com"), ("/", "www.example.com"), ("/healthz", "www.example.com")]
        return [(await client.get(path, headers={"host": host}, timeout=30)).status_code for path, host in asked]


async def test_other_hosts_and_health_checks_need_no_service(tmp_path: Path) -> None:
    edge = EDGE.replace("            virtual_hosts:\n", HOSTS).replace("          http_filters:\n", HEALTH)
    for_all = patched(edge, tmp_path)
    assert await statuses(for_all) == [500, 500, 500]
    some = for_models_alone(for_all)
    assert patched(some, tmp_path) == some
    assert examine(parse_with_lines(some, "edge.yaml")) == []
    assert await statuses(some) == [500, 200, 200]
