"""Thousands of findings in one request: what is made of them holds up no other request."""

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.filters.pii.actions import Substitutes
from headrace.filters.pii.scan import INLINE_FINDINGS
from headrace.filters.pii.spans import Span
from tests.filters.compiled import Inline

from .driver import Talk, policy, user

TOKEN = re.compile(r"<EMAIL_ADDRESS_[a-z2-7]{8}>")


def _addresses(number: int) -> list[str]:
    return [f"person{each}@example.com" for each in range(number)]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[bool]:
    """Whether the event loop's thread put in what stands for findings."""
    seen: set[bool] = set()
    usual = Substitutes.__call__

    def substitute(self: Substitutes, span: Span, value: str) -> str:
        seen.add(threading.current_thread() is threading.main_thread())
        return usual(self, span, value)

    async def away(_: Inline, fn: Callable[..., object], *args: object) -> object:
        return await asyncio.to_thread(fn, *args)

    monkeypatch.setattr(Substitutes, "__call__", substitute)
    monkeypatch.setattr(Inline, "run", away)
    return seen


@pytest.mark.parametrize(("number", "on_the_loop"), [(INLINE_FINDINGS, True), (INLINE_FINDINGS + 1, False), (2_000, False)])
def test_many_are_replaced_in_a_thread(tmp_path: Path, threads: set[bool], number: int, on_the_loop: bool) -> None:
    addresses = _addresses(number)
    talk = Talk(policy(tmp_path))
    sent = talk.sent(user(", ".join(addresses)))["messages"][0]["content"]
    assert threads == {on_the_loop}
    tokens = TOKEN.findall(sent)
    assert len(set(tokens)) == number and sent == ", ".join(tokens)
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": f"{tokens[-1]} and {tokens[0].lower()}"}}]}
    told = talk.whole(answer)["choices"][0]["message"]["content"]
    assert told == f"{addresses[-1]} and {addresses[0]}"


def test_so_is_refused_what_may_not_leave(tmp_path: Path) -> None:
    refused = Talk(policy(tmp_path, "request: block")).refused(user(", ".join(_addresses(INLINE_FINDINGS + 1))))
    assert refused.status == 400 and b"EMAIL_ADDRESS" in refused.body
