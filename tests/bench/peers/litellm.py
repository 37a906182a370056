"""LiteLLM's configuration files."""

from collections.abc import Mapping
from string import Template

from .budget import LIMIT_USD, PRICE_IN, PRICE_OUT

TIGHT = LIMIT_USD
ENVIRONMENT: Mapping[str, str] = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download of prices at start
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
}
PATTERNS = ("email", "us_ssn", "us_phone", "credit_card", "visa", "mastercard", "iban")
ENTITIES = ("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "PHONE_NUMBER", "US_SSN")

_CONFIG = Template("""\
model_list:
  - model_name: llama-3.3-70b
    litellm_params:
      model: openai/llama-3.3-70b
      api_base: $upstream/v1
      api_key: unused
      input_cost_per_token: $input
      output_cost_per_token: $output
$budget
general_settings:
  master_key: $key
$guardrails
""")


def config(upstream: str, key: str, *, guardrails: str = "", budget: float | None = None) -> str:
    """A proxy with one model. budget: USD a day for it."""
    limit = "" if budget is None else f"      max_budget: {budget:.6f}\n      budget_duration: 1d\n"
    prices = {"input": f"{PRICE_IN / 1e6:.8f}", "output": f"{PRICE_OUT / 1e6:.8f}"}
    return _CONFIG.substitute(upstream=upstream, key=key, budget=limit, guardrails=guardrails, **prices)


def content_filter() -> str:
    """Its own filter by patterns, on prompts and answers."""
    patterns = "".join(f"        - {{pattern_type: prebuilt, pattern_name: {name}, action: MASK}}\n" for name in PATTERNS)
    return _guardrail("litellm_content_filter", f"      patterns:\n{patterns}")


def presidio(url: str) -> str:
    """Presidio at `url`, on prompts and answers."""
    entities = "".join(f"        {name}: MASK\n" for name in ENTITIES)
    bases = f"      presidio_analyzer_api_base: {url}\n      presidio_anonymizer_api_base: {url}\n"
    return _guardrail("presidio", f"{bases}      presidio_filter_scope: both\n      pii_entities_config:\n{entities}")


def _guardrail(kind: str, more: str) -> str:
    common = f"      guardrail: {kind}\n      mode: [pre_call, post_call]\n      default_on: true\n"
    return f"guardrails:\n  - guardrail_name: pii\n    litellm_params:\n{common}{more}"
