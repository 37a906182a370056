"""What nobody may read who may read logs: prompts, answers and secrets. And what nobody else on the machine may open."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.engine.key_files import write_keys
from headrace.ext_proc.engine.keys import KeyRecord, digest, make_pepper
from tests.e2e.served import LOG, MODEL, Served, served
from tests.service.waiting import until

pytestmark = pytest.mark.e2e

PROMPT, EMAIL, KEY, WRONG_KEY, UPSTREAM_KEY = (
    "quartz-plum-zebra",
    "leak.canary@example.com",
    "hr-canary-known",
    "hr-canary-wrong",
    "up-canary",
)
"""Each appears nowhere but where the test sends it, or has it set."""
QUERY, HEADER, COOKIE = "query-canary", "header-canary", "cookie-canary"
SECRETS = (PROMPT, EMAIL, KEY, WRONG_KEY, UPSTREAM_KEY, QUERY, HEADER, COOKIE)
OPTIONS = ("--log-level", "debug")

POLICY = """version: 1
upstreams:
  standard: {url: "http://127.0.0.1:9", api_key: {env: HEADRACE_TEST_UPSTREAM_KEY}}
models:
  - {name: llama-3.3-70b, price: {input: 0.6, output: 0.8}, max_output: 64}
identity:
  - api_keys: {file: FOLDER/keys.yaml}
budgets:
  - {name: day, per: [team], limit: {tokens: 3000}, window: day}
filters:
  - identity: {}
  - pii: {entities: [EMAIL_ADDRESS], model: none, request: {default: replace}, response: redact}
  - budget: {}
  - usage: {}
"""


def keys(folder: Path) -> None:
    make_pepper(folder / "headrace.pepper")
    pepper = (folder / "headrace.pepper").read_bytes().strip()
    write_keys(folder / "keys.yaml", (KeyRecord(id="key_1", digest=digest(pepper, KEY), team="mill"),))


def chat(content: Any, **members: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": content}], **members}


async def ask(running: Served, body: Any, key: str = KEY, path: str = "/v1/chat/completions") -> int:
    """The status of the answer."""
    headers = {"authorization": f"Bearer {key}", "x-canary": HEADER, "cookie": f"session={COOKIE}", "x-simulate": "tokens=8"}
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    return (await running.client.post(f"{path}?token={QUERY}", headers=headers, **sent)).status_code


async def everything_that_may_go_wrong(running: Served) -> None:
    text = f"{PROMPT} {EMAIL}"
    assert await ask(running, chat(text)) == 200
    assert await ask(running, chat(text, stream=True)) == 200
    assert await ask(running, chat(text), WRONG_KEY) == 401
    assert await ask(running, chat(text, model=f"no-model-{MODEL}")) == 403
    assert await ask(running, f'{{"model": "{MODEL}", "{text}": '.encode()) == 400
    assert await ask(running, chat([{"type": PROMPT, EMAIL: {PROMPT: text}}])) in (200, 400)
    assert await ask(running, f'{{"model": "{MODEL}", "messages": [], "{text}": 1, "{text}": 2}}'.encode()) == 400
    assert await ask(running, chat(text, max_tokens=1_000_000)) == 429
    assert await ask(running, chat(text), path=f"/v1/unknown/{MODEL}") in (200, 404)


def words(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file that the service wrote."""
    yield "log", (folder / LOG).read_bytes()
    yield "decisions", (folder / "decisions.jsonl").read_bytes()


@pytest.mark.usefixtures("careless")
async def test_no_prompt_no_answer_and_no_secret_is_in_a_log_a_metric_or_a_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys(tmp_path)
    monkeypatch.setenv("HEADRACE_TEST_UPSTREAM_KEY", UPSTREAM_KEY)
    async with served(*OPTIONS, policy=POLICY.replace("FOLDER", str(tmp_path))) as running:
        await everything_that_may_go_wrong(running)
        await until(lambda: len(running.records("settlement")) >= 2, "the answers were settled")
        # A credential where the name of its variable belongs.
        (running.folder / "policy.yaml").write_text(POLICY.replace("{env: HEADRACE_TEST_UPSTREAM_KEY}", UPSTREAM_KEY))
        await until(lambda: "refused" in (running.folder / LOG).read_text(), "the policy was refused, and logged")
        probes = {path: (await running.admin.get(path)).content for path in ("/metrics", "/policy", "/readyz", "/healthz")}
        written = {**dict(words(running.folder)), **probes}
        modes = dict([*permissions(running.folder), *written_beside(tmp_path)])
    assert {json.loads(line)["logger"].partition(".")[0] for line in written["log"].splitlines()} <= {"headrace"}
    assert b"pii" in written["decisions"]
    assert {(name, secret) for name, text in written.items() for secret in SECRETS if secret.encode() in text} == set()
    assert {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def written_beside(folder: Path) -> Iterator[tuple[Path, int]]:
    """The keys and their pepper, as `headrace keys` makes them."""
    return ((path, stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir())


def permissions(folder: Path) -> Iterator[tuple[Path, int]]:
    """Of every socket, log and directory that the service made."""
    made = [path for path in folder.rglob("*") if stat.S_ISSOCK(os.lstat(path).st_mode)]
    assert len(made) >= 2, "the worker's and the store's"
    for path in (folder / "decisions.jsonl", *made, *(path.parent for path in made)):
        yield path, stat.S_IMODE(os.lstat(path).st_mode)
