"""What operators read when a policy is wrong: where, what, and what would be right."""

import pytest

from headrace.ext_proc.engine.policy.compile import compile_policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from tests.engine.policy.support import PORTS, Workbench, registry

GOOD = """
version: 1
upstreams:
  small: {url: "http://10.0.0.1:9001"}
  large: {url: "https://[fd00::1]:9002/base"}
models:
  - name: llama
    context: 1000
    max_output: 100
    price: {input: 0.60, output: 0.80}
    pools: [{upstream: small, max_tokens: 500}, {upstream: large}]
identity:
  - headers: {team: x-team}
budgets:
  - {name: month, per: [team], limit: {usd: 500}, window: month}
filters:
  - identity: {}
  - pii: {entities: [EMAIL]}
  - budget: {}
  - routing: {}
overrides:
  - {when: {team: research}, set: {pii: {mode: shadow}}}
"""

# One change to GOOD per row: what is replaced, by what, and every problem that follows.
CHANGES = [
    ("version: 1", "version: 2", ["2: version: 2 is not 1"]),
    ("version: 1", "", ["3: 'version' is missing"]),
    ("upstreams:", "upstream:", [
        "3: upstream: unknown key; did you mean 'upstreams'?",
    ]),
    ('"http://10.0.0.1:9001"', "ftp://x", [
        "4: upstreams.small.url: 'ftp://x' is not an http:// or https:// URL of host, port and path "
        "(no credentials, query or fragment)"
    ]),
    ("10.0.0.1:9001", "x:99999", ["4: upstreams.small.url: the port of 'http://x:99999' is none of 1 to 65535"]),
    ("small: {url", "Small!: {url", [
        "4: upstreams.Small!: 'Small!' is not a name of 1 to 63 characters a-z, 0-9, _ and - (not first or last)",
    ]),
    ("name: llama", "name: 5", ["7: models[0].name: must be a string, not 5; put it in quotes if it is meant as text"]),
    ("context: 1000", "context: '1000'", ["8: models[0].context: '1000' is not a whole number; did you mean 1000?"]),
    ("context: 1000", "context: yes", ["8: models[0].context: 'yes' is not a whole number"]),
    ("context: 1000", "context: 1.5", ["8: models[0].context: 1.5 is not a whole number"]),
    ("context: 1000", "context: 0", ["8: models[0].context: must be at least 1, not 0"]),
    ("context: 1000", "context: " + "9" * 30, ["8: models[0].context: must be at most 1000000000000, not " + "9" * 30]),
    ("context: 1000", "contxt: 1000", ["8: models[0].contxt: unknown key; did you mean 'context'?"]),
    ("context: 1000", "tokenizer: o200k", [
        "8: models[0].tokenizer: 'o200k' is none of cl100k_base, o200k_base, o200k_harmony, qwen3.5, or {file: …}; "
        "did you mean 'o200k_base'?",
    ]),
    ("context: 1000", "tokenizer: {file: gone.json}", [
        "8: models[0].tokenizer.file: cannot read gone.json: No such file or directory",
    ]),
    ("context: 1000", "tokenizer: [x]", [
        "8: models[0].tokenizer: must be the name of an encoding or {file: tokenizer.json}",
    ]),
    ("max_output: 100", "max_output: 1001", ["9: models[0].max_output: must be at most the context of 1000, not 1001"]),
    ("{input: 0.60, output: 0.80}", "automatic", [
        "10: models[0].price: 'automatic' is none of auto, or {input: …, output: …}; did you mean 'auto'?",
    ]),
    ("{input: 0.60, output: 0.80}", "{input: -1}", [
        "10: models[0].price: 'output' is missing", "10: models[0].price.input: must be at least 0, not -1",
    ]),
    ("{upstream: small, max", "{upstream: smal, max", [
        "11: models[0].pools[0].upstream: there is no upstream 'smal'; did you mean 'small'?",
    ]),
    ("{upstream: large}", "{upstream: large, max_tokens: 400}", [
        "11: models[0].pools[1]: never reached: pools[0] holds 500 tokens already; order pools from small to large",
    ]),
    ("small, max_tokens: 500", "small", [
        "11: models[0].pools[1]: never reached: pools[0] has no max_tokens and takes every request",
    ]),
    ("max_tokens: 500", "max_tokens: 1000", [
        "11: models[0].pools[1]: never reached: pools[0] holds the model's whole context of 1000 tokens",
    ]),
    ("identity:\n", "identity:\n  - {jwt: {}, headers: {}}\n", [
        "13: identity[0]: must be a mapping with exactly one of api_keys, jwt, headers, gateway",
    ]),
    ("{team: x-team}", "{team: X-Team}", [
        "13: identity[0].headers.team: 'X-Team' is not the name of a header in lower case",
    ]),
    ("{team: x-team}", "{taem: x-team}", [
        "13: identity[0].headers.taem: 'taem' is none of organisation, team, app, user, key; did you mean 'team'?",
    ]),
    ("headers: {team: x-team}", "jwt: {jwks: a, audience: b, algorithms: [none]}", [
        "13: identity[0].jwt.algorithms[0]: 'none' is none of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, "
        "ES512, Ed25519",
    ]),
    ("headers: {team: x-team}", "api_keys: {file: keys.yaml}", [
        "13: identity[0].api_keys.file: cannot read keys.yaml: No such file or directory",
    ]),
    ("headers: {team: x-team}", "api_keys: {file: k, store: true}", [
        "13: identity[0].api_keys: must be a mapping with exactly one of file, store",
    ]),
    ("headers: {team: x-team}", "api_keys: {store: false}", ["13: identity[0].api_keys.store: false is not true"]),
    ("window: month", "window: mth", [
        "15: budgets[0].window: 'mth' is none of minute, hour, day, week, month, or {sliding: …}; did you mean 'month'?",
    ]),
    ("window: month", "window: {sliding: 0}", ["15: budgets[0].window.sliding: must be at least 1, not 0"]),
    ("window: month", "window: 60", [
        "15: budgets[0].window: must be one of minute, hour, day, week, month, or {sliding: seconds}",
    ]),
    ("per: [team]", "per: [teem]", [
        "15: budgets[0].per[0]: 'teem' is none of organisation, team, app, user, key, model; did you mean 'team'?",
    ]),
    ("per: [team]", "per: []", ["15: budgets[0].per: must not be empty"]),
    ("per: [team]", "per: team", ["15: budgets[0].per: must be a list, not 'team'; did you mean [team]?"]),
    ("per: [team]", "per: [team, team]", ["15: budgets[0].per[1]: 'team' is given already"]),
    ("{usd: 500}", "{usd: 500, tokens: 1}", ["15: budgets[0].limit: must be a mapping with exactly one of usd, tokens, "
        "input_tokens, output_tokens, requests, concurrency"]),
    ("{usd: 500}", "{concurrency: 3}", [
        "15: budgets[0].window: a limit on concurrency counts what runs at the moment; it has no window"
    ]),
    ("{usd: 500}, window: month", "{concurrency: 3}, warn_at: [0.5]", [
        "15: budgets[0].warn_at: a limit on concurrency has no thresholds"
    ]),
    (", window: month", "", ["15: budgets[0]: window is missing: minute, hour, day, week, month, or {sliding: seconds}"]),
    ("window: month", "window: month, warn_at: [0.5, 0.50]", ["15: budgets[0].warn_at[1]: 0.5 is given already"]),
    ("window: month", "window: month, warn_at: [80]", ["15: budgets[0].warn_at[0]: must be at most 1, not 80; did you mean 0.8?"]),
    ("version: 1", "version: 1\ntime_zone: Mars/Olympus", [
        "3: time_zone: 'Mars/Olympus' is no time zone, such as UTC or Europe/Berlin"
    ]),
    ("{usd: 500}", "{usd: 0}", ["15: budgets[0].limit.usd: must be more than 0, not 0"]),
    ("{usd: 500}", "{usd: lots}", ["15: budgets[0].limit.usd: 'lots' is not a number"]),
    ("window: month}", "window: month}\n  - {name: month, per: [team], limit: {usd: 1}, window: day}", [
        "16: budgets[1].name: 'month' is budgets[0] already",
    ]),
    ("- identity: {}", "- identity", ["17: filters[0]: must be a mapping of keys to values, not 'identity'; write 'identity: {}'"]),
    ("- identity: {}", "- identity:", ["17: filters[0].identity: must be a mapping of keys to values, not null; {} for none"]),
    ("- identity: {}", "- {identity: {}, other: {}}", [
        "17: filters[0]: holds identity, other where one is due; begin each with a '- ' of its own",
    ]),
    ("- budget: {}", "- budgt: {}", [
        "14: budgets: no filter acts on it; add '- budget: {}' to filters",
        "19: filters[2].budgt: there is no filter 'budgt'; did you mean 'budget'?",
    ]),
    ("- budget: {}", "- budget: {}\n  - budget: {}", [
        "20: filters[3].budget: the filter is filters[2] already; a chain has it once",
    ]),
    ("- budget: {}", "- budget: {mode: on}", [
        "19: filters[2].budget.mode: 'on' is none of enforce, shadow, off",
    ]),
    ("- budget: {}", "- budget: {timeout_ms: 0, on_eror: open}", [
        "19: filters[2].budget.on_eror: unknown key; did you mean 'on_error'?",
        "19: filters[2].budget.timeout_ms: must be at least 1, not 0",
    ]),
    ("- routing: {}", "", ["11: models[0].pools: no filter acts on it; add '- routing: {}' to filters"]),
    ("\n    pools: [{upstream: small, max_tokens: 500}, {upstream: large}]", "", [
        "19: filters[3].routing: there is nothing to route to; give a model pools, such as [{upstream: standard}]",
    ]),
    ("{entities: [EMAIL]}", "{entities: [EMAIL, UNKNOWN]}", [
        "18: filters[1].pii.entities[1]: there is no entity 'UNKNOWN'",
    ]),
    ("{entities: [EMAIL]}", "{entities: [CRASH]}", [
        "18: filters[1].pii: filter 'pii' cannot be built: RuntimeError: no such model",
    ]),
    ("{entities: [EMAIL]}", "{floor: 0.9}", ["18: filters[1].pii: floor must be at most threshold, 0.5, not 0.9"]),
    ("set: {pii: {mode: shadow}}", "set: {mode: shadow}", [
        "22: overrides[0].set.mode: must be a mapping of keys to values, not 'shadow'; "
        "filters stand here with their settings, such as {pii: {mode: shadow}}"
    ]),
    ("set: {pii", "set: {pi", ["22: overrides[0].set.pi: the chain has no filter 'pi'; did you mean 'pii'?"]),
    ("set: {pii: {mode: shadow}}", "set: {pii: {mode: shade}}", [
        "22: overrides[0].set.pii.mode: 'shade' is none of enforce, shadow, off; did you mean 'shadow'?",
    ]),
    ("set: {pii: {mode: shadow}}", "set: {pii: {entities: [UNKNOWN]}}", [
        "22: overrides[0].set.pii.entities[0]: there is no entity 'UNKNOWN'",
    ]),
    ("set: {pii: {mode: shadow}}", "set: {pii: {floor: 0.9}}", [
        "22: overrides[0].set.pii: floor must be at most threshold, 0.5, not 0.9",
    ]),
    ("set: {pii: {mode: shadow}}", "set: {identity: {mode: off}}", [
        "22: overrides[0].set.identity: who calls is not known before the identity filter has run; "
        "only filters after it can be overridden",
    ]),
    ("context: 1000", "context: 128k", ["8: models[0].context: '128k' is not a whole number; did you mean 128000?"]),
    ("window: month", "window: 1h", [
        "15: budgets[0].window: '1h' is none of minute, hour, day, week, month, or {sliding: …}; did you mean {sliding: 3600}?",
    ]),
    ("window: month", "window: month, warn_at: [80%]", ["15: budgets[0].warn_at[0]: '80%' is not a number; did you mean 0.8?"]),
    ("{usd: 500}", "{usd: '$1,500'}", ["15: budgets[0].limit.usd: '$1,500' is not a number; did you mean 1500?"]),
    ("- budget: {}", "- budget: {timeout_ms: 2s}", [
        "19: filters[2].budget.timeout_ms: '2s' is not a whole number; did you mean 2000?",
    ]),
    ("input: 0.60", "input: '0,60'", ["10: models[0].price.input: '0,60' is not a number; did you mean 0.6?"]),
    ("{usd: 500}", "{usd: '1,234.50 USD'}", ["15: budgets[0].limit.usd: '1,234.50 USD' is not a number; did you mean 1234.5?"]),
    ("context: 1000", "context: 0.5", ["8: models[0].context: 0.5 is not a whole number"]),
    ("{usd: 500}", "{USD: 500}", ["15: budgets[0].limit: must be a mapping with exactly one of usd, tokens, "
        "input_tokens, output_tokens, requests, concurrency; did you mean 'usd'?"]),
    ("{usd: 500}", "{tokens: 200,000}", [
        "15: budgets[0].limit.000: unknown key; there is concurrency, input_tokens, output_tokens, requests, tokens, usd",
    ]),
    ("headers: {team: x-team}", "api_keys: {file: keys.yaml, peper_file: p}", [
        "13: identity[0].api_keys.peper_file: unknown key; did you mean 'pepper_file'?",
    ]),
    ("- budget: {}", "- budget: {}\n    usage: {}", [
        "19: filters[2]: holds budget, usage where one is due; begin each with a '- ' of its own",
    ]),
    ("{usd: 500}", "{usd: []}", ["15: budgets[0].limit.usd: a list is not a number"]),
    ("name: llama", "name: ''", ["7: models[0].name: must not be empty"]),
    ("context: 1000", "sunset: 2026-02-30", ["8: models[0].sunset: '2026-02-30' is no day, such as 2026-12-31"]),
    ("context: 1000", "Context: 1000", ["8: models[0].Context: unknown key; did you mean 'context'?"]),
    ("identity:\n  - headers: {team: x-team}", "identity:\n  - jwt: x", [
        "13: identity[0].jwt: must be a mapping of keys to values, not 'x'; such as {jwks: …, audience: …}",
    ]),
    ("- routing: {}", "- routing: {tags: [[]]}", [
        "20: filters[3].routing.tags: unknown key; there is mode, on_error, timeout_ms",
    ]),
    ("per: [team]", "per: [app]", [
        "15: budgets[0].per[0]: no source under identity tells the app, so that all callers would share one counter; there is team",
    ]),
    ("when: {team: research}", "when: {user: ann}", [
        "22: overrides[0].when.user: never reached: no source under identity tells the user; there is team",
    ]),
    ("when: {team: research}", "when: {}", ["22: overrides[0].when: must not be empty"]),
    ("when: {team: research}", "when: {team: null}", ["22: overrides[0].when.team: must be a string or a list of strings"]),
    ("when: {team: research}", "when: {teem: x}", [
        "22: overrides[0].when.teem: 'teem' is none of organisation, team, app, user, key; did you mean 'team'?",
    ]),
]  # fmt: skip


def test_the_policy_that_the_table_changes_has_no_problem(bench: Workbench) -> None:
    assert [type(choice).__name__ for choice in bench.compile(GOOD).chain] == ["Fixed", "Varying", "Fixed", "Fixed", "Fixed"]


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES, ids=[f"{old.strip()}-{new.strip()}"[:60] for old, new, _ in CHANGES])
def test_one_mistake_is_named_with_its_line_and_what_would_be_right(
    bench: Workbench, old: str, new: str, expected: list[str]
) -> None:
    assert GOOD.count(old) >= 1
    found = bench.problems(GOOD.replace(old, new, 1).encode())
    assert found == [f"policy.yaml:{problem}" for problem in expected]


def test_a_whole_number_with_an_exponent_is_named_as_one_without(bench: Workbench) -> None:
    """JSON Schema takes it."""
    (found,) = bench.problems(GOOD.replace("context: 1000", "context: 1e5").encode())
    assert found == "policy.yaml:8: models[0].context: 100000.0 is not a whole number; did you mean 100000?"


def test_all_mistakes_are_named_at_once(bench: Workbench) -> None:
    found = bench.problems("""
        version: 1
        models:
          - {name: a, contxt: 1}
          - {name: b, max_output: x}
        budgets:
          - {name: c, per: [team], limit: {usd: 1}, window: mth}
        filters:
          - pii: {threshold: 2}
          - unknown: {}
    """)
    assert [problem.split(": ")[1] for problem in found] == [
        "models[0].contxt", "models[1].max_output", "budgets[0].window", "filters[0].pii.threshold", "filters[1].unknown",
    ]  # fmt: skip


def test_a_budget_of_teams_without_identity_is_a_problem(bench: Workbench) -> None:
    found = bench.problems("""
        version: 1
        budgets: [{name: a, per: [team], limit: {usd: 1}, window: day}]
        filters: [{budget: {}}]
    """)
    assert found == ["policy.yaml:2: budgets[0].per: nobody says who calls; add an identity list, and '- identity: {}' to filters"]


def test_a_budget_before_identity_is_a_problem(bench: Workbench) -> None:
    moved = GOOD.replace("  - identity: {}\n", "").replace("  - routing: {}", "  - identity: {}\n  - routing: {}")
    assert bench.problems(moved.encode()) == [
        "policy.yaml:18: filters[1].budget: must stand after identity, which says whose budget it is",
        "policy.yaml:22: overrides[0].set.pii: who calls is not known before the identity filter has run; "
        "only filters after it can be overridden",
    ]


def test_a_part_that_no_filter_acts_on_is_a_problem(bench: Workbench) -> None:
    found = bench.problems("""
        version: 1
        identity: [{headers: {team: x-team}}]
        filters: []
    """)
    assert found == ["policy.yaml:2: identity: no filter acts on it; add '- identity: {}' to filters"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a", "a"], "models[1].name: 'a' is models[0] already"),
        (["*", "gpt-*"], "models[1].name: never reached: models[0] '*' matches all of 'gpt-*' first"),
        (["gpt-*", "gpt-4*"], "models[1].name: never reached: models[0] 'gpt-*' matches all of 'gpt-4*' first"),
        (["gpt-?*", "gpt-??"], "models[1].name: never reached: models[0] 'gpt-?*' matches all of 'gpt-??' first"),
    ],
)
def test_a_model_that_is_never_found_is_a_problem(bench: Workbench, names: list[str], problem: str) -> None:
    models = "\n".join(f"  - {{name: '{name}'}}" for name in names)
    assert bench.problems(f"version: 1\nmodels:\n{models}\n") == [f"policy.yaml:4: {problem}"]


@pytest.mark.parametrize("names", [["*", "gpt-4"], ["gpt-4*", "gpt-*"], ["gpt-?", "gpt-*"], ["a*", "[ab]*"], ["?*", "*"]])
def test_a_model_that_may_be_found_is_none(bench: Workbench, names: list[str]) -> None:
    models = "\n".join(f"  - {{name: '{name}'}}" for name in names)
    assert len(bench.compile(f"version: 1\nmodels:\n{models}\n").catalogue) == 2


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("reject", ": 'reject' is none of pass, refuse, or [GET /v1/models, …]"),
        ("GET /v1/models", ": 'GET /v1/models' is none of pass, refuse, or [GET /v1/models, …]"),
        ("refused", ": 'refused' is none of pass, refuse, or [GET /v1/models, …]; did you mean 'refuse'?"),
        ("[/v1/models]", "[0]: '/v1/models' is not a method and a path, such as GET /v1/models or GET /v1/models/*"),
        ("[GET /v1/../x]", "[0]: 'GET /v1/../x' is not a method and a path, such as GET /v1/models or GET /v1/models/*"),
        ("[GET /v1/x?y]", "[0]: 'GET /v1/x?y' is not a method and a path, such as GET /v1/models or GET /v1/models/*"),
        ("[]", ": must not be empty"),
        ("{}", ": must be a string or a list of strings"),
    ],
)
def test_other_paths_are_a_word_or_those_that_pass(bench: Workbench, given: str, problem: str) -> None:
    assert bench.problems(f"version: 1\nother_paths: {given}\n") == [f"policy.yaml:2: other_paths{problem}"]


def test_a_long_wrong_value_is_not_repeated_in_full(bench: Workbench) -> None:
    (problem,) = bench.problems(f"version: 1\nother_paths: {'x' * 100_000}\n")
    assert len(problem) < 200


def test_a_policy_that_is_not_there_is_one_problem(bench: Workbench) -> None:
    bench.path.symlink_to(bench.directory / "nothing")
    with pytest.raises(PolicyErrors, match="cannot be read: No such file or directory"):
        compile_policy(bench.path, registry(), PORTS)
