"""What hypothesis asks the console: every route, by everybody, with every field given anything."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

from headrace.ext_proc.admin.console.forms import CSRF
from headrace.ext_proc.admin.tokens import Role

PROBE = "q9x"
"""A name that no template has."""
MARKUP = (
    f"<{PROBE}>", f"\"><{PROBE} {PROBE}=1>", f"' {PROBE}='1", f"\" {PROBE}=\"1", f"</textarea></script><{PROBE}>",
    f"&lt;{PROBE}&gt;", f"javascript:{PROBE}", f"//{PROBE}.example/console/", f"{{{{ {PROBE} }}}}",
)  # fmt: skip
GOOD = (
    "user-day", "team-month", "busy", "raise", "set", "reset", "approve", "reject", "end", "hx1", "console.css", "research", "ann",
    "12.50", "5", "true", "on", "2026-11-21T12:00", "2026-11-21T12:00:00Z", "refused", "sent", "/console/budgets",
    "/v1/chat/completions", "content-type: application/json", '{"model": "llama", "messages": [{"role": "user", "content": "hi"}]}',
    "default", "active", "because", "known",
)  # fmt: skip
STRANGE = (
    "", " ", "\0", "a\0b", "\r\nset-cookie: a=b", "\u202e", "\ufeff", "\U0010ffff", "-1", "0", "1e400", "NaN", "Infinity",
    "1" * 400, "٣", "0001-01-01T00:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59", "-1-0",
    f"{2**64}-0",
    "../../etc/passwd", "%", "%00", "null", "[" * 3000, '{"a":' * 1500, "x" * 70_000, "é" * 9000, ":", "a:\u2028b", "x-a: \0",
)  # fmt: skip
BROKEN = (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"a\xffb")
"""No UTF-8."""

texts = st.one_of(
    st.sampled_from(GOOD).map(str.encode),
    st.sampled_from(MARKUP).map(str.encode),
    st.sampled_from(STRANGE).map(str.encode),
    st.sampled_from(BROKEN),
    st.text(max_size=40).map(str.encode),
    st.binary(max_size=20),
)
WORDS = ("missing", "foreign", "wrong", "twice")
"""What is sent as the word of the session."""
TYPE = b"application/x-www-form-urlencoded"
TYPES = (
    b"application/x-www-form-urlencoded; charset=latin-1", b"application/json",
    b"multipart/form-data; boundary=x", b"text/plain", b"", b"\xff", None,
)  # fmt: skip
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")
OWN_SITES = (None, b"same-origin", b"none")
SITES = (b"same-origin", b"none", b"same-site", b"cross-site", b"\xff")


T = TypeVar("T")
Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Made:
    """what: percent-encoded path, query and form. who: who asks. word: what is sent as the session's. raw: instead of any form."""

    method: str
    path: bytes
    query: bytes
    form: Fields
    who: str
    word: str
    type: bytes | None
    site: bytes | None
    part: bytes | None
    raw: bytes | None

    @property
    def may_change(self) -> bool:
        """Whether nothing about it forbids that something is changed, but the visitor's role."""
        right = self.method == "POST" and self.word == "right" and self.raw is None and (self.type or b"").startswith(TYPE)
        return right and self.site in OWN_SITES and self.who not in NOBODIES


def encoded(value: bytes) -> bytes:
    return quote_from_bytes(value, safe="").encode()


PARTS = ("method", "path", "query", "form", "who", "word", "type", "site", "part", "raw")
"""Of a request, which are right unless they are spoilt."""
EVERY_ROLE = "all roles"
ROLES = tuple(role.value for role in Role)
SOON, TOKEN = b"soon", b"token"
"""What stands for a moment to come, and for the admin token of whoever asks."""
FILLED = {
    "amount": b"5", "reason": b"because", "team": b"a", "user": b"b", "until": SOON, "token": TOKEN, "next": b"/console/budgets",
    "path": b"/v1/chat/completions", "body": b'{"model": "llama", "messages": [{"role": "user", "content": "hi"}]}',
}  # fmt: skip
PARAMETERS = {
    "name": ("user-day", "team-month", "console.css"), "kind": ("raise", "set", "reset"), "id": ("known",),
    "exchange": ("hx1", "hx2"), "decision": ("approve", "reject"),
}  # fmt: skip
QUERIES = (st.binary(max_size=30).map(encoded), st.sampled_from([b"", b"&&=", b"%zz"]))
TARGETS = (None, b"", b"rows", f"<{PROBE}>".encode(), f'" {PROBE}="1'.encode(), b"\xff")
NOBODIES = ("nobody", "stranger", "expired session", "expired token", "revoked token")


@st.composite
def made(draw: st.DrawFn, path: str, method: str, parameters: list[str], names: list[str]) -> Made:
    """Requests of one route, right but in a part or two, where they are anything. names: of the fields of every form of it."""
    spoilt = draw(st.sets(st.sampled_from(PARTS), max_size=2))

    def part(name: str, right: T, anything: st.SearchStrategy[T]) -> T:
        return draw(anything) if name in spoilt else right

    fields = _fields(names)
    form = draw(_rightly(names))
    return Made(
        method=part("method", method, st.sampled_from(METHODS)),
        path=_filled(path, parameters, part("path", draw(_right_path(parameters)), st.tuples(*[value for _ in parameters]))),
        query=part("query", form_of(form) if method == "GET" else b"", st.one_of(fields.map(form_of), *QUERIES)),
        form=part("form", form, fields),
        who=part("who", EVERY_ROLE, st.sampled_from((*ROLES, *NOBODIES))),
        word=part("word", "right", st.sampled_from(WORDS)),
        type=part("type", TYPE, st.sampled_from(TYPES)),
        site=part("site", None, st.sampled_from(SITES)),
        part=part("part", None, st.sampled_from(TARGETS)),
        raw=part("raw", None, st.one_of(st.binary(max_size=60), st.just(b"x" * 1_100_000))),
    )


def right(path: str, parameters: list[str], names: list[str]) -> Made:
    """The form of a route as a person sends it who may."""
    where = _filled(path, parameters, tuple(PARAMETERS[parameter][0].encode() for parameter in parameters))
    return Made("POST", where, b"", _filled_in(names), EVERY_ROLE, "right", TYPE, None, None, None)


def but_for_one_part(form: Made, others: Sequence[str]) -> Iterator[Made]:
    """The same, each time with another reason for which nothing may come of it. others: roles that may not."""
    yield from (replace(form, who=who) for who in (*NOBODIES, *others))
    yield from (replace(form, word=word) for word in WORDS)
    yield from (replace(form, site=site) for site in SITES if site not in OWN_SITES)
    yield from (replace(form, type=type) for type in TYPES if not (type or b"").startswith(TYPE))
    yield from (replace(form, method=method) for method in METHODS if method not in ("GET", "POST", "HEAD"))


def _filled_in(names: list[str]) -> Fields:
    return tuple((name.encode(), FILLED.get(name, b"")) for name in names if name != CSRF)


def _rightly(names: list[str]) -> st.SearchStrategy[Fields]:
    """Every field of the form as a person fills it in, but one perhaps, which has anything in it."""
    right = _filled_in(names)
    replaced = st.tuples(st.integers(0, max(len(right) - 1, 0)), st.none() | texts)
    return replaced.map(lambda one: right if one[1] is None else (*right[: one[0]], *_with(right, *one), *right[one[0] + 1 :]))


def _with(right: Fields, index: int, value: bytes | None) -> Fields:
    return tuple((name, value or b"") for name, _ in right[index : index + 1])


def _fields(names: list[str]) -> st.SearchStrategy[Fields]:
    name = st.one_of(st.sampled_from([one.encode() for one in names] or [b"a"]), st.just(b"unknown"), texts)
    return st.lists(st.tuples(name, texts), max_size=6).map(tuple)


value = st.one_of(st.sampled_from(GOOD).map(str.encode), texts).map(encoded)


def _right_path(parameters: list[str]) -> st.SearchStrategy[tuple[bytes, ...]]:
    return st.tuples(*[st.sampled_from(PARAMETERS[parameter]).map(str.encode) for parameter in parameters])


def _filled(path: str, parameters: list[str], values: tuple[bytes, ...]) -> bytes:
    """The route's path, with these in the place of its parameters."""
    filled = path.encode()
    for parameter, one in zip(parameters, values, strict=True):
        filled = filled.replace(b"{" + parameter.encode() + b"}", one)
    return filled


def form_of(fields: Fields) -> bytes:
    return b"&".join(encoded(name) + b"=" + encoded(value) for name, value in fields)
