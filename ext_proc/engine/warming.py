"""What the first request would otherwise wait for: vocabularies take 300 ms to load, the price table 100, a language model 500."""

from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.session import Filter
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem
from headrace.ext_proc.engine.prices import Prices
from headrace.ext_proc.engine.registry import FilterError, third_party
from headrace.ext_proc.engine.tokens import Tokens


def warm(policy: Policy, offload: Offload) -> Policy:
    """`policy`, with the tokenizers and prices of its models loaded, and its filters warm. Blocking.

    Tables that cannot be loaded are left for the filters to report. Raises PolicyErrors for a filter that cannot be made ready.
    """
    load_tables(policy, offload)
    for one in (policy, policy.candidate):
        for filter in one.filters if one is not None else ():
            _begin(filter, policy)
    return policy


def _begin(filter: Filter, policy: Policy) -> None:
    begin = getattr(filter, "warm", None)
    if begin is None:
        return
    try:
        with third_party(f"filter {getattr(filter, 'name', '')!r} cannot be made ready"):
            begin()
    except FilterError as error:
        raise PolicyErrors([Problem(str(policy.path), 0, "", str(error))], policy.files) from error


def load_tables(policy: Policy, offload: Offload) -> None:
    """The tokenizers and prices of its models and its candidate's, as far as they can be loaded. Blocking."""
    tokens, prices = Tokens(policy.path.parent, offload), Prices(policy.catalogue)
    for model in policy.catalogue:
        try:
            tokens.counter(model)(["warm"])
        except (OSError, ValueError):
            continue
        prices.of(model, model.name)
    if policy.candidate is not None:
        load_tables(policy.candidate, offload)
