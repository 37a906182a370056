"""Bodies that no API takes: each is made of a good one."""

from collections.abc import Callable, Mapping

MALFORMED: Mapping[str, Callable[[bytes], bytes]] = {
    "cut off": lambda body: body[: len(body) * 2 // 3],
    "empty": lambda body: b"",
    "two documents": lambda body: body + body,
    "a list": lambda body: b"[" + body + b"]",
    "a member twice": lambda body: body[:-1] + b', "model": "llama-3.3-70b"}',
    "too deep": lambda body: body[:-1] + b', "x": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "Latin-1": lambda body: body[:-1] + b', "x": "\xe9"}',
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "not a number": lambda body: body[:-1] + b', "temperature": NaN}',
    "trailing comma": lambda body: body[:-1] + b",}",
    "a raw newline": lambda body: body[:-1] + b', "x": "a\nb"}',
    "no model": lambda body: body.replace(b'"model"', b'"mode1"'),
    "a model that is a list": lambda body: body.replace(b'"model": "', b'"model": ["', 1).replace(b'", ', b'"], ', 1),
    "a stream that is a word": lambda body: body[:-1] + b', "stream": "yes"}',
    "noise": lambda body: bytes(range(256)) * 4,
}
