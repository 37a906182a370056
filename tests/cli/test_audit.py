"""`headrace audit` as an operator has it: verify, show, export, erase; and replay of what it holds."""

import json
import re
import shlex
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest
import uvicorn
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.ext_proc.audit.chain import Chain, Pending
from headrace.ext_proc.audit.opening import policy_terms
from tests.audit.logs import Ticking
from tests.audit.site import CHAT, POLICY, policy_in, recorded_in
from tests.audit.tampering import change_a_byte
from tests.cli.in_process import headrace
from tests.console import matches
from tests.service.waiting import until
from tests.test_docs import DOCS, sessions

EXCHANGE = "hx000000000000000000000001"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    recorded_in(tmp_path)
    return tmp_path


def documents(*arguments: str, cwd: Path) -> list[dict[str, Any]]:
    done = headrace("audit", *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_log_that_is_as_it_was_written_is_verified(site: Path) -> None:
    done = headrace("audit", "verify", "policy.yaml", cwd=site)
    assert done.returncode == 0
    assert done.stdout == "9 records in 1 segment of 1 chain: as they were written\n"


def test_one_that_is_not_ends_with_1_and_says_where(site: Path) -> None:
    change_a_byte(site / "audit", Random(3))
    done = headrace("audit", "verify", "audit", cwd=site)
    assert done.returncode == 1
    assert "jsonl:" in done.stderr
    assert json.loads(headrace("audit", "verify", "audit", "--json", cwd=site).stdout)["verified"] is False


def test_who_has_the_public_key_and_the_heads_needs_no_more(site: Path) -> None:
    (site / "key.pem").write_text(headrace("audit", "public-key", "audit", cwd=site).stdout)
    (site / "heads.json").write_text(headrace("audit", "heads", "audit", cwd=site).stdout)
    for name in ("signing.key", "signing.pub"):
        (site / "audit" / "keys" / name).unlink()
    checked = headrace("audit", "verify", "audit", "--public-key", "key.pem", "--heads", "heads.json", cwd=site)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("command", [("verify", "nowhere"), ("show", "master.key"), ("verify", "audit", "--heads", "master.key")])
def test_what_is_no_log_ends_with_2(command: tuple[str, ...], site: Path) -> None:
    done = headrace("audit", *command, cwd=site)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_records_are_found_by_who_how_and_when(site: Path) -> None:
    of_red = documents("show", "audit", "--principal", "team=red", "--kind", "decision", "--json", cwd=site)
    assert [said["record"]["exchange"][-1] for said in of_red] == ["3", "1"]
    assert len(documents("show", "audit", "--outcome", "refused", "--json", cwd=site)) == 1
    assert len(documents("show", "audit", "--reason", "pii.blocked", "--json", cwd=site)) == 1
    assert documents("show", "audit", "--to", "2026-11-01", "--json", cwd=site) == []
    of_one = documents("show", "audit", "--exchange", EXCHANGE, "--json", cwd=site)
    assert [said["kind"] for said in of_one] == ["decision", "settlement"]
    told = headrace("audit", "show", "audit", "--exchange", EXCHANGE, cwd=site).stdout
    assert f"decision  {EXCHANGE}  acme/red/user1  llama-3.3-70b  handed_off" in told
    assert "40+5 tokens  0.000028 USD" in told


def test_bodies_are_read_with_the_master_key_alone(site: Path) -> None:
    asked = ("show", "audit", "--exchange", EXCHANGE, "--bodies", "--json")
    closed, _ = documents(*asked, cwd=site)
    assert CHAT.decode() not in json.dumps(closed)
    opened, _ = documents(*asked, "--master-key", "master.key", cwd=site)
    assert opened["request"] == CHAT.decode()
    (site / "other.key").write_text("b" * 43 + "=")
    other, _ = documents(*asked, "--master-key", "other.key", cwd=site)
    assert "is wrapped by the master key" in str(other["request"])


def test_a_client_s_words_do_not_steer_the_terminal(tmp_path: Path) -> None:
    policy, clock = policy_in(tmp_path), Ticking()
    chain = Chain(policy_terms(policy), "0", clock.now_ms)
    chain.write([Pending(clock.now_ms(), "decision", {"exchange": "hx1", "model": "\x1b[2Jgone\n"})])
    chain.close()
    shown = headrace("audit", "show", "policy.yaml", "--kind", "decision", cwd=tmp_path).stdout
    assert shown.endswith("decision  hx1  \\x1b[2Jgone\\n\n")


def test_a_team_that_is_erased_is_gone_from_its_bodies_and_from_nowhere_else(site: Path) -> None:
    done = headrace("audit", "erase", "policy.yaml", "acme/red", "--yes", "--who", "rita", cwd=site)
    assert done.returncode == 0
    assert "1 data key of acme/red destroyed" in done.stdout
    decisions = documents("show", "policy.yaml", "--kind", "decision", "--bodies", "--json", cwd=site)
    shown = {said["record"]["principal"]["team"]: said["request"] for said in decisions}
    assert shown["blue"] == CHAT.decode()
    assert "is erased" in str(shown["red"])
    assert headrace("audit", "verify", "audit", cwd=site).returncode == 0
    assert '"tenant":["acme","red"],"by":"rita"' in (site / "audit" / "manifest.jsonl").read_text()
    assert headrace("audit", "erase", "policy.yaml", "acme/red", "--yes", cwd=site).returncode == 1


def test_an_organisation_is_erased_with_its_teams(site: Path) -> None:
    assert "2 data keys of acme destroyed" in headrace("audit", "erase", "policy.yaml", "acme", "--yes", cwd=site).stdout
    assert list((site / "audit" / "keys" / "tenants").iterdir()) == []


def test_whether_a_text_was_sent_is_told_by_its_hash(tmp_path: Path) -> None:
    recorded_in(tmp_path, POLICY.replace("encrypted", "hashed"))
    (tmp_path / "sent.json").write_bytes(CHAT)
    (tmp_path / "other.json").write_bytes(CHAT + b" ")
    assert len(documents("show", "policy.yaml", "--sent", "sent.json", "--json", cwd=tmp_path)) == 4
    assert documents("show", "policy.yaml", "--sent", "other.json", "--json", cwd=tmp_path) == []
    headrace("audit", "erase", "policy.yaml", "acme/blue", "--yes", cwd=tmp_path)
    assert len(documents("show", "policy.yaml", "--sent", "sent.json", "--json", cwd=tmp_path)) == 2


def test_old_segments_are_removed_and_not_missed(site: Path) -> None:
    assert headrace("audit", "remove", "policy.yaml", "--before", "2030-01-01", cwd=site).stdout == "1 segment deleted\n"
    done = headrace("audit", "verify", "audit", cwd=site)
    assert (done.returncode, done.stdout) == (0, "0 records in 0 segments of 1 chain: as they were written\n")


def test_export_to_jsonl_and_parquet(site: Path) -> None:
    assert headrace("audit", "export", "policy.yaml", "log.jsonl", "--bodies", cwd=site).returncode == 0
    lines = [json.loads(line) for line in (site / "log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["decision", "settlement"] * 4 + ["closed"]
    assert lines[0]["request"] == CHAT.decode()
    assert headrace("audit", "export", "audit", "log.parquet", "--format", "parquet", cwd=site).returncode == 0
    rows = pq.read_table(site / "log.parquet").to_pylist()
    assert len(rows) == 9
    assert (rows[1]["team"], rows[1]["input_tokens"], str(rows[1]["usd"])) == ("blue", 40, "0.000028000")
    assert json.loads(rows[6]["record"])["reason"] == rows[6]["reason"] == "pii.blocked"


async def test_export_to_a_collector(site: Path) -> None:
    taken: list[ExportLogsServiceRequest] = []

    async def take(request: Request) -> Response:
        body = await request.body()
        taken.append(ExportLogsServiceRequest.FromString(body))
        return Response()

    app = Starlette(routes=[Route("/v1/logs", take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = Thread(target=server.run)
    thread.start()
    await until(lambda: server.started, "the collector listens")
    port = server.servers[0].sockets[0].getsockname()[1]
    done = headrace("audit", "export", "audit", f"http://127.0.0.1:{port}", "--format", "otlp", cwd=site)
    server.should_exit = True
    thread.join()
    assert done.returncode == 0, done.stderr
    resources = [resource for one in taken for resource in one.resource_logs]
    records = [record for resource in resources for scope in resource.scope_logs for record in scope.log_records]
    assert len(records) == 9
    assert json.loads(records[0].body.string_value)["record"]["exchange"] == "hx000000000000000000000000"
    assert {attribute.key for attribute in records[0].attributes} >= {"headrace.exchange", "headrace.outcome", "headrace.audit.seq"}


def test_what_was_recorded_is_replayed(site: Path) -> None:
    (site / "next.yaml").write_text(POLICY.replace("request: report", "request: block"))
    arguments = ("replay", "audit", "--policy", "policy.yaml", "--against", "next.yaml", "--json")
    done = headrace(*arguments, "--master-key", "master.key", cwd=site)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["requests"], found["changed"]) == (4, 4)
    assert found["changes"][0]["change"] == "sent → refused pii.blocked"
    assert found["policy"]["input_tokens"] == 160
    without = headrace(*arguments, cwd=site)
    assert (without.returncode, "master key" in without.stderr) == (2, True)


def test_the_page_s_examples_print_what_it_says(site: Path) -> None:
    found = re.findall(r"```text site\n(.*?)```", (DOCS / "commands" / "audit.md").read_text("utf-8"), re.DOTALL)
    examples = [example for text in found for example in sessions(text)]
    for command, expected in examples:
        _, *arguments = shlex.split(command)
        printed = headrace(*arguments, cwd=site).stdout.splitlines()
        assert len(printed) == len(expected), printed
        assert [line for line, right in zip(printed, expected, strict=True) if not matches(line, right)] == []
    assert len(examples) == 6
