"""Personal data that says whose it is: every value has the number of the one request that sends it, and is recognised anywhere.

So a text tells whose data is in it, without a list of what was ever sent.
"""

import json
import re
from collections.abc import Iterator
from random import Random

FAMILY = 4
"""Values of one kind that one request may have."""
MAX_NUMBER = 10**6
"""Requests are numbered below this."""
PLACEHOLDER = re.compile(r"<(?:EMAIL_ADDRESS|CREDIT_CARD|IBAN_CODE|IP_ADDRESS)_[a-z0-9]{8}>")
_FORMS = re.compile(
    r"""soak\.(?P<mail>\d{7})x\d@[a-z0-9-]+\.example\.org
    | (?<![\d.])4(?P<card>\d{3}\ ?\d{4}\ ?\d{4}\ ?\d{4})\b
    | \bDE\d{2}(?P<iban>\d{18})\b
    | (?<![\d.])10\.(?P<a>\d{1,3})\.(?P<b>\d{1,3})\.(?P<c>\d{1,3})\b""",
    re.VERBOSE,
)


def mail(number: int, which: int, tenant: str) -> str:
    return f"soak.{number:07d}x{which}@{tenant}.example.org"


def card(number: int, which: int) -> str:
    """With a check digit, in groups of four."""
    digits = f"4{number:010d}{which:04d}"
    digits += str(_luhn(digits))
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def iban(number: int, which: int) -> str:
    account = f"{number:014d}{which:04d}"
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _luhn(digits: str) -> int:
    total = sum(sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(digits))
    return -total % 10


def values(number: int, tenant: str, random: Random) -> list[str]:
    """One to four values of the request."""
    made = [mail(number, random.randrange(FAMILY), tenant), card(number, random.randrange(FAMILY))]
    made += [iban(number, random.randrange(FAMILY)), address(number)]
    return random.sample(made, random.randrange(1, len(made) + 1))


def owners(text: str) -> Iterator[tuple[int, str]]:
    """(number, value) of every value in the text, as often as it is there."""
    for match in _FORMS.finditer(text):
        yield _owner(match), match.group()


def _owner(match: re.Match[str]) -> int:
    found = match.groupdict()
    if found["mail"]:
        return int(found["mail"])
    if found["card"]:
        return int(found["card"].replace(" ", "")[:10])
    if found["iban"]:
        return int(found["iban"][:14])
    return int(found["a"]) << 16 | int(found["b"]) << 8 | int(found["c"])


def readable(body: bytes) -> str:
    """A body with its JSON escapes resolved, as a reader would see it; what is no JSON as it is."""
    text = body.decode("utf-8", "replace")
    if "\\" not in text:
        return text
    try:
        return text + json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return text
