"""Whether every admitted request was charged once, and exactly, or within the bound of what happened to it."""

from collections.abc import Mapping
from decimal import Decimal

from tests.soak.asks import Api, Manner
from tests.soak.evidence import Case, Losses
from tests.soak.faults.base import Bound
from tests.soak.policy import BULK, BULK_PRICE, COUNTED, PRICES, RESERVED


def charged_wrongly(case: Case) -> Losses:
    if len(case.charges) > 1:
        yield case.loss("charged_twice", f"{len(case.charges)} charges")
    elif case.charges:
        yield from _wrong(case, case.charges[0])
    elif why := _should_cost(case):
        yield case.loss("free_of_charge", why)


def _should_cost(case: Case) -> str:
    """Why a request without a charge ought to have one; empty where it ought not."""
    if case.verdict.ask.manner is Manner.OTHER_PATH:
        return ""
    if case.verdict.status == 200:
        return "its caller was answered"
    refused = case.verdict.status >= 400 or Bound.REFUSED in case.bound
    if any(one.outcome in ("complete", "client gone") and one.completion_tokens for one in case.served) and not refused:
        return "a model generated an answer"
    return ""


def _wrong(case: Case, record: Mapping[str, str]) -> Losses:
    tokens = (int(record["input_tokens"]), int(record["output_tokens"]))
    if why := _wrong_tokens(case, tokens):
        yield case.loss("wrong_charge", f"{tokens} {record['outcome']}, reserved {case.reserved}: {why}")
    if int(record["nano_usd"]) not in _costs(record["model"], tokens):
        yield case.loss("wrong_charge", f"{record['nano_usd']} nano-USD for {tokens} of {record['model']}")


def beyond_reserved(case: Case) -> int:
    """Nano-USD by which the prompt cost more than was reserved: its count is an estimate where no formula is published."""
    reserved = case.reserved
    if reserved is None or not case.charges:
        return 0
    more = max(0, int(case.charges[0]["input_tokens"]) - reserved[0])
    return max(_costs(case.charges[0]["model"], (more, 0)))


def _costs(model: str, tokens: tuple[int, int]) -> set[int]:
    """In nano-USD, under each of the prices that were in force."""
    prices = (BULK_PRICE,) if model == BULK else PRICES
    return {int((Decimal(str(price["input"])) * tokens[0] + Decimal(str(price["output"])) * tokens[1]) * 1000) for price in prices}


def _wrong_tokens(case: Case, tokens: tuple[int, int]) -> str:
    """Why they are wrong; empty where they are right."""
    reserved = case.reserved
    if reserved is None:
        lapsed = not case.served and Bound.AS_RESERVED | Bound.UNRECORDED in case.bound
        return "" if lapsed else "nothing says what was reserved"
    if tokens[1] > reserved[1]:
        return "more answer than was reserved"
    if tokens == reserved and Bound.AS_RESERVED in case.bound:
        return ""
    if not case.served:
        return "" if _gone(case) and tokens == reserved else "no upstream had it"
    if len(case.served) == 1 and _exact(case):
        served = case.served[0]
        told = (served.prompt_tokens, served.completion_tokens)
        return "" if tokens == told else f"the pool says {told}"
    return _wrong_bound(case, tokens, reserved)


def _gone(case: Case) -> bool:
    """Its caller, or the gateway, which did not wait for the service's answer."""
    verdict = case.verdict
    return verdict.left or bool(verdict.broke) or (verdict.status, verdict.code) == (504, "gateway.unavailable")


def _exact(case: Case) -> bool:
    """The pool told its usage, and the gateway read it: nothing was cut short on either side."""
    silent = "usage=false" in case.verdict.ask.script
    return case.served[0].outcome == "complete" and case.verdict.complete and case.verdict.status == 200 and not silent


def _wrong_bound(case: Case, tokens: tuple[int, int], reserved: tuple[int, int]) -> str:
    """Of an answer that was cut short, or whose pool was silent about its usage: what the team's rule says."""
    ask = case.verdict.ask
    if any(one.status >= 400 for one in case.served):
        return "the pool refused it"
    generated = sum(one.completion_tokens for one in case.served)
    exact = any(tokens == (one.prompt_tokens, one.completion_tokens) for one in case.served)
    if not ask.stream and tokens != reserved and not exact:
        return "no stream, no usage, and not what was reserved"
    if ask.tenant.team.startswith(RESERVED) and tokens != reserved and not exact:
        return "neither what was reserved nor what was used"
    counts = not case.broken_upstream and ask.tenant.team.startswith(COUNTED) and ask.stream and ask.api is not Api.EMBEDDINGS
    if counts and tokens[1] > max(generated, 1) and tokens != reserved:
        return f"{generated} were generated"
    return ""
