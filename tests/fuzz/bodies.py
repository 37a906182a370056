"""Bodies with something odd about them: changed as documents, spelled oddly, and damaged as bytes."""

import gzip
import random
import zlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from tests.fuzz.seeds import Seed
from tests.fuzz.trees import Member, Members, Node, Place, Spelled, Style, objects, places, tree

Change = Callable[[random.Random, Members, str], None]
"""Changes a document in place. The text is the personal data of the request."""

NAMES = ["model", "messages", "max_tokens", "stream", "n", "input", "prompt", "content", "text", "tools", "system", "user", "é", ""]
ODD_NUMBERS = [
    b"1e5",
    b"1.0",
    b"-0",
    b"0e0",
    b"1E+2",
    b"9" * 30,
    b"9" * 4000,
    b"9" * 5000,
    b"1e999",
    b"-1",
    b"0x10",
    b"01",
    b".5",
    b"+1",
]
ODD_NUMBERS += [b"NaN", b"Infinity", b"-Infinity", b"1_000", b"1.", b"100.0", b"1e2", b"9007199254740993", b"18446744073709551616"]
ODD_VALUES: list[Any] = [None, True, False, 0, 5, -1, 1.5, "", "x", "true", [], {}, [[]], ["x"], {"a": 1}, [None]]
MODELS = [
    "boundless",
    "claude-x",
    "LLAMA-3.3-70B",
    "llama-3.3-70b ",
    "llama-3.3-70b\0",
    "no-such",
    "llama-3.3-70b\n",
    "*",
    "\ud800",
]
FOLDS = {"s": "ſ", "k": "\N{KELVIN SIGN}", "i": "İ", "a": "ａ"}


def _any(chance: random.Random, root: Node) -> Place:
    return chance.choice(list(places(root)))


def _member(chance: random.Random, root: Members) -> tuple[Members, Member]:
    """Mostly of the root: decisions hang on those."""
    filled = [found for found in objects(root) if found]
    holder = root if chance.random() < 0.6 and root else chance.choice(filled)
    return holder, chance.choice(holder)


def twice(chance: random.Random, root: Members, mail: str) -> None:
    holder, member = _member(chance, root)
    other = chance.choice([deepcopy(member.value), mail, *(tree(value) for value in ODD_VALUES), chance.choice(MODELS)])
    holder.insert(chance.choice([0, len(holder)]), Member(_respelled(chance, member.name), other))


def _respelled(chance: random.Random, name: Node) -> Node:
    """The same name to some reader."""
    if not isinstance(name, str) or not name:
        return name
    at = chance.randrange(len(name))
    escaped = Spelled(f'"{name[:at]}\\u{ord(name[at]):04x}{name[at + 1 :]}"'.encode("utf-8", "replace"))
    folded = name[:at] + FOLDS.get(name[at], name[at].upper()) + name[at + 1 :]
    spellings: list[Node] = [name, escaped, name.upper(), name.capitalize(), folded, f"{name}\0", f" {name}"]
    return chance.choice(spellings)


def renamed(chance: random.Random, root: Members, mail: str) -> None:
    member = _member(chance, root)[1]
    member.name = _respelled(chance, member.name)


def retyped(chance: random.Random, root: Members, mail: str) -> None:
    _any(chance, root).put(tree(chance.choice(ODD_VALUES)))


def renumbered(chance: random.Random, root: Members, mail: str) -> None:
    caps = [one for one in root if one.name in ("max_tokens", "n", "max_completion_tokens", "max_output_tokens", "best_of")]
    spelled = Spelled(chance.choice(ODD_NUMBERS))
    if caps and chance.random() < 0.6:
        chance.choice(caps).value = spelled
    else:
        root.append(Member(chance.choice(["seed", "max_tokens", "n", "best_of", "x"]), spelled))


def remodelled(chance: random.Random, root: Members, mail: str) -> None:
    for member in root:
        if member.name == "model":
            member.value = chance.choice(MODELS)


def dropped(chance: random.Random, root: Members, mail: str) -> None:
    holder, member = _member(chance, root)
    holder.remove(member)


def added(chance: random.Random, root: Members, mail: str) -> None:
    holder = chance.choice(objects(root))
    value: Any = chance.choice(
        [mail, [mail], {"y": [mail]}, {"type": "text", "text": mail}, f'{{"a": "{mail}"}}', chance.choice(ODD_VALUES)]
    )
    holder.append(Member(chance.choice([*NAMES, "x", "__proto__", "metadata", "$ref"]), tree(value)))


def named(chance: random.Random, root: Members, mail: str) -> None:
    chance.choice(objects(root)).append(Member(chance.choice([mail, f"a {mail}", mail.upper()]), 1))


def deep(chance: random.Random, root: Members, mail: str) -> None:
    levels = chance.choice([5, 100, 150, 195, 205, 500, 3000])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    inside = b'"%b"' % mail.encode() if chance.random() < 0.7 else b"1"
    root.append(Member("x", Spelled(opening * levels + inside + closing * levels)))


def halved(chance: random.Random, root: Members, mail: str) -> None:
    half = chance.choice([b"\\ud83d", b"\\ude00", b"\\ude00\\ud83d", b"\\uD800", b"\xed\xa0\x80"])
    before, after = chance.choice([(half, b""), (b"", half), (half, half)])
    _any(chance, root).put(Spelled(b'"' + before + b" " + mail.encode() + b" " + after + b'"'))


def controlled(chance: random.Random, root: Members, mail: str) -> None:
    odd = chance.choice([b"\\u0000", b"\x00", b"\n", b"\\u007f", b"\\ufeff", b"\\u200b", b"\\x41", b"\\u00", b"\\'", b"\\u2028"])
    _any(chance, root).put(Spelled(b'"' + odd + mail.encode() + odd + b'"'))


def nested(chance: random.Random, root: Members, mail: str) -> None:
    """JSON within a string, within a string."""
    style = Style(chance, chance.choice([0, 30]))
    inner = style.write(tree({"a": mail})).decode("utf-8", "replace")
    for _ in range(chance.randint(1, 3)):
        inner = style.write(inner).decode("utf-8", "replace") if chance.random() < 0.5 else inner
    _any(chance, root).put(inner)


def moved(chance: random.Random, root: Members, mail: str) -> None:
    copied = deepcopy(_any(chance, root).node)
    _any(chance, root).put(copied)


def recoded(chance: random.Random, root: Members, mail: str) -> None:
    """The mail in letters that mean the same."""
    wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in mail)
    at = chance.randrange(1, len(mail))
    invisible = mail[:at] + chance.choice(["\u200b", "\u00ad", "\u2060"]) + mail[at:]
    _any(chance, root).put(chance.choice([wide, invisible, mail.upper(), mail.replace("@", "&#64;"), mail.replace("@", "\\u0040")]))


CHANGES: Mapping[str, Change] = {
    "a member twice": twice,
    "another name": renamed,
    "another type": retyped,
    "odd number": renumbered,
    "another model": remodelled,
    "a member less": dropped,
    "a member more": added,
    "mail as a name": named,
    "deep": deep,
    "half a pair": halved,
    "control characters": controlled,
    "JSON in a string": nested,
    "moved": moved,
    "other letters": recoded,
}

Damage = Callable[[random.Random, bytes], bytes]


def _flip(chance: random.Random, body: bytes) -> bytes:
    found = bytearray(body)
    for _ in range(chance.choice([1, 1, 1, 3, 10])):
        if found:
            found[chance.randrange(len(found))] = chance.choice([chance.randrange(256), *b'"\\{}[],:'])
    return bytes(found)


def _insert(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    return (
        body[:at]
        + chance.choice([b"\x00", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"/**/", b"//\n", b",", b'"', b"\\", b"\x0c"])
        + body[at:]
    )


DAMAGES: Mapping[str, Damage] = {
    "byte order mark": lambda _, body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda chance, body: _recoded(body, chance.choice(["utf-16", "utf-16-le", "utf-16-be"])),
    "UTF-32": lambda chance, body: _recoded(body, chance.choice(["utf-32", "utf-32-le", "utf-32-be"])),
    "UTF-7": lambda _, body: _recoded(body, "utf-7"),
    "cut off": lambda chance, body: body[: chance.randrange(len(body) + 1)],
    "bytes behind": lambda chance, body: body + chance.choice([b"\0", b"x", b"{}", b",", b"]", b"\n\n", body, b" ", b"\x1a"]),
    "bytes before": lambda chance, body: chance.choice([b"\0", b" ", b"\n", b")]}'\n", b"[]", b"\x1e"]) + body,
    "bytes flipped": _flip,
    "bytes inserted": _insert,
    "single quotes": lambda _, body: body.replace(b'"', b"'"),
    "trailing comma": lambda _, body: body[:-1] + b",}",
    "blanks": lambda chance, body: b" " * chance.choice([1, 5000]) + body + b"\r\n" * 9,
    "gzip": lambda _, body: gzip.compress(body, mtime=0),
    "deflate": lambda chance, body: zlib.compress(body)[chance.choice([0, 2]) :],
    "half of gzip": lambda chance, body: gzip.compress(body, mtime=0)[: -chance.randint(1, 12)],
    "a form": lambda _, body: b"model=llama-3.3-70b&body=" + body,
}


def _recoded(body: bytes, charset: str) -> bytes:
    return body.decode("utf-8", "replace").encode(charset, "replace")


def mutated(chance: random.Random, seed: Seed, told: list[str]) -> bytes:
    """The seed's body, changed in up to three ways. told: learns of the ways."""
    root = tree(seed.document)
    assert isinstance(root, Members)
    for name in chance.sample(list(CHANGES), chance.choice([0, 0, 1, 1, 1, 2, 3])):
        if len(list(places(root))) > 1 and root:
            CHANGES[name](chance, root, seed.mail)
            told.append(name)
    blanks = chance.choice([("",), ("",), ("", " ", "\t", "\r\n")])
    body = Style(chance, chance.choice([0, 0, 0, 5, 100]), blanks).write(root)
    if chance.random() < 0.15:
        name = chance.choice(list(DAMAGES))
        told.append(name)
        body = DAMAGES[name](chance, body)
    return body
