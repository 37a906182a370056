"""What the first request would otherwise wait for: vocabularies take 300 ms to load, the price table 100, a language model 500."""

from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.prices import Prices
from headrace.ext_proc.engine.tokens import Tokens


def warm(policy: Policy, offload: Offload) -> Policy:
    """`policy`, with the tokenizers and prices of its models loaded, and its filters warm. Blocking.

    What cannot be loaded is left for the filters to report: they know how to fail.
    """
    load_tables(policy, offload)
    for one in (policy, policy.candidate):
        for filter in one.filters if one is not None else ():
            if (begin := getattr(filter, "warm", None)) is not None:
                begin()
    return policy


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
