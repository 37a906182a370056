"""Texts to search, from a seed: personal data of every kind Presidio knows without a model, in prose, code, Unicode and noise."""

import random
import string
from collections.abc import Callable

from hypothesis import strategies as st

_PROSE = (
    "Please summarise the discussion in three short points. The committee met on Tuesday, at 10:30, in room 4.",
    "In 2024 the project cost 1,200.50 dollars (about 3%) e.g. for paper.",
    "My phone number is",
    "credit card:",
    "The driver license of the patient is",
    "call me on",
    "bank account",
    "NHS number",
)
_CODE = (
    "def foo(self, x: int) -> None:\n    return self.items[3].name.lower()  # v1.2.3",
    '{"id": "a1b2", "n": [1, 2.5, -3e10], "path": "/usr/lib/x.so.1"}',
    "SELECT a.b, c.d FROM t WHERE x::int = 5 AND y ~ '^[0-9]{3}';",
    "git log --since=2024-01-02T03:04:05Z | grep -E '@@ -1,3 +1,9 @@'",
    "std::vector<int> v; ::ffff:: a::b 1::2 fe80::1%eth0/64 ::",
)
_UNICODE = (
    "Grüße aus Köln, naïve café",
    "日本語のテキスト。電話",
    "Привет мир",
    "שלום",
    "مرحبا ١٢٣٤٥٦٧٨٩",
    "👍🏽 ok \u200b\u2060",
    "ＡＢＣ１２３",
    "é.com",
    "münchen.de",
    "\u0130stanbul.com",
    "\u017fi\u212a",
    "\u0131",
    "１２３-45-6789",
    "\u00a0",
    "\u2028",
    "\u0301",
)
_NOISE = (
    "\x00",
    "\x07\x1b[31m",
    "\x1c\x1d\x1e\x1f",
    "\x85",
    "\r\n",
    "\t",
    "\x0b\x0c",
    "\ud800",
    "a\udfffb",
    "\ufffd",
    "{}[]<>|\\\"'`",
    "  ",
)


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def _luhn(body: str) -> str:
    for check in string.digits:
        digits = [int(digit) for digit in body + check]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
        if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0:
            return body + check
    raise AssertionError("one check digit always fits")


def _card(rng: random.Random) -> str:
    number = _luhn(rng.choice("3456") + _digits(rng, rng.choice([13, 14])))
    gap = rng.choice(["", " ", "-"])
    return gap.join(number[start : start + 4] for start in range(0, len(number), 4))


def _iban(rng: random.Random) -> str:
    country, body = rng.choice([("DE", _digits(rng, 18)), ("GB", "NWBK" + _digits(rng, 14)), ("FR", _digits(rng, 23))])
    number = int("".join(str(int(character, 36)) for character in body + country + "00"))
    iban = f"{country}{98 - number % 97:02}{body}"
    return rng.choice([iban, " ".join(iban[start : start + 4] for start in range(0, len(iban), 4)), iban.lower()])


def _email(rng: random.Random) -> str:
    user = rng.choice(["jane.doe", "o'neil+tag", "x", "a_b-c", "josé", "a..b", "=?q?="])
    hosts = ["example.com", "mail.co.uk", "xn--80ak6aa92e.com", "münchen.de", "localhost", "a.invalid", "x.museum"]
    return f"{user}@{rng.choice(hosts)}"


def _phone(rng: random.Random) -> str:
    return rng.choice(
        [
            f"+1 415-555-{_digits(rng, 4)}",
            f"({rng.randint(200, 999)}) {rng.randint(200, 999)}-{_digits(rng, 4)}",
            f"+49 30 {_digits(rng, 6)}",
            f"020 7946 0{_digits(rng, 3)}",
            f"06 {_digits(rng, 2)} {_digits(rng, 2)} {_digits(rng, 2)} {_digits(rng, 2)}",
            f"+91 98{_digits(rng, 8)}",
            f"16{_digits(rng, 2)}",
            f"0{_digits(rng, 5)}",
            f"054-{_digits(rng, 7)}",
            f"00 49 {_digits(rng, 9)}",
            f"(11) 9{_digits(rng, 4)}-{_digits(rng, 4)}",
            f"＋１ 650 253 {_digits(rng, 4)}",
            f"650 253 0000 x{_digits(rng, 3)}",
            f"415.555.{_digits(rng, 4)}/650.253.{_digits(rng, 4)}",
            f"+43 {_digits(rng, 4)}",
        ]
    )


def _date(rng: random.Random) -> str:
    year, month, day = rng.randint(1900, 2099), rng.randint(1, 13), rng.randint(1, 32)
    return rng.choice(
        [
            f"{year}-{month:02}-{day:02}",
            f"{month}/{day}/{year}",
            f"{day}.{month}.{year % 100:02}",
            f"{day}-Sep-{year}",
            f"mar-{year}",
            f"{year}-{month:02}-{day:02}T23:59:{rng.randint(0, 59):02}.5+02:00",
            f"{month}/{year}",
            f"{year}-01-02 08:00",
            f"12-\u017fep-{year}",
            f"{year}-{month:02}-{day:02}T10:00Z",
        ]
    )


def _address(rng: random.Random) -> str:
    return rng.choice(
        [
            ".".join(str(rng.randint(0, 260)) for _ in range(4)),
            "2001:db8::" + format(rng.randint(0, 65535), "x"),
            "::1",
            "::",
            "::ffff:192.0.2." + str(rng.randint(0, 300)),
            "fe80:0:0:0:1:2:3:4/64",
            "1:2:3:4:5:6:10.0.0.1",
            "10.0.0.0/33",
            "a:b::c%eth0",
        ]
    )


def _url(rng: random.Random) -> str:
    return rng.choice(
        [
            "https://acme.org/x?y=1",
            "www.example.co.uk",
            '"https://shop.example.com/a(b)"',
            "'foo.bar.io'",
            "http://1.2.3.4:80/",
            "node.js",
            "e.g.",
            "HTTP://EXAMPLE.COM/%20",
            "a.b.c.d.community/path",
            "end.of",
            "x.\u0131o",
            "http\u017f://a.com",
            "3.14",
            "file.txt",
            "a.\u212aim",
        ]
    )


def _number(rng: random.Random) -> str:
    return rng.choice(
        [
            f"{_digits(rng, 3)}-{_digits(rng, 2)}-{_digits(rng, 4)}",
            f"9{_digits(rng, 2)}-7{_digits(rng, 1)}-{_digits(rng, 4)}",
            _digits(rng, 9),
            f"{_digits(rng, 3)} {_digits(rng, 3)} {_digits(rng, 4)}",
            "401-023-2137",
            "B" + _digits(rng, 8),
            "AB" + _digits(rng, 6) + "C",
            _digits(rng, rng.randint(1, 20)),
            "BM" + _digits(rng, 7),
            "G9" + _digits(rng, 7),
            "1A2B3C",
            f"{_digits(rng, 5)}-{_digits(rng, 4)}",
        ]
    )


def _token(rng: random.Random) -> str:
    hexes = "".join(rng.choice("0123456789abcdefABCDEF") for _ in range(32))
    pairs = [hexes[at : at + 2] for at in range(0, 12, 2)]
    return rng.choice(
        [
            f"{hexes[:8]}-{hexes[8:12]}-4{hexes[13:16]}-a{hexes[17:20]}-{hexes[20:]}",
            ":".join(pairs),
            "-".join(pairs),
            hexes,
            f"{hexes[:4]}.{hexes[4:8]}.{hexes[8:12]}",
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
            "3" + hexes + hexes,
            "BC1" + hexes,
        ]
    )


def _run(rng: random.Random) -> str:
    return rng.choice(["a", "1", "1 ", "a.", "-", "x@", "0-", "::", "1.", "A1", "(1)", "é", "+"]) * rng.randint(50, 400)


KINDS: tuple[Callable[[random.Random], str], ...] = (
    _card,
    _iban,
    _email,
    _phone,
    _phone,
    _date,
    _address,
    _url,
    _number,
    _number,
    _token,
    lambda rng: rng.choice(_PROSE),
    lambda rng: rng.choice(_PROSE),
    lambda rng: rng.choice(_CODE),
    lambda rng: rng.choice(_UNICODE),
    lambda rng: rng.choice(_NOISE),
)
_GLUE = (" ", " ", " ", "\n", ", ", "", ".", ": ", "\t", "/", " (", ") ", "-", "x", '"')


def generate(seed: int) -> str:
    """A text; the same for the same seed."""
    rng = random.Random(seed)
    pieces = [rng.choice(KINDS)(rng) for _ in range(rng.randint(1, 12))]
    if seed % 25 == 0:
        pieces.append(_run(rng))
    if seed % 40 == 0:
        pieces += ["\n".join(_PROSE)] * rng.randint(1, 5)
        rng.shuffle(pieces)
    return "".join(piece + rng.choice(_GLUE) for piece in pieces)


TEXTS: st.SearchStrategy[str] = st.integers(0, 2**32).map(generate)


# --- official numbers -----------------------------------------------------------------------------------------------------------


def _format(rng: random.Random) -> str:
    """A number as states and companies give them: groups of letters and digits."""
    shapes = ["AA999999A", "999999999", "99999999999", "999-999-999", "A9999999", "99.999.999", "AAAAA9999A", "9999999999999"]
    more = ["99AAAAA9999A9A9", "999999-9999", "A99 9AA", "999999/99/9", "AA-99-AA-9999", "9999 9999 9999", "AAA-999-AA"]
    more += ["999999A999A", "AA99AAA", "99999", "AAA999999", "999999-999A", "9AAA999", "AA 99 99 99 A", "HRB 99999"]
    shape = rng.choice(shapes + more)
    letters = rng.choice([string.ascii_uppercase, string.ascii_lowercase, "ABCDEFGHJKLMNPRSTVWXYZ"])
    digit = rng.choice([string.digits, string.digits, "0123456789", "12", "\u0661\u0662"])
    return "".join(rng.choice(letters) if each == "A" else rng.choice(digit) if each == "9" else each for each in shape)


def official(seed: int) -> str:
    """A text with numbers as states and companies give them; the same for the same seed."""
    rng = random.Random(seed)
    return generate(seed) + " ".join(f"{_format(rng)}{rng.choice(['', '.', ',', ' é'])}" for _ in range(6))
