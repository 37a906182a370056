"""Secrets: keys of the big providers, private keys, JWTs, connection strings, and what is called a password."""

import math
import re
from collections import Counter

from headrace.filters.pii.custom import LinearPattern, LinearRecognizer

API_KEY, PRIVATE_KEY, JWT = "API_KEY", "PRIVATE_KEY", "JWT"
CONNECTION_STRING, SECRET = "CONNECTION_STRING", "SECRET"

# From the providers' documentation: a prefix of their own, then random characters.
_KEYS = (
    r"sk-ant-[a-z0-9]{3,8}-[\w-]{20,200}",  # Anthropic
    r"sk-(?:proj-|svcacct-|admin-|or-v1-)?[\w-]{20,200}",  # OpenAI, OpenRouter, DeepSeek
    r"(?:AKIA|ASIA)[A-Z2-7]{16}",  # AWS
    r"AIza[\w-]{35}",  # Google
    r"ya29\.[\w-]{20,400}",
    r"gh[pousr]_[A-Za-z0-9]{36,255}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{22,255}",
    r"glpat-[\w-]{20,64}",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9-]{10,250}",  # Slack
    r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,128}",  # Stripe
    r"hf_[A-Za-z0-9]{30,64}",  # Hugging Face
    r"SG\.[\w-]{16,32}\.[\w-]{16,64}",  # SendGrid
    r"SK[0-9a-f]{32}",  # Twilio
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgEI[\w-]{50,250}",
    r"dop_v1_[a-f0-9]{64}",  # DigitalOcean
    r"gsk_[A-Za-z0-9]{40,64}",  # Groq
    r"xai-[A-Za-z0-9]{60,100}",
    r"pplx-[A-Za-z0-9]{40,64}",  # Perplexity
    r"r8_[A-Za-z0-9]{30,50}",  # Replicate
    r"hr-[\w-]{32,128}",  # Headrace
)
_FIRST_RUN = re.compile(r"\{.*")
"""Of random characters, three or more, and what comes behind it."""
_EDGE = r"(?:^|[^\w-])"
_PEM = r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----[^-]*(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
_TOKEN = r"\beyJ[\w-]{8,1000}\.eyJ[\w-]{8,1000}(?:\.[\w-]{0,1000})?"
# None ends with a backslash: in JSON that is the beginning of the escape behind it, of the quotation mark that ends a string.
_TAIL = r"[/?](?:[^\s'\"<>,;]{0,199}[^\s'\"<>,;\\])?"
_URL_WITH_PASSWORD = rf"\b[a-z][a-z0-9+.-]{{1,24}}://[^\s:/@'\"<>]{{0,64}}:[^\s/@'\"<>]{{3,128}}@[\w.\-\[\]:]+(?:{_TAIL})?"
_SERVER = r"(?:Server|Data Source|Host|Endpoint|AccountName)=[^;\n]{1,128}"
_PASSWORD = r"[\\\"']{0,3}[^;\s\"']{3,127}[^;\s\"'\\]"
_PAIRS_WITH_PASSWORD = rf"{_SERVER};[^\n]{{0,256}}?(?:Password|Pwd|AccountKey|SharedAccessKey)={_PASSWORD}"
_KIND_OF_KEY = "(?:api|access|secret|private)[_-]?key|(?:auth|access|api)[_-]?token|client[_-]?secret"
_CALLED = rf"(?:pass(?:word|wd|phrase)?|pwd|secret|{_KIND_OF_KEY}|bearer)"
_VALUE = r"[^\s\"'<>(){},;]{7,127}[^\s\"'<>(){},;\\]"
_ASSIGNED = rf"(?:^|[^a-z]){_CALLED}[\"']?(?:\s{{0,3}}(?:[:=]|=>|\bis\b)\s{{0,3}}|\s)[\"']?({_VALUE})"

LEAST_BITS = 3.0
"""Bits a character: random letters and digits have 3.3 at twelve characters, words less than three."""


def is_random(value: str) -> bool:
    """Whether a text looks made by chance: letters and digits, hardly any of them twice."""
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    return letters and digits and entropy(value) >= LEAST_BITS and not value.startswith(("$", "%", "http"))


def entropy(value: str) -> float:
    """Shannon's, in bits a character."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)


SECRETS = (
    LinearRecognizer(
        API_KEY,
        API_KEY,
        tuple(LinearPattern(f"{_EDGE}({key})", 0.9, ignore_case=False) for key in _KEYS),
        hints=tuple(_FIRST_RUN.sub(r"{3}", key) for key in _KEYS),
    ),
    LinearRecognizer(PRIVATE_KEY, PRIVATE_KEY, (LinearPattern(_PEM, 1.0, ignore_case=False),), hints=("PRIVATE KEY",)),
    LinearRecognizer(JWT, JWT, (LinearPattern(_TOKEN, 0.9, ignore_case=False),), hints=("eyJ",)),
    LinearRecognizer(
        CONNECTION_STRING,
        CONNECTION_STRING,
        (LinearPattern(_URL_WITH_PASSWORD, 0.8), LinearPattern(_PAIRS_WITH_PASSWORD, 0.8)),
        hints=(r":[^\s/@]+@", "(?:Password|Pwd|Key)="),
    ),
    LinearRecognizer(SECRET, SECRET, (LinearPattern(_ASSIGNED, 0.6),), check=is_random, hints=("pass|pwd|secret|key|token|bear",)),
)
ENTITIES = tuple(each.entity for each in SECRETS)

# Presidio takes for a card what has a card's check digit. Typed wrongly, or of another kind, a number beside the word is one, too.
CARD_IN_CONTEXT = LinearRecognizer(
    "CardInContext",
    "CREDIT_CARD",
    (LinearPattern(r"\b(\d{12,19}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,4})\b", 0.1),),
    context=("card", "visa", "mastercard", "amex", "maestro"),
    hints=(r"\d(?:[ -]?\d){11}",),
)
