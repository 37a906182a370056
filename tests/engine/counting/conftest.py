"""Counting a chat with files in a folder."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.lenses import read_call
from headrace.ext_proc.core.ports import Args, Result
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.tokens import Counted, Tokens


class Here:
    """An offload that runs at once."""

    async def run(self, fn: Callable[[*Args], Result], *args: *Args) -> Result:
        return fn(*args)


Counting = Callable[..., Awaitable[Counted]]


@pytest.fixture
def counted(tmp_path: Path) -> Counting:
    """counted(chat, tokenizer=…, template=…): by files in tmp_path. The bound by bytes is checked as well."""
    tokens = Tokens(tmp_path, Here())

    async def count(chat: dict[str, Any], **members: Any) -> Counted:
        prompt, model = read_call(Endpoint.CHAT, chat).prompt, Model.model_validate({"name": "m", **members})
        found, bound = await tokens.of_prompt(prompt, model), tokens.at_most(prompt, model)
        assert bound is None or (found.estimate or found.tokens) <= bound
        return found

    return count
