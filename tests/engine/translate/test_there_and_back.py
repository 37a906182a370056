"""Any conversation and any answer, translated: there and back it says the same, and a stream adds up to the whole answer.

HEADRACE_LONG=1 takes a hundred times as many examples.
"""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.engine.translate import TO_ANTHROPIC, TO_OPENAI
from headrace.ext_proc.engine.translate.streams import Stream
from headrace.ext_proc.engine.translate.values import STOP

many = settings(max_examples=10_000 if os.environ.get("HEADRACE_LONG") else 100)

Document = dict[str, Any]

words = st.text('aé\n"{}\\\u2028\U0001f600 ', min_size=1, max_size=6)
names = st.text("abc_-1", min_size=1, max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**60) | st.floats(-1e9, 1e9) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=5,
)
objects = st.dictionaries(words, values, max_size=3)
texts = st.fixed_dictionaries({"type": st.just("text"), "text": words})
images = st.just({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}) | st.just(
    {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
)
uses = st.fixed_dictionaries({"type": st.just("tool_use"), "id": names, "name": names, "input": objects})
results = st.fixed_dictionaries({"type": st.just("tool_result"), "tool_use_id": names, "content": words | st.just("")})
tools = st.fixed_dictionaries({"name": names, "input_schema": objects.filter(bool)}, optional={"description": words})
choices = st.sampled_from(["auto", "any", "none"]).map(lambda kind: {"type": kind})


def parts(first: st.SearchStrategy[Document], then: st.SearchStrategy[Document]) -> st.SearchStrategy[list[Document]]:
    """One part at least: those of one kind before those of the other, as OpenAI has them."""
    return st.tuples(st.lists(first, max_size=2), st.lists(then, max_size=3)).map(lambda two: two[0] + two[1]).filter(bool)


def turn(role: str, content: list[Document]) -> Document:
    return {"role": role, "content": content}


@st.composite
def requests(draw: st.DrawFn) -> Document:
    pairs = draw(st.lists(st.tuples(parts(results, texts | images), parts(texts, uses)), min_size=1, max_size=3))
    turns = [one for user, assistant in pairs for one in (turn("user", user), turn("assistant", assistant))]
    more = st.fixed_dictionaries(
        {"model": names, "max_tokens": st.integers(1, 9)},
        optional={
            "system": words,
            "temperature": st.floats(0, 1),
            "top_p": st.floats(0, 1),
            "stop_sequences": st.lists(words, min_size=1, max_size=2),
            "metadata": st.fixed_dictionaries({"user_id": words}),
        },
    )
    asked = draw(more) | {"messages": turns[: draw(st.integers(1, len(turns)))]}
    if offered := draw(st.lists(tools, max_size=2)):
        choice = draw(choices | names.map(lambda name: {"type": "tool", "name": name}))
        alone = {"disable_parallel_tool_use": True} if choice["type"] != "none" and draw(st.booleans()) else {}
        asked |= {"tools": offered, "tool_choice": choice | alone}
    return asked


def joined(content: Sequence[Document]) -> list[Document]:
    """Texts in a row as one."""
    merged: list[Document] = []
    for kind, run in groupby(content, lambda part: part["type"]):
        together = list(run)
        merged += [{"type": "text", "text": "".join(part["text"] for part in together)}] if kind == "text" else together
    return merged


def plain(request: Document) -> Document:
    return {**request, "messages": [{**one, "content": joined(one["content"])} for one in request["messages"]]}


@many
@given(requests())
def test_a_request_is_the_same_there_and_back(request: Document) -> None:
    assert plain(TO_ANTHROPIC.request(TO_OPENAI.request(request))) == plain(request)


messages = st.fixed_dictionaries(
    {
        "id": names,
        "model": names,
        "content": st.lists(texts | uses | st.fixed_dictionaries({"type": st.just("thinking"), "thinking": words}), max_size=4),
        "stop_reason": st.sampled_from([*STOP.values()]),
        "usage": st.fixed_dictionaries(
            {"input_tokens": st.integers(0, 99), "output_tokens": st.integers(0, 99)},
            optional={"cache_read_input_tokens": st.integers(0, 9), "cache_creation_input_tokens": st.integers(0, 9)},
        ),
    }
)
cuts = st.lists(st.integers(0, 50), max_size=4)


def cut(text: str, at: Sequence[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in at)})
    return [text[start:end] for start, end in pairwise(edges)]


MEMBERS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


def events_of(message: Document, at: Sequence[int]) -> Iterator[Document]:
    """How Anthropic streams it."""
    begun = {"id": message["id"], "model": message["model"], "usage": {**message["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    for index, part in enumerate(message["content"]):
        (kind, member), said = MEMBERS[part["type"]], part.get("text") or part.get("thinking") or json.dumps(part.get("input"))
        block = {**part, "input": {}} if part["type"] == "tool_use" else {"type": part["type"], part["type"]: ""}
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for piece in cut(said, at):
            yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, member: piece}}
        yield {"type": "content_block_stop", "index": index}
    last = {"output_tokens": message["usage"]["output_tokens"]}
    yield {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}, "usage": last}
    yield {"type": "message_stop"}


def through(stream: Stream, documents: Iterator[Document]) -> list[Any]:
    sent = [*(json.dumps(document) for document in documents)]
    return [one.json for text in sent for one in stream.event(SseEvent.of(text)) if not one.is_done]


def parsed(calls: Sequence[Document]) -> list[Document]:
    """Arguments may be spelled differently."""
    return [{**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}} for call in calls]


def chat_of(chunks: Sequence[Document]) -> Document:
    """What a client of OpenAI's adds a stream up to."""
    said: Document = {"content": "", "reasoning_content": "", "tool_calls": []}
    finish = usage = None
    for chunk in chunks:
        usage = chunk.get("usage", usage)
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            for name in ("content", "reasoning_content"):
                said[name] += choice["delta"].get(name, "")
            for call in choice["delta"].get("tool_calls", ()):
                if call["index"] == len(said["tool_calls"]):
                    said["tool_calls"].append({"id": call["id"], "type": "function", "function": {**call["function"]}})
                else:
                    said["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return {**said, "tool_calls": parsed(said["tool_calls"]), "finish": finish, "usage": usage}


@many
@given(messages, cuts)
def test_a_message_that_is_streamed_is_the_chat_that_it_is_whole(message: Document, at: list[int]) -> None:
    [choice] = (answer := TO_ANTHROPIC.answer(message, 0))["choices"]
    whole = {name: choice["message"].get(name) or "" for name in ("content", "reasoning_content")}
    calls = parsed(choice["message"].get("tool_calls", ()))
    told = {**whole, "tool_calls": calls, "finish": choice["finish_reason"], "usage": answer["usage"]}
    stream = TO_ANTHROPIC.stream({"stream_options": {"include_usage": True}}, 0)
    assert chat_of(through(stream, events_of(message, at))) == told
    assert [call["function"]["arguments"] for call in calls] == [
        part["input"] for part in message["content"] if part["type"] == "tool_use"
    ]


functions = st.fixed_dictionaries({"name": names, "arguments": objects.map(json.dumps)})
chats = st.fixed_dictionaries(
    {
        "reasoning_content": words | st.just(""),
        "content": words | st.just(""),
        "tool_calls": st.lists(functions, max_size=4).map(
            lambda calls: [{"id": f"call_{n}", "type": "function", "function": call} for n, call in enumerate(calls)]
        ),
    }
)
tokens = st.fixed_dictionaries({"prompt_tokens": st.integers(0, 99), "completion_tokens": st.integers(0, 99)})


@st.composite
def chunks(draw: st.DrawFn, chat: Document) -> Sequence[Document]:
    """How a server of OpenAI's API streams it: the parts of its calls may come in any order, each call's in its own."""
    said: list[Document] = [{name: piece} for name in ("reasoning_content", "content") for piece in cut(chat[name], draw(cuts))]
    parts: list[list[Document]] = [
        [
            {"index": index, "id": call["id"], "type": "function", "function": {"name": call["function"]["name"], "arguments": ""}},
            *({"index": index, "function": {"arguments": piece}} for piece in cut(call["function"]["arguments"], draw(cuts))),
        ]
        for index, call in enumerate(chat["tool_calls"])
    ]
    begun = 0
    while any(parts):
        begins = [begun] if begun < len(parts) else []
        index = draw(st.sampled_from([index for index, waiting in enumerate(parts[:begun]) if waiting] + begins))
        begun = max(begun, index + 1)
        said.append({"tool_calls": [parts[index].pop(0)]})
    return said


def blocks_of(events: Sequence[Document]) -> list[Document]:
    """What a client of Anthropic's adds a stream up to: one block is open at a time."""
    blocks: list[Document] = []
    open_ = False
    for event in events:
        if event["type"] == "content_block_start":
            assert not open_ and event["index"] == len(blocks)
            blocks.append({**event["content_block"], "said": ""})
        elif event["type"] == "content_block_delta":
            assert open_ and event["index"] == len(blocks) - 1
            kind, member = MEMBERS[blocks[-1]["type"]]
            assert event["delta"]["type"] == kind
            blocks[-1]["said"] += event["delta"][member]
        open_ = (open_ or event["type"] == "content_block_start") and event["type"] != "content_block_stop"
    assert not open_
    return [_whole(block) for block in blocks]


def _whole(block: Document) -> Document:
    said = block.pop("said")
    return {**block, **({"input": json.loads(said)} if block["type"] == "tool_use" else {block["type"]: said})}


@many
@given(st.data(), chats, st.sampled_from(["stop", "length", "tool_calls"]), tokens)
def test_a_chat_that_is_streamed_is_the_message_that_it_is_whole(
    data: st.DataObject, chat: Document, finish: str, usage: Document
) -> None:
    whole = TO_OPENAI.answer({"choices": [{"message": chat, "finish_reason": finish}], "usage": usage}, 0)
    sent: list[Document] = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in data.draw(chunks(chat))]
    sent.append({"choices": [{"delta": {}, "finish_reason": finish}], "usage": usage})
    stream = TO_OPENAI.stream({}, 0)
    events = through(stream, iter(sent)) + [event.json for event in stream.event(SseEvent.of("[DONE]"))]
    assert blocks_of(events) == whole["content"]
    [end] = [event for event in events if event["type"] == "message_delta"]
    assert (end["delta"]["stop_reason"], end["usage"]) == (whole["stop_reason"], whole["usage"])
