"""`headrace envoy`."""

import json
import stat
from pathlib import Path
from textwrap import dedent

from tests.cli.command import headrace
from tests.envoy.config.samples import EDGE
from tests.envoy.validate import refusal

POLICY = """
version: 1
upstreams:
  standard: {url: "http://127.0.0.1:9001"}
  large: {url: "https://llm.example/pool"}
"""


def test_config_writes_a_bootstrap_that_envoy_takes(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    options = ("--port", "0", "--socket", "unix:/run/w.sock", "--workers", "2", "--output", "e.yaml")
    done = headrace("envoy", "config", "p.yaml", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = (tmp_path / "e.yaml").read_text()
    assert [text.count(path) for path in ("/run/w-0.sock", "/run/w-1.sock", "/run/w.sock")] == [1, 1, 0]
    assert refusal(text, tmp_path) == ""


def test_config_says_what_is_wrong_with_its_options(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "empty.yaml").write_text("version: 1\n")
    (tmp_path / "v1.yaml").write_text('version: 1\nupstreams: {a: {url: "http://127.0.0.1:1/v1"}}\n')
    cases = {
        ("gone.yaml",): "gone.yaml: cannot be read: No such file or directory",
        ("empty.yaml",): "empty.yaml: there are no upstreams to send requests to; add them under upstreams",
        ("v1.yaml",): "url: 'http://127.0.0.1:1/v1': without /v1, which is part of the request's own path",
        ("p.yaml", "--socket", "here"): "'here' is neither host:port nor the absolute path of a Unix socket",
        ("p.yaml", "--socket", "/a.sock", "--socket", "svc:1"): "Unix sockets and DNS names cannot be endpoints of one cluster",
        ("p.yaml", "--admin", "0.0.0.0:9901"): "admin: 0.0.0.0:9901: Envoy's admin interface has no access control; "
        "a Unix socket or a loopback address",
    }
    for arguments, message in cases.items():
        done = headrace("envoy", "config", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{message}\n")


def test_patch_prints_the_result_and_tells_the_changes(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(EDGE)
    done = headrace("envoy", "patch", "e.yaml", "--socket", "/run/h.sock", cwd=tmp_path)
    assert done.returncode == 0
    assert refusal(done.stdout, tmp_path) == ""
    assert "changed: cluster headrace\n" in done.stderr
    assert "note: listener edge: no route matches the header x-headrace-route" in done.stderr
    assert (tmp_path / "e.yaml").read_text() == EDGE


def test_patch_in_place_keeps_the_mode_and_the_second_time_changes_nothing(tmp_path: Path) -> None:
    bootstrap = tmp_path / "e.yaml"
    bootstrap.write_text(EDGE)
    bootstrap.chmod(0o640)
    assert headrace("envoy", "patch", "e.yaml", "--in-place", cwd=tmp_path).stdout == ""
    once = bootstrap.read_bytes()
    assert b"port_value: 9470" in once
    again = headrace("envoy", "patch", "e.yaml", "--in-place", cwd=tmp_path)
    assert again.stderr.startswith("nothing to change\nnote: listener edge: no route matches")
    assert bootstrap.read_bytes() == once
    assert stat.S_IMODE(bootstrap.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [bootstrap]


def test_patch_says_where_it_cannot_be_done(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("dynamic_resources:\n  lds_config: {ads: {}}\n")
    done = headrace("envoy", "patch", "e.yaml", "--in-place", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("e.yaml:2: the listeners come from LDS")


def test_doctor_ends_with_1_where_it_finds_something(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(EDGE)
    (tmp_path / "good.yaml").write_text(headrace("envoy", "patch", "edge.yaml", cwd=tmp_path).stdout)
    (tmp_path / "bad.yaml").write_text((tmp_path / "good.yaml").read_text().replace("message_timeout: 5s", "message_timeout: 0.2s"))
    good = headrace("envoy", "doctor", "good.yaml", cwd=tmp_path)
    assert (good.returncode, good.stdout) == (0, "good.yaml: nothing would break Headrace\n")
    both = headrace("envoy", "doctor", "good.yaml", "bad.yaml", cwd=tmp_path)
    assert both.returncode == 1
    [_, finding] = both.stdout.splitlines()
    line = 1 + next(index for index, one in enumerate((tmp_path / "bad.yaml").read_text().splitlines()) if "0.2s" in one)
    assert finding == f"bad.yaml:{line}: a filter that takes 0.2 s ends the request as 504; set message_timeout: 5s"


TABLE = EDGE[EDGE.index("          route_config:\n") : EDGE.index("  # The pools.")]
RDS = "          rds: {route_config_name: local, config_source: {path_config_source: {path: rds.yaml}}}\n"
ELSEWHERE = EDGE.replace(TABLE, RDS)


def test_doctor_says_that_routes_which_are_not_there_were_not_examined(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(ELSEWHERE)
    (tmp_path / "good.yaml").write_text(headrace("envoy", "patch", "edge.yaml", cwd=tmp_path).stdout)
    line = 1 + next(index for index, one in enumerate((tmp_path / "good.yaml").read_text().splitlines()) if "rds:" in one)
    note = (
        f"good.yaml:{line}: the routes of listener edge come from elsewhere and were not examined; "
        "give what Envoy's admin interface has at /config_dump"
    )
    done = headrace("envoy", "doctor", "good.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "good.yaml: nothing that stands here would break Headrace\n")
    assert done.stderr == f"note: {note}\n"
    [file] = json.loads(headrace("envoy", "doctor", "good.yaml", "--json", cwd=tmp_path).stdout)["files"]
    assert (file["ok"], file["notes"]) == (True, [note])
    (tmp_path / "dump.yaml").write_text((tmp_path / "good.yaml").read_text() + dedent(TABLE))
    dump = headrace("envoy", "doctor", "dump.yaml", cwd=tmp_path)
    assert (dump.returncode, dump.stderr) == (1, "")
    assert "x-headrace-route is not removed from requests" in dump.stdout


def test_doctor_prints_json(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text(EDGE)
    done = headrace("envoy", "doctor", "edge.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 1
    [file] = json.loads(done.stdout)["files"]
    assert (file["file"], file["ok"], [finding["rule"] for finding in file["findings"]]) == ("edge.yaml", False, ["ext-proc"])
