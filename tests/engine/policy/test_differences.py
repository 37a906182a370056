"""What differs between two policies, in words."""

from pathlib import Path

import pytest

from headrace.ext_proc.engine.policy.differences import differences
from tests.filters.compiled import compiled

BASE = """
version: 1
upstreams: {a: {url: "http://a:1"}, b: {url: "http://b:1"}}
models:
  - {name: small, price: {input: 1, output: 2}, pools: [{upstream: a, max_tokens: 10}, {upstream: b}]}
  - {name: "l*"}
identity: [{headers: {team: x-team}}]
budgets: [{name: day, per: [team], limit: {tokens: 100}, window: day}]
filters:
  - identity: {}
  - pii: {entities: [EMAIL_ADDRESS, URL], model: none}
  - budget: {}
  - routing: {}
overrides:
  - {when: {team: x}, set: {pii: {mode: shadow}}}
"""

CHANGES = [
    ("mode: shadow", "mode: 'off'", "override team x: pii.mode from shadow to off"),
    ("limit: {tokens: 100}", "limit: {tokens: 99}", "budget day: limit.tokens from 100 to 99: lowered"),
    ("limit: {tokens: 100}", "limit: {tokens: 101}", "budget day: limit.tokens from 100 to 101: raised"),
    ("per: [team]", "per: [team, model]", "budget day: per from [team] to [team, model]: now model"),
    ("window: day", "window: hour", "budget day: window from day to hour: it counts from nothing"),
    ("max_tokens: 10}", "max_tokens: 11}", "model small: pools.a.max_tokens from 10 to 11"),
    ("output: 2", "output: 3", "model small: price.output from 2 to 3: for requests from now on; what was settled stays"),
    ("- {name: small", "- {name: great", "model small: gone: requests for it are refused"),
    ("- {name: small", "- {name: great", "model great: new: requests for it are answered"),
    ("team: x-team}", "team: x-team, user: x-user}", "identity headers: user is new: x-user"),
    ("a: {url: \"http://a:1\"}", "a: {url: \"http://a:2\"}", "upstream a: url from http://a:1 to http://a:2"),
    ("URL]", "IBAN_CODE]", "filter pii: entities from [EMAIL_ADDRESS, URL] to [EMAIL_ADDRESS, IBAN_CODE]: no longer URL;"),
    ("model: none", "model: none, request: {default: replace, URL: block}",
        "filter pii: request.URL from replace to block: requests with it are refused"),
    ("model: none", "model: none, request: report", "filter pii: request from replace to report: it is recorded"),
    ("- budget: {}", "- budget: {on_error: open}", "filter budget: on_error from closed to open: requests go on without it"),
    ("- budget: {}", "- budget: {mode: shadow}", "filter budget: mode from enforce to shadow: what it would do is recorded"),
    ("- routing: {}", "- routing: {}\n  - usage: {}", "filter usage: new: after routing"),
    ("version: 1", "version: 1\nother_paths: refuse", "policy as a whole: other_paths from pass to refuse"),
    ("when: {team: x}", "when: {team: [y, z]}", "override team y/z: new: {pii: {mode: shadow}}"),
]  # fmt: skip


def differing(folder: Path, one: str, other: str) -> list[str]:
    (folder / "new").mkdir()
    return list(map(str, differences(compiled(folder, one), compiled(folder / "new", other))))


@pytest.mark.parametrize(("what", "instead", "says"), CHANGES, ids=[f"{says[:60]}" for *_, says in CHANGES])
def test_a_change_is_said_with_what_follows(what: str, instead: str, says: str, tmp_path: Path) -> None:
    assert BASE.count(what) == 1
    found = differing(tmp_path, BASE, BASE.replace(what, instead))
    assert any(one.startswith(says) for one in found), found
    assert len(found) <= 2


def test_what_is_written_otherwise_is_no_difference(tmp_path: Path) -> None:
    same = BASE.replace("- budget: {}", "- budget: {mode: enforce, on_error: closed}").replace(
        "version: 1", "# a policy\nversion: 1"
    )
    assert differing(tmp_path, BASE, same) == []


def test_order_is_said_where_it_has_a_meaning(tmp_path: Path) -> None:
    swapped = BASE.replace("  - budget: {}\n  - routing: {}", "  - routing: {}\n  - budget: {}")
    (found,) = differing(tmp_path, BASE, swapped)
    assert found.startswith("filters: order from [identity, pii, budget, routing] to [identity, pii, routing, budget]: each sees")


def test_overrides_of_the_same_callers_are_told_apart(tmp_path: Path) -> None:
    again = BASE + "  - {when: {team: x}, set: {pii: {mode: 'off'}}}\n"
    assert differing(tmp_path, BASE, again) == ["override team x (2): new: {pii: {mode: off}}"]


def test_a_file_with_other_content_is_named(tmp_path: Path) -> None:
    shaped = BASE.replace('- {name: "l*"}', '- {name: "l*", shape: config.json}')
    (tmp_path / "new").mkdir()
    config = '{"num_hidden_layers": %d, "num_attention_heads": 8, "hidden_size": 512, "torch_dtype": "bfloat16"}'
    (tmp_path / "config.json").write_text(config % 2)
    (tmp_path / "new" / "config.json").write_text(config % 16)
    found = differences(compiled(tmp_path, shaped), compiled(tmp_path / "new", shaped))
    assert [(one.subject, one.what) for one in found] == [("file config.json", "content")]
