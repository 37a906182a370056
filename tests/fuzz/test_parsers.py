"""Every reader of what others wrote: its own error or a value, and the value is what independent readers see.

HEADRACE_LONG=1 takes a hundred times as many examples. Others have such tests of their own: SSE, HTTP/2, gRPC, ext_proc, the Lua
codec, tokenizer files, the store's functions, the decision log, invoices, the admin API.
"""

import json
import os
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.ext_proc.audit.lines import decoded
from headrace.ext_proc.core.candidates import candidates_of
from headrace.ext_proc.core.effects import Effect, Release, Settle
from headrace.ext_proc.core.endpoint import Endpoint, endpoint_of, normalise
from headrace.ext_proc.core.errors import BodyError, ProtocolError
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.json_body import MAX_DEPTH, encode, parse, parse_lenient
from headrace.ext_proc.core.ledger import AMOUNT_MAX
from headrace.ext_proc.core.lenses import read_call
from headrace.ext_proc.core.settlement import Finished, settlement
from headrace.ext_proc.core.terms import read
from headrace.ext_proc.core.traceparent import traceparent_of
from headrace.ext_proc.engine.counting.jinja import JinjaTemplate
from headrace.ext_proc.engine.counting.templates import NotRendered
from headrace.ext_proc.engine.key_files import read_keys
from headrace.ext_proc.engine.load.metrics import NAMES, Engine, MetricsError, snapshot
from headrace.ext_proc.engine.policy.compile import compile_policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.filters.identity.credentials import Unclear, credential
from tests.envoy.messages import accesslog as log
from tests.envoy.test_access_log import TOLD, entry
from tests.filters.compiled import Inline, ManualClock
from tests.fuzz.bodies import mutated
from tests.fuzz.readers import endpoints, readings
from tests.fuzz.seeds import seed

TIMES = 100 if os.environ.get("HEADRACE_LONG") else 1
NUMBERS = st.integers(0, 2**32)


def cases(number: int) -> settings:
    return settings(max_examples=number * TIMES, deadline=None)


def folded(value: Any) -> Any:
    """As Go names members."""
    if isinstance(value, dict):
        return {name.casefold(): folded(inner) for name, inner in value.items()}
    return [folded(item) for item in value] if isinstance(value, list) else value


def damaged(chance: random.Random, text: bytes, most: int = 3) -> bytes:
    """Bytes changed, lost, doubled and inserted."""
    found = bytearray(text)
    for _ in range(chance.randint(1, most)):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(4):
            case 0:
                del found[at : at + chance.choice([1, 1, 5, 50])]
            case 1:
                found[at:at] = found[max(0, at - chance.choice([1, 9, 40])) : at]
            case 2:
                found[at:at] = chance.choice(
                    [b"\0", b"\xff", b"{", b"[", b'"', b":", b"-", b"\n", b"\\", b"9", b" ", b"&a", b"*a", b"<<"]
                )
            case _:
                found[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(found)


# --- bodies --------------------------------------------------------------------------------------------------------------------


@cases(300)
@given(NUMBERS)
def test_what_is_read_of_a_body_is_what_every_parser_reads(number: int) -> None:
    """Of the mutated requests that `make fuzz` sends, without a gateway."""
    chance = random.Random(number)
    made = seed(chance, number)
    body = mutated(chance, made, [])
    try:
        document = parse(body)
    except BodyError as error:
        assert error.status == 400 and error.reason.startswith("body.")
        return
    found = readings(body)
    assert found["json, last"] == document
    for name, read_by_it in found.items():
        assert read_by_it == (folded(document) if name == "Go" else document), name
    endpoint = endpoint_of("POST", made.path)
    assert endpoint is not None
    read_or_refused(endpoint, document)


def read_or_refused(endpoint: Endpoint, document: dict[str, Any]) -> None:
    try:
        call = read_call(endpoint, document)
    except BodyError as error:
        assert (error.status, error.reason) == (400, "body.invalid")
        return
    assert call.model == document["model"]
    assert 1 <= call.choices <= 128 * 2048
    assert sum(map(len, call.prompt.texts)) <= 20 * len(encode(document)) + 1000


@cases(300)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"[" * 100_000)
@example(b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1))
@example(b'{"a":"\xed\xa0\x80"}')
@example(b'{"a":' + b"9" * 5000 + b"}")
def test_any_bytes_are_a_body_or_refused(body: bytes) -> None:
    parse_lenient(body)
    try:
        document = parse(body)
    except BodyError:
        return
    assert all(found == document for name, found in readings(body).items() if name != "Go")


# --- paths and headers ---------------------------------------------------------------------------------------------------------

PIECES = st.lists(
    st.sampled_from(
        [
            "/",
            "//",
            "v1",
            "V1",
            "chat",
            "completions",
            "messages",
            "%2f",
            "%63hat",
            ".",
            "..",
            ";a",
            "?x",
            "#",
            "%",
            "\\",
            " ",
            "%25",
        ]
    ),
    max_size=9,
)


@cases(500)
@given(PIECES.map("".join) | st.text(max_size=30))
def test_no_path_that_a_lenient_server_takes_for_a_call_is_none_to_us(path: str) -> None:
    assert normalise(path).startswith("/")
    found = endpoint_of("POST", path)
    if called := endpoints(path):
        assert found is not None and found.value in called


@cases(300)
@given(
    st.lists(st.tuples(st.sampled_from(["authorization", "x-api-key", "api-key", "traceparent"]), st.text(max_size=70)), max_size=4)
)
def test_headers_show_one_credential_or_are_unclear(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    assert (traceparent := traceparent_of(headers)) is None or traceparent.isascii()
    try:
        shown = credential(headers)
    except Unclear as error:
        assert all(value not in str(error) for _, value in pairs if len(value) > 30)
        return
    assert shown is None or (shown.isascii() and shown.isprintable() and any(shown in value for _, value in pairs))


# --- what comes back from the gateway ------------------------------------------------------------------------------------------


def logged(chance: random.Random) -> bytes:
    entries = [entry() for _ in range(chance.randint(1, 3))]
    return bytes(log.StreamAccessLogsMessage(http_logs=log.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=entries)))


@cases(300)
@given(NUMBERS)
def test_a_damaged_access_log_settles_something_countable_or_is_an_error(number: int) -> None:
    chance = random.Random(number)
    effects: list[Effect] = []
    try:
        AccessLog(effects.extend).receive(damaged(chance, logged(chance)))
    except ProtocolError:
        return
    for effect in effects:
        assert isinstance(effect, Settle | Release)
        if isinstance(effect, Settle) and effect.usage is not None:
            assert 0 <= effect.usage.input_tokens < AMOUNT_MAX and 0 <= effect.usage.output_tokens < AMOUNT_MAX


LEASE = TOLD["lease"].encode()


@cases(500)
@given(NUMBERS)
def test_a_damaged_lease_is_none_or_another_valid_one(number: int) -> None:
    text = damaged(random.Random(number), LEASE).decode("utf-8", "replace")
    terms = read(text)
    effects = settlement(Finished({**TOLD, "lease": text}, {}, 200, reached_upstream=True))
    assert bool(effects) == (terms is not None)
    for effect in effects:
        assert isinstance(effect, Settle)


def test_no_beginning_of_a_lease_is_one() -> None:
    assert [size for size in range(len(LEASE)) if read(LEASE[:size].decode()) is not None] == []


@cases(300)
@given(st.dictionaries(st.sampled_from(["candidates", "first_token_ms"]), st.text(max_size=40) | st.floats() | st.booleans()))
def test_any_metadata_are_candidates_or_none(metadata: Mapping[str, Any]) -> None:
    assert all(candidate.upstream for candidate in candidates_of(metadata))


# --- files ---------------------------------------------------------------------------------------------------------------------

POLICY = b"""version: 1
upstreams:
  standard: {url: "http://127.0.0.1:9001"}
models:
  - {name: "llama-*", tokenizer: o200k_base, context: 131072, price: {input: 0.60, output: 0.80}, pools: [{upstream: standard}]}
identity:
  - api_keys: {store: true}
  - headers: {team: x-team, user: x-user}
budgets:
  - {name: team-day, per: [team], limit: {usd: 500}, window: day}
  - {name: user-hour, per: [team, user], limit: {requests: 100}, window: {sliding: 3600}}
filters:
  - identity: {}
  - budget: {on_store_down: closed}
  - routing: {}
overrides:
  - {when: {team: research}, set: {budget: {mode: shadow}}}
"""
KEYS = b'{"keys": [\n{"id":"a","digest":"%b","team":"blue","expires":"2030-01-01T00:00:00Z"}\n]}\n' % (b"0" * 64)
TEMPLATE = b"""{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m.content | trim }}{% endfor %}
{% if tools %}{{ tools | tojson }}{% endif %}"""
EXPOSED = b"""# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_running{model_name="m"} 1.0
vllm:num_requests_waiting{model_name="m"} 2.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.5
"""


@cases(60)
@given(NUMBERS)
def test_a_damaged_policy_compiles_or_says_where(tmp_path_factory: pytest.TempPathFactory, number: int) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_bytes(damaged(random.Random(number), POLICY, most=2))
    try:
        compile_policy(path, Registry.installed(), Ports(MemoryStore(), ManualClock(), Inline()))
    except PolicyErrors as errors:
        assert errors.problems
        assert all(problem.message and problem.line >= 0 for problem in errors.problems)


@cases(150)
@given(NUMBERS)
def test_damaged_keys_are_keys_or_problems(tmp_path_factory: pytest.TempPathFactory, number: int) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    path.write_bytes(damaged(random.Random(number), KEYS))
    try:
        assert all(len(key.digest) == 64 for key in read_keys(path))
    except PolicyErrors as errors:
        assert errors.problems


@cases(200)
@given(NUMBERS)
def test_a_damaged_template_renders_or_says_why(number: int) -> None:
    source = damaged(random.Random(number), TEMPLATE).decode("utf-8", "replace")
    try:
        prompt = JinjaTemplate(source, {})({"messages": [{"role": "user", "content": "hi"}]})
    except (ValueError, NotRendered) as error:
        assert str(error)
        return
    assert all(len(text) < 100_000 for text in prompt.texts)


@cases(200)
@given(NUMBERS, st.sampled_from(list(NAMES)))
def test_damaged_metrics_of_a_server_are_numbers_or_an_error(number: int, engine: Engine) -> None:
    text = damaged(random.Random(number), EXPOSED).decode("utf-8", "replace")
    try:
        found = snapshot(text, engine)
    except MetricsError:
        return
    assert found.waiting >= 0 and found.running >= 0


@cases(200)
@given(NUMBERS)
def test_a_damaged_line_of_the_audit_log_is_a_line_or_none(number: int) -> None:
    whole = json.dumps({"seq": 1, "prev": "0" * 64, "time": "2026-01-01T00:00:00.000Z", "kind": "decision", "record": {"a": [1]}})
    line = decoded(damaged(random.Random(number), whole.encode()))
    assert line is None or isinstance(line.record, dict)
