"""Puts something in the place of a part of the product, and takes it out again."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

Bug = Callable[[], AbstractContextManager[None]]


def in_place_of(*places: tuple[Any, str]) -> Callable[[Callable[..., Any]], Bug]:
    """For a function: it is called in place of each (owner, name), with what stood there before its own arguments."""

    def decorate(wrong: Callable[..., Any]) -> Bug:
        @contextmanager
        def planted() -> Iterator[None]:
            right = getattr(*places[0])

            def replaced(*args: Any, **options: Any) -> Any:
                return wrong(right, *args, **options)

            patches = [patch.object(owner, name, replaced) for owner, name in places]
            for one in patches:
                one.start()
            try:
                yield
            finally:
                for one in patches:
                    one.stop()

        planted.__name__, planted.__doc__ = wrong.__name__, wrong.__doc__
        return planted

    return decorate
