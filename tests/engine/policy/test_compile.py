"""What a compiled policy is: chain, catalogue, overrides, revision."""

from typing import Any

import pytest

from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Link
from headrace.ext_proc.engine.policy.compile import MAX_COMBINATIONS, Policy
from headrace.ext_proc.engine.policy.webhooks import Webhook
from headrace.ext_proc.engine.registry import FilterError
from tests.engine.policy.support import Pii, Plain, Workbench
from tests.tokenizer_files import words

IDENTIFIED = """
version: 1
identity: [{headers: {team: x-team, user: x-user}}]
filters:
  - identity: {}
  - pii: {entities: [EMAIL], timeout_ms: 50}
"""


def choose(policy: Policy, place: int, **principal: str) -> Link | None:
    request = Request("exchange", Headers(), None)
    if principal:
        request.facts.add({PRINCIPAL: Principal(**principal)})
    return policy.chain[place].choose(request)


def pii(policy: Policy, **principal: str) -> Pii:
    link = choose(policy, 1, **principal)
    assert link is not None and isinstance(link.filter, Pii)
    return link.filter


def overridden(bench: Workbench, *overrides: str) -> Policy:
    return bench.compile(IDENTIFIED + "overrides:\n" + "".join(f"  - {override}\n" for override in overrides))


def test_a_link_runs_its_filter_as_the_settings_say(bench: Workbench) -> None:
    link = choose(bench.compile(IDENTIFIED.replace("50", "50, mode: shadow, on_error: open")), 1)
    assert link is not None
    assert (link.name, link.shadow, link.fail_open, link.timeout_ms) == ("pii", True, True, 50)


def test_a_filter_enforces_and_fails_closed_unless_told_otherwise(bench: Workbench) -> None:
    link = choose(bench.compile(IDENTIFIED), 1)
    assert link is not None and not link.shadow and not link.fail_open


def test_a_filter_that_is_off_has_no_link(bench: Workbench) -> None:
    assert choose(bench.compile(IDENTIFIED.replace("50", "50, mode: off")), 1) is None


def test_other_paths_pass_unless_the_policy_refuses_them(bench: Workbench) -> None:
    assert bench.compile("version: 1\n").passes("GET", "/v1/models")
    assert not bench.compile("version: 1\nother_paths: refuse\n").passes("GET", "/v1/models")
    listed = bench.compile("version: 1\nother_paths: [GET /v1/models]\n")
    assert listed.passes("GET", "/v1/models") and not listed.passes("GET", "/v1/files")


class TestOverrides:
    def test_concern_those_who_match_every_field(self, bench: Workbench) -> None:
        policy = overridden(bench, "{when: {team: research, user: [ada, 'bob*']}, set: {pii: {mode: off}}}")
        assert choose(policy, 1, team="research", user="ada") is None
        assert choose(policy, 1, team="research", user="bobby") is None
        assert choose(policy, 1, team="research", user="eve") is not None
        assert choose(policy, 1, team="sales", user="ada") is not None
        assert choose(policy, 1, team="research") is not None

    def test_do_not_concern_a_caller_nobody_named(self, bench: Workbench) -> None:
        policy = overridden(bench, "{when: {team: '*'}, set: {pii: {mode: off}}}")
        assert choose(policy, 1) is not None

    def test_may_be_for_the_organisation_everybody_is_in(self, bench: Workbench) -> None:
        assert choose(overridden(bench, "{when: {organisation: default}, set: {pii: {mode: off}}}"), 1) is None

    def test_capitals_count(self, bench: Workbench) -> None:
        policy = overridden(bench, "{when: {team: 'Res*'}, set: {pii: {mode: off}}}")
        assert choose(policy, 1, team="research") is not None

    def test_later_ones_win_key_by_key(self, bench: Workbench) -> None:
        policy = overridden(
            bench,
            "{when: {team: research}, set: {pii: {entities: [A], threshold: 0.9}}}",
            "{when: {user: ada}, set: {pii: {entities: [B]}}}",
        )
        settings = pii(policy, team="research", user="ada").settings
        assert settings.model_dump(include={"entities", "threshold", "timeout_ms"}) == {
            "entities": ("B",), "threshold": 0.9, "timeout_ms": 50,
        }  # fmt: skip

    def test_of_the_engine_s_own_settings_share_the_filter(self, bench: Workbench) -> None:
        policy = overridden(bench, "{when: {team: research}, set: {pii: {mode: shadow, on_error: open}}}")
        link = choose(policy, 1, team="research")
        assert link is not None and link.shadow and link.fail_open
        assert link.filter is pii(policy)

    def test_turn_a_filter_on_that_is_off_for_others(self, bench: Workbench) -> None:
        text = IDENTIFIED.replace("50", "50, mode: off") + "overrides: [{when: {team: a}, set: {pii: {mode: enforce}}}]"
        policy = bench.compile(text)
        assert choose(policy, 1, team="b") is None
        assert choose(policy, 1, team="a") is not None

    def test_are_built_once_for_everybody_they_concern(self, bench: Workbench) -> None:
        policy = overridden(
            bench, "{when: {team: 'r*'}, set: {pii: {entities: [A]}}}", "{when: {user: x}, set: {pii: {threshold: 1}}}"
        )
        built = len(Plain.built)
        assert pii(policy, team="red") is pii(policy, team="raw") is not pii(policy)
        assert len(Plain.built) == built  # when the policy was compiled
        assert pii(policy, team="red", user="x") is pii(policy, team="raw", user="x")
        assert len(Plain.built) == built + 1  # on demand

    def test_that_only_clash_together_are_found_when_compiling(self, bench: Workbench) -> None:
        text = IDENTIFIED + (
            "overrides:\n  - {when: {team: a}, set: {pii: {threshold: 0.1}}}\n  - {when: {user: b}, set: {pii: {floor: 0.2}}}\n"
        )
        (problem,) = bench.problems(text.encode())
        assert problem == "policy.yaml:9: overrides[1].set.pii: floor must be at most threshold, 0.1, not 0.2"

    def test_that_can_never_meet_do_not_clash(self, bench: Workbench) -> None:
        overridden(bench, "{when: {team: a}, set: {pii: {threshold: 0.1}}}", "{when: {team: b}, set: {pii: {floor: 0.2}}}")

    def test_that_could_meet_in_too_many_ways_are_refused(self, bench: Workbench) -> None:
        overrides = "".join(f"  - {{when: {{user: '{n}*'}}, set: {{pii: {{threshold: 0.{n}}}}}}}\n" for n in range(1, 30))
        (problem,) = bench.problems((IDENTIFIED + "overrides:\n" + overrides).encode())
        assert f"may meet in more than {MAX_COMBINATIONS} ways" in problem

    def test_for_a_thousand_teams_are_fine(self, bench: Workbench) -> None:
        overrides = (f"{{when: {{team: t{n}}}, set: {{pii: {{mode: shadow}}}}}}" for n in range(1000))
        link = choose(overridden(bench, *overrides), 1, team="t999")
        assert link is not None and link.shadow

    def test_that_cannot_be_built_raise_when_they_are_chosen(self, bench: Workbench) -> None:
        policy = overridden(
            bench, "{when: {team: a}, set: {pii: {threshold: 1}}}", "{when: {user: b}, set: {pii: {entities: [EMAIL]}}}"
        )
        Pii.broken = True
        try:
            with pytest.raises(FilterError, match="cannot be built"):
                choose(policy, 1, team="a", user="b")
        finally:
            Pii.broken = False


class TestCatalogue:
    MODELS = "version: 1\nmodels: [{name: 'gpt-4*'}, {name: gpt-4o, context: 7}, {name: 'gpt-*'}, {name: 'm[12]'}]\n"

    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ("gpt-4o", "gpt-4o"),
            ("gpt-4o-mini", "gpt-4*"),
            ("gpt-5", "gpt-*"),
            ("m1", "m[12]"),
            ("m3", None),
            ("GPT-4o", None),
            ("gpt-5\n", "gpt-*"),
            ("", None),
            ("x" * 10_000, None),
            ("gpt-" + "x" * 10_000, None),
        ],
    )
    def test_an_exact_name_wins_then_the_first_glob(self, bench: Workbench, asked: str, found: str | None) -> None:
        model = bench.compile(self.MODELS).catalogue.find(asked)
        assert (model.name if model else None) == found


class TestRevision:
    TEXT = "version: 1\nmodels: [{name: a, tokenizer: {file: t.json}}]\n"

    def revision(self, bench: Workbench, text: str, tokenizer: str) -> Any:
        (bench.directory / "t.json").write_text(tokenizer)
        return bench.compile(text).revision

    def test_is_the_same_for_the_same_content(self, bench: Workbench) -> None:
        assert self.revision(bench, self.TEXT, words()) == self.revision(bench, self.TEXT, words())

    def test_changes_with_the_policy_and_with_the_files_it_names(self, bench: Workbench) -> None:
        texts, files = (self.TEXT, self.TEXT + "#"), (words(), words(fold=True))
        revisions = {self.revision(bench, text, file) for text in texts for file in files}
        assert len(revisions) == 4

    def test_the_files_named_are_told(self, bench: Workbench) -> None:
        self.revision(bench, self.TEXT, words())
        assert bench.compile(self.TEXT).files == {bench.directory / "t.json"}


SECRETS = [
    ("whsec_" + "A" * 32, b"\0" * 24),
    ("a secret of twenty-four.", b"a secret of twenty-four."),
    ("whsec_" + "A" * 28, None),
    ("whsec_not base64 at all, though long", None),
    ("short", None),
]


@pytest.mark.parametrize(("secret", "key"), SECRETS)
def test_a_webhooks_secret_is_read_with_the_policy(bench: Workbench, secret: str, key: bytes | None) -> None:
    (bench.directory / "hook.secret").write_text(secret + "\n")
    text = b'version: 1\nalerts: {webhook: {url: "https://ops.example/hook", secret: {file: hook.secret}}}\n'
    if key is None:
        (problem,) = bench.problems(text)
        assert "must be whsec_ and 24 to 64 bytes in base64, or at least 24 characters" in problem
    else:
        webhook = bench.compile(text).webhook
        assert webhook == Webhook("https://ops.example/hook", key)
        assert "AAA" not in repr(webhook) and "secret" not in repr(webhook)
