"""Which overrides concern a caller is found without trying them all, and comes out the same."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from headrace.ext_proc.core.principal import LEVELS, Principal
from headrace.ext_proc.engine.policy import chain
from headrace.ext_proc.engine.policy.chain import ByValue, Scope
from headrace.ext_proc.engine.policy.models import Override

names = st.sampled_from(["a", "b", "ab", "c"])
globs = st.sampled_from(["a", "b", "ab", "a*", "?", "*", "[ab]"])
whens = st.dictionaries(st.sampled_from(LEVELS), globs | st.lists(globs, min_size=1, max_size=3, unique=True), min_size=1)
callers = st.builds(Principal, organisation=names, **{level: st.none() | names for level in LEVELS if level != "organisation"})


def scopes(*whens: Any) -> list[Scope]:
    return [Scope.of(Override.model_validate({"when": when, "set": {"pii": {"mode": "shadow"}}})) for when in whens]


@given(st.lists(whens, max_size=6), callers)
def test_a_caller_is_concerned_by_the_scopes_that_hold_in_their_order(given: list[Any], caller: Principal) -> None:
    found = scopes(*given)
    assert ByValue(found).concerning(caller) == tuple(index for index, scope in enumerate(found) if scope.holds(caller))


def test_of_a_thousand_teams_overrides_only_the_callers_own_is_tried(monkeypatch: Any) -> None:
    kept = ByValue(scopes(*({"organisation": "mill", "team": f"t{number}"} for number in range(1000)), {"user": "a*"}))
    tried: list[Scope] = []
    holds = Scope.holds

    def counted(scope: Scope, caller: Principal) -> bool:
        tried.append(scope)
        return holds(scope, caller)

    monkeypatch.setattr(chain.Scope, "holds", counted)
    caller = Principal(organisation="mill", team="t7", user="ada")
    assert kept.concerning(caller) == (7, 1000)
    assert kept.concerning(structs.replace(caller, team=None)) == (1000,)
    assert len(tried) == 3
