"""Counts equal tiktoken's, for any text; heavy prompts are counted off the loop."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest
import toktok
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.facts import INPUT_TOKENS
from headrace.ext_proc.core.lenses import Prompt, read_call
from headrace.ext_proc.core.ports import Args, Result
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.counting.counter import QUICK
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.tokens import Counted, Tokens
from tests.engine.official import SIZES, count
from tests.kit import body, post
from tests.tokenizer_files import words, write

WORDS = ["the", " quick", "Straße", " 東京都", "🧑‍🚀", "\u0301", "don't", "I'LL", "123456", "3.14", "<|endoftext|>"]
BLANKS = ["  ", "\n\n", "\r\n", "\t", " \n", "\u00a0"]
CODE = ["def f(x):\n    return x", "{'a': [1, 2]}", "</div>", "#!/bin/sh\n", "a_b_c", "\\u00e9", "https://example.org/?q=1&r=2"]
RUNS = ["a" * 5000, " " * 5000, "\n" * 3000, "é" * 2000, "ab" * 3000, "0" * 999, "<|im_start|>system\n<|im_end|>"]
TEXTS = st.lists(st.sampled_from(WORDS + BLANKS + CODE) | st.text(max_size=20), max_size=30).map("".join)


class Here:
    """An offload that runs at once and keeps count."""

    def __init__(self) -> None:
        self.ran = 0

    async def run(self, fn: Callable[[*Args], Result], *args: *Args) -> Result:
        self.ran += 1
        return fn(*args)


def tokens(base: Path = Path(), offload: Here | None = None) -> Tokens:
    return Tokens(base, offload or Here())


def model(tokenizer: object = "o200k_base") -> Model:
    return Model.model_validate({"name": "m", "tokenizer": tokenizer})


@pytest.mark.parametrize("encoding", SIZES)
@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_counts_equal_tiktokens(encoding: str, text: str) -> None:
    assert tokens().counter(model(encoding))([text]) == count(text, encoding)


def corpus() -> list[str]:
    """4,000 texts, the same at every run of one commit: prose and code of this repository, and characters of every script."""
    chance, root = random.Random(11), Path(__file__).parents[2]
    found = [path for part in ("docs", "filters", "ext_proc/engine") for path in sorted((root / part).rglob("*.*[dy]"))]
    files = [path.read_text("utf-8") for path in found]
    pieces = [file[at : at + chance.randint(1, 400)] for file in files for at in range(0, len(file), 150)]
    letters = [
        "".join(chr(chance.choice(PLANES) + chance.randrange(0x80)) for _ in range(chance.randint(1, 40))) for _ in range(2000)
    ]
    return chance.sample(pieces, 2000) + letters


PLANES = (0x20, 0x20, 0x80, 0x300, 0x400, 0x590, 0x600, 0x900, 0xE00, 0x1100, 0x2000, 0x3040, 0x4E00, 0xAC00, 0x1F600)


@pytest.mark.parametrize("encoding", SIZES)
def test_counts_equal_tiktokens_on_a_corpus(encoding: str) -> None:
    texts = corpus()
    counter = tokens().counter(model(encoding))
    assert len(texts) == 4000
    assert [text for text in texts if counter([text]) != count(text, encoding)] == []


@pytest.mark.parametrize("encoding", SIZES)
@pytest.mark.parametrize("text", RUNS)
def test_counts_equal_tiktokens_on_long_runs_and_special_tokens(encoding: str, text: str) -> None:
    assert tokens().counter(model(encoding))([text]) == count(text, encoding)


@pytest.mark.parametrize("encoding", SIZES)
@given(text=TEXTS)
@settings(max_examples=50, deadline=None)
def test_the_private_counter_equals_the_public_one(encoding: str, text: str) -> None:
    assert [tokens().counter(model(encoding))([text])] == toktok.batch_count([text], encoding)


@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_qwen_normalises_first(text: str) -> None:
    counter = tokens().counter(model("qwen3.5"))
    assert counter([text]) == counter([normalize("NFC", text)]) == toktok.batch_count([text], "qwen3.5")[0]


@given(text=TEXTS)
@settings(max_examples=100, deadline=None)
def test_a_text_has_at_most_as_many_tokens_as_bytes(text: str) -> None:
    assert tokens().counter(model())([text]) <= len(text.encode())


def test_half_a_surrogate_pair_counts_as_a_replacement_character() -> None:
    counter = tokens().counter(model())
    assert counter(["a\ud83db"]) == counter(["a\ufffdb"])
    assert counter(["\ud83d\ude00"]) == counter(["😀"])


async def test_the_overhead_is_added_and_every_text_counts_alone() -> None:
    prompt = Prompt(("user", "hi there"), 6)
    assert (await tokens().of_prompt(prompt, model())).tokens == 6 + count("user", "o200k_base") + count("hi there", "o200k_base")


@pytest.mark.parametrize(("characters", "ran"), [(QUICK, 0), (QUICK + 1, 1)])
async def test_a_heavy_prompt_is_counted_off_the_loop(characters: int, ran: int) -> None:
    offload = Here()
    half = characters // 2
    prompt = Prompt(("a" * half, "a" * (characters - half)), 0)
    assert (await tokens(offload=offload).of_prompt(prompt, model())).tokens > 0
    assert offload.ran == ran


async def test_a_prompt_is_counted_once_per_body() -> None:
    request = Request("e1", post().headers, None)
    request.facts.add({INPUT_TOKENS: 12345})
    assert await tokens().of_request(request, model()) == Counted(12345)


async def test_a_request_without_a_count_is_counted() -> None:
    request = Request("e1", post().headers, Endpoint.CHAT)
    request.load(body().data, json.loads(body().data))
    assert (await tokens().of_request(request, model())).tokens == 3 + 3 + count("user", "o200k_base") + count("hi", "o200k_base")


def test_an_answer_is_counted_and_none_costs_nothing() -> None:
    assert tokens().of_answer("", model()) == 0
    assert tokens().of_answer("hi there", model()) == count("hi there", "o200k_base")


def test_a_tokenizer_file_counts_by_its_own_rules(tmp_path: Path) -> None:
    write(tmp_path / "tokenizer.json", words(fold=True))
    counter = tokens(tmp_path).counter(model({"file": "tokenizer.json"}))
    assert counter(["Hello WORLD again", "", "hello \ud800"]) == 3 + 0 + 2


@given(
    st.lists(
        st.tuples(st.sampled_from(["user", "assistant", "system"]), st.from_regex(r"[ -~\n]{0,60}", fullmatch=True)), max_size=5
    )
)
@settings(max_examples=60, deadline=None)
async def test_chatml_counts_as_the_rendered_template(messages: list[tuple[str, str]]) -> None:
    """Each of the special tokens is one; what stands between two of them is one text."""
    qwen = Model.model_validate({"name": "m", "tokenizer": "qwen3.5", "template": "chatml"})
    document = {"model": "m", "messages": [{"role": role, "content": content} for role, content in messages]}
    counter = tokens().counter(qwen)
    rendered = sum(2 + counter([f"{role}\n{content}"]) + counter(["\n"]) for role, content in messages)
    found = await tokens().of_prompt(read_call(Endpoint.CHAT, document).prompt, qwen)
    assert found.tokens == (rendered + 1 + counter(["assistant\n"]) if messages else 3)


@pytest.mark.parametrize(
    ("members", "exact"),
    [
        ({"name": "gpt-4o-mini"}, True),
        ({"name": "gpt-4", "tokenizer": "cl100k_base"}, True),
        ({"name": "llama"}, False),
        ({"name": "llama", "tokenizer": "o200k_base"}, True),
        ({"name": "qwen", "tokenizer": "qwen3.5"}, False),
        ({"name": "qwen", "tokenizer": "qwen3.5", "template": "chatml"}, True),
    ],
    ids=str,
)
async def test_a_count_is_exact_where_tokenizer_and_template_are_the_models(members: dict[str, str], exact: bool) -> None:
    chat = read_call(Endpoint.CHAT, {"model": "m", "messages": [{"role": "user", "content": "hi"}]}).prompt
    found = await tokens().of_prompt(chat, Model.model_validate(members))
    assert (found.estimate is None) is exact


async def test_texts_without_messages_have_no_template() -> None:
    prompt = read_call(Endpoint.EMBEDDINGS, {"model": "m", "input": "hi"}).prompt
    qwen = Model.model_validate({"name": "m", "tokenizer": "qwen3.5"})
    assert await tokens().of_prompt(prompt, qwen) == Counted(1)
