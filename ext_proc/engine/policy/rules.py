"""What must hold between the parts of a policy: each rule yields the places where it does not, and what would be right."""

import json
from collections.abc import Callable, Iterator, Sequence

from headrace.ext_proc.engine.policy.auditing import auditing_is_complete
from headrace.ext_proc.engine.policy.budgets import ConcurrencyLimit
from headrace.ext_proc.engine.policy.callers import CALLERS
from headrace.ext_proc.engine.policy.catalogue import covers, is_glob
from headrace.ext_proc.engine.policy.models import Model, PolicyDocument
from headrace.ext_proc.engine.policy.pools import Pool
from headrace.ext_proc.engine.policy.problems import Where, suggestion
from headrace.ext_proc.engine.policy.serving import SERVING, routing_settings

Found = Iterator[tuple[Where, str]]


def names_are_unique(document: PolicyDocument) -> Found:
    for part, names in (
        ("models", [model.name for model in document.models]),
        ("budgets", [budget.name for budget in document.budgets]),
    ):
        for index, name in _repeated(names):
            yield (part, index, "name"), f"{name!r} is {part}[{names.index(name)}] already"


def _repeated(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    return ((index, name) for index, name in enumerate(names) if name in names[:index])


def pools_have_upstreams(document: PolicyDocument) -> Found:
    for index, model in enumerate(document.models):
        for place, pool in enumerate(model.pools):
            if pool.upstream not in document.upstreams:
                message = f"there is no upstream {pool.upstream!r}; {suggestion(pool.upstream, document.upstreams)}"
                yield ("models", index, "pools", place, "upstream"), message


def servers_have_metrics(document: PolicyDocument) -> Found:
    for name, upstream in document.upstreams.items():
        if upstream.servers and upstream.metrics is None:
            message = "must name the servers' engine, by whose metrics one of them is picked: vllm, sglang, tensorrt-llm, llama.cpp"
            yield ("upstreams", name, "metrics"), message
        if len(set(upstream.servers)) < len(upstream.servers):
            yield ("upstreams", name, "servers"), "names a server twice"


def tags_belong_to_upstreams(document: PolicyDocument) -> Found:
    known = {tag for upstream in document.upstreams.values() for tag in upstream.tags}
    for where, settings in routing_settings(document):
        tags = settings.get("tags")
        for place, tag in enumerate(tags if isinstance(tags, list) else ()):
            if isinstance(tag, str) and tag not in known:
                yield (*where, "tags", place), f"no upstream has the tag {tag!r}; {suggestion(tag, known)}"


def gpus_have_a_shape(document: PolicyDocument) -> Found:
    for index, model in enumerate(document.models):
        for place, pool in enumerate(model.pools):
            if pool.gpus is not None and model.shape is None:
                message = "is of no use without the model's shape; name its config.json as `shape`"
                yield ("models", index, "pools", place, "gpus"), message


def _restricts(document: PolicyDocument) -> bool:
    """Whether some requests may pass over a pool that holds them: by failover, tags or preferences, by the load of its servers,
    or by what `pii` finds in them."""
    entries = (*document.filters, *(one.set for one in document.overrides))
    return (
        any({"failover", "tags", "prefer"} & set(settings) for _, settings in routing_settings(document))
        or any(upstream.metrics for upstream in document.upstreams.values())
        or any(pool.weight is not None for model in document.models for pool in model.pools)
        or any('"route' in json.dumps(entry["pii"]) for entry in entries if "pii" in entry)
    )


def pools_can_be_reached(document: PolicyDocument) -> Found:
    """Where every request takes the first pool that holds it."""
    if _restricts(document):
        return
    for index, model in enumerate(document.models):
        for place in range(1, len(model.pools)):
            if message := _unreachable(model, model.pools[:place], model.pools[place]):
                yield ("models", index, "pools", place), message


def _unreachable(model: Model, before: Sequence[Pool], pool: Pool) -> str:
    for place, earlier in enumerate(before):
        if earlier.gpus is not None:
            continue  # what it holds is arithmetic: filters/routing/memory.py
        if earlier.max_tokens is None:
            return f"never reached: pools[{place}] has no max_tokens and takes every request"
        if pool.max_tokens is not None and pool.max_tokens <= earlier.max_tokens:
            return f"never reached: pools[{place}] holds {earlier.max_tokens} tokens already; order pools from small to large"
        if model.context is not None and earlier.max_tokens >= model.context:
            return f"never reached: pools[{place}] holds the model's whole context of {model.context} tokens"
    return ""


def models_can_be_reached(document: PolicyDocument) -> Found:
    names = [model.name for model in document.models]
    for index, name in enumerate(names):
        for earlier, glob in enumerate(names[:index]):
            if name != glob and is_glob(name) and covers(glob, name):
                yield ("models", index, "name"), f"never reached: models[{earlier}] {glob!r} matches all of {name!r} first"
                break


def answers_fit_the_context(document: PolicyDocument) -> Found:
    for index, model in enumerate(document.models):
        given = "max_output" in model.model_fields_set  # an embedding model's context may be smaller than the default
        if given and model.context is not None and model.max_output > model.context:
            yield ("models", index, "max_output"), f"must be at most the context of {model.context}, not {model.max_output}"


def budget_levels_are_unique(document: PolicyDocument) -> Found:
    for index, budget in enumerate(document.budgets):
        for place, level in _repeated(budget.per):
            yield ("budgets", index, "per", place), f"{level!r} is given already"


def budgets_have_the_window_they_need(document: PolicyDocument) -> Found:
    for index, budget in enumerate(document.budgets):
        at_once = isinstance(budget.limit, ConcurrencyLimit)
        if at_once and budget.window is not None:
            yield ("budgets", index, "window"), "a limit on concurrency counts what runs at the moment; it has no window"
        if at_once and budget.warn_at:
            yield ("budgets", index, "warn_at"), "a limit on concurrency has no thresholds"
        if not at_once and budget.window is None:
            yield ("budgets", index), "window is missing: minute, hour, day, week, month, or {sliding: seconds}"
        for place, share in _repeated([str(share.normalize()) for share in budget.warn_at]):
            yield ("budgets", index, "warn_at", place), f"{share} is given already"


def filters_are_listed_once(document: PolicyDocument) -> Found:
    names = chain(document)
    for index, name in _repeated(names):
        yield ("filters", index, name), f"the filter is filters[{names.index(name)}] already; a chain has it once"


def parts_have_their_filter(document: PolicyDocument) -> Found:
    """What a part of the policy asks for, a filter must do: a policy that reads as if it protected must protect."""
    present = chain(document)
    for part, given, name in (
        (("identity",), bool(document.identity), "identity"),
        (("budgets",), bool(document.budgets), "budget"),
        (_first_pools(document), bool(_first_pools(document)), "routing"),
        (_first_withdrawn(document), bool(_first_withdrawn(document)), "routing"),
    ):
        if given and name not in present:
            yield part, f"no filter acts on it; add '- {name}: {{}}' to filters"


def _first_pools(document: PolicyDocument) -> Where:
    return next((("models", index, "pools") for index, model in enumerate(document.models) if model.pools), ())


def _first_withdrawn(document: PolicyDocument) -> Where:
    return next((("models", index, "sunset") for index, model in enumerate(document.models) if model.sunset), ())


def filters_have_their_part(document: PolicyDocument) -> Found:
    for index, name in enumerate(chain(document)):
        where: Where = ("filters", index, name)
        if name == "identity" and not document.identity:
            yield where, "nothing says how callers are identified; add a list under identity, such as {api_keys: {file: keys.yaml}}"
        if name == "budget" and not document.budgets:
            yield where, "there are no budgets to enforce; add a list under budgets"
        if name == "routing" and not _first_pools(document):
            yield where, "there is nothing to route to; give a model pools, such as [{upstream: standard}]"


def the_principal_comes_first(document: PolicyDocument) -> Found:
    """Whoever asks who calls must stand after the filter that finds out."""
    names = chain(document)
    identified = names.index("identity") if "identity" in names else None
    if "budget" in names and identified is not None and names.index("budget") < identified:
        yield ("filters", names.index("budget"), "budget"), "must stand after identity, which says whose budget it is"
    asks = next((index for index, budget in enumerate(document.budgets) if {*budget.per} - {"model", "organisation"}), None)
    if identified is None and asks is not None and not document.identity:
        yield ("budgets", asks, "per"), "nobody says who calls; add an identity list, and '- identity: {}' to filters"


def overrides_concern_the_chain(document: PolicyDocument) -> Found:
    names = chain(document)
    known = names[names.index("identity") + 1 :] if "identity" in names else ()
    for index, override in enumerate(document.overrides):
        for name in override.set:
            if name not in names:
                yield ("overrides", index, "set", name), f"the chain has no filter {name!r}; {suggestion(name, names)}"
            elif name not in known:
                message = "who calls is not known before the identity filter has run; only filters after it can be overridden"
                yield ("overrides", index, "set", name), message


def chain(document: PolicyDocument) -> Sequence[str]:
    """The names of the filters, in order."""
    return [name for entry in document.filters for name in entry]


RULES: Sequence[Callable[[PolicyDocument], Found]] = (
    names_are_unique,
    pools_have_upstreams,
    servers_have_metrics,
    pools_can_be_reached,
    gpus_have_a_shape,
    tags_belong_to_upstreams,
    models_can_be_reached,
    answers_fit_the_context,
    budget_levels_are_unique,
    budgets_have_the_window_they_need,
    filters_are_listed_once,
    parts_have_their_filter,
    filters_have_their_part,
    the_principal_comes_first,
    overrides_concern_the_chain,
    lambda document: auditing_is_complete(document.audit),
    *SERVING,
    *CALLERS,
)
