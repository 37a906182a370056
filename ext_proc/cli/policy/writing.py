"""Writes a first policy, with comments, and cases that test it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Identity = Literal["headers", "keys"]
Pii = Literal["replace", "block", "report", "none"]

PII_WORDS: Final[Mapping[Pii, str]] = {
    "replace": "it is replaced by placeholders, and put back into the answer",
    "block": "the request is refused, with the places and kinds, never the values",
    "report": "it is reported in the decision log, and sent",
    "none": "nobody looks for it",
}
_SETTINGS: Final[Mapping[Pii, str]] = {
    "replace": "{request: replace, restore: true}",
    "block": "{request: block}",
    "report": "{mode: shadow}",
}
EMAIL: Final = "ada@example.com"
SCHEMA: Final = "policy.schema.json"
"""The JSON Schema for editors, beside the policy."""


@dataclass(frozen=True)
class Answers:
    """upstreams: name → URL, the first the usual one. usd: each team's month, a decimal number; empty for no budget."""

    upstreams: Mapping[str, str]
    model: str
    priced: bool
    """Whether a price of the model is published; otherwise the policy has a placeholder to be filled in."""
    identity: Identity
    usd: str
    pii: Pii


def policy(given: Answers) -> str:
    """The policy file."""
    parts = [_head(), _upstreams(given), _models(given), _identity(given), _budgets(given), _filters(given), _other_paths()]
    return "\n".join(part for part in parts if part)


def _head() -> str:
    schema = f"# yaml-language-server: $schema={SCHEMA}\n"
    told = "# `headrace check` says what it does, or what is wrong with it; `headrace test` plays the cases beside it.\n"
    return f"{schema}{told}version: 1\n"


def _upstreams(given: Answers) -> str:
    lines = [f"  {name}: {{url: {json.dumps(url)}}}\n" for name, url in given.upstreams.items()]
    return f"upstreams:  # the model servers\n{''.join(lines)}"


def _models(given: Answers) -> str:
    first, *rest = given.upstreams
    limit = ", max_tokens: 8192" if rest else ""
    pools = [f"      - {{upstream: {first}{limit}}}\n", *(f"      - {{upstream: {name}}}\n" for name in rest[:1])]
    price = "auto  # the published price" if given.priced else "{input: 1.00, output: 3.00}  # USD per million tokens: put yours"
    lines = [
        "models:  # the approved catalogue: a model that is not here is refused\n",
        f"  - name: {json.dumps(given.model)}\n",
        "    max_output: 4096  # tokens of answer that are assumed when a request names no cap\n",
        f"    price: {price}\n",
        "    pools:  # in order: the first that holds prompt and answer\n",
        *pools,
    ]
    return "".join(lines)


def _identity(given: Answers) -> str:
    if given.identity == "keys":
        return "identity:  # headrace keys create --team research\n  - api_keys: {file: keys.yaml}\n"
    return "identity:  # set by the gateway in front, which authenticates\n  - headers: {team: x-team, user: x-user}\n"


def _budgets(given: Answers) -> str:
    if not given.usd:
        return ""
    budget = f"{{name: team-month, per: [team], limit: {{usd: {given.usd}}}, window: month, warn_at: [0.8]}}"
    return f"budgets:  # all must admit\n  - {budget}\n"


def _filters(given: Answers) -> str:
    lines = ["  - identity: {}\n"]
    if given.pii != "none":
        lines.append(f"  - pii: {_SETTINGS[given.pii]}  # {PII_WORDS[given.pii]}\n")
    lines += ["  - budget: {}\n"] if given.usd else []
    return f"filters:  # the chain, in order\n{''.join(lines)}  - routing: {{}}\n"


def _other_paths() -> str:
    told = "# requests that no filter reads: what is not listed is refused (batches, files, audio …)\n"
    return f"other_paths:  {told}  - GET /v1/models\n  - GET /v1/models/*\n"


def cases(given: Answers) -> str:
    """The file of cases: what the policy is for, as far as one can tell without knowing the traffic."""
    usual, *others = given.upstreams
    found = [_case("an ordinary request is sent", given, "How are you?", [f"route: {usual}", "refused: false"])]
    if others:
        large = ["refused: false", f"route: {others[0]}"]
        found.append(_case("a prompt that the usual servers do not hold goes to others", given, "word " * 9000, large))
    found.append(_unknown_model())
    found += _of_pii(given)
    return f"# Played by `headrace test`.\ncases:\n{''.join(found)}"


def _case(name: str, given: Answers, content: str, expect: Sequence[str]) -> str:
    body = json.dumps({"model": given.model, "max_tokens": 64, "messages": [{"role": "user", "content": content}]})
    return _written(name, body, expect)


def _unknown_model() -> str:
    body = json.dumps({"model": "no-such-model", "messages": []})
    return _written("a model that is not approved is refused", body, ["refused: {status: 403, code: model.not_allowed}"])


def _of_pii(given: Answers) -> Sequence[str]:
    text = f"Write to {EMAIL}"
    spans = "spans: [{type: EMAIL_ADDRESS}]"
    match given.pii:
        case "replace":
            return [_case("an e-mail address does not reach the model", given, text, [spans, f"never_sent: [{EMAIL}]"])]
        case "block":
            return [_case("an e-mail address is refused", given, text, ["refused: {code: pii.blocked}"])]
        case "report":
            return [_case("an e-mail address is reported", given, text, [spans, "sent: {body: unchanged}"])]
        case "none":
            return []


def _written(name: str, body: str, expect: Sequence[str]) -> str:
    wanted = "".join(f"      {line}\n" for line in expect)
    return f"  - name: {name}\n    as: {{team: research, user: ada}}\n    request:\n      body: {body}\n    expect:\n{wanted}"
