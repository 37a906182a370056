"""Presidio's patterns, made without being compiled: it compiles each to see that it can be, two thirds of its import's time."""

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.ext_proc.engine.imports import ahead

CHECK = "_Pattern__validate_regex"


@contextmanager
def unchecked() -> Iterator[None]:
    """For importing Presidio, whose own patterns are compiled when they are first used; afterwards it checks as ever."""
    pattern = ahead("presidio_analyzer.pattern").Pattern
    check = vars(pattern)[CHECK]
    setattr(pattern, CHECK, staticmethod(_is_good))
    try:
        yield
    finally:
        setattr(pattern, CHECK, check)


def _is_good(source: str) -> None:
    """Of Presidio's release that is pinned, every pattern is; a test compiles them."""
