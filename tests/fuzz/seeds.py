"""Valid requests of every dialect, each with a mail address of its own somewhere in its text."""

import base64
import json
import random
from dataclasses import dataclass
from typing import Any

CHAT_MODEL, CLAUDE, EMBEDDER = "llama-3.3-70b", "claude-sonnet", "text-embedding-3-small"


@dataclass(frozen=True)
class Seed:
    """mail: the personal data that no upstream may see."""

    path: str
    document: dict[str, Any]
    mail: str


def mail_of(number: int) -> str:
    return f"fz{number}q@example.org"


def seed(chance: random.Random, number: int) -> Seed:
    mail = mail_of(number)
    make = chance.choice([_chat, _chat, _parts, _tools, _completions, _embeddings, _responses, _items, _messages, _blocks])
    path, document = make(chance, _sentence(chance, mail))
    for name, value in _extras(chance).items():
        document.setdefault(name, value)
    return Seed(path, document, mail)


def _sentence(chance: random.Random, mail: str) -> str:
    said = [f"write to {mail} today", mail, f"Ann <{mail}>", f"a\n{mail}\tb", f"née {mail} 水"]
    said += [f"file {base64.b64encode(f'mail {mail} now, please'.encode()).decode()}", f"x%20{mail.replace('@', '%40')}%20y"]
    return chance.choice(said)


def _extras(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"max_tokens": chance.randint(1, 200)} if chance.random() < 0.5 else {}
    if chance.random() < 0.3:
        found["stream"] = chance.random() < 0.5
    if chance.random() < 0.2:
        found["temperature"] = chance.choice([0, 0.5, 1.0])
    return found


Made = tuple[str, dict[str, Any]]


def _chat(chance: random.Random, text: str) -> Made:
    messages = [{"role": "system", "content": "short"}, {"role": "user", "content": text}]
    document: dict[str, Any] = {"model": CHAT_MODEL, "messages": messages}
    if chance.random() < 0.3:
        document |= {"n": chance.randint(1, 3), "max_completion_tokens": chance.randint(1, 50)}
    if chance.random() < 0.2:
        document |= {"stream": True, "stream_options": {"include_usage": chance.random() < 0.5}}
    return "/v1/chat/completions", document


def _parts(chance: random.Random, text: str) -> Made:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    parts = [{"type": "text", "text": "look"}, image, {"type": "text", "text": text}]
    chance.shuffle(parts)
    return "/v1/chat/completions", {"model": CHAT_MODEL, "messages": [{"role": "user", "content": parts, "name": "ann"}]}


def _tools(chance: random.Random, text: str) -> Made:
    arguments = json.dumps({"to": text, "n": 3}, ensure_ascii=chance.random() < 0.5)
    calls = [{"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}}]
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": text},
    ]
    schema = {"type": "object", "properties": {"to": {"type": "string", "description": text}}}
    tools = [{"type": "function", "function": {"name": "send", "description": "sends", "parameters": schema}}]
    return "/v1/chat/completions", {"model": CHAT_MODEL, "messages": messages, "tools": tools, "metadata": {"for": text}}


def _completions(chance: random.Random, text: str) -> Made:
    return "/v1/completions", {"model": CHAT_MODEL, "prompt": chance.choice([text, ["once", text]]), "suffix": "end"}


def _embeddings(chance: random.Random, text: str) -> Made:
    return "/v1/embeddings", {"model": EMBEDDER, "input": chance.choice([text, [text, "b"]]), "user": "me"}


def _responses(chance: random.Random, text: str) -> Made:
    return "/v1/responses", {
        "model": CHAT_MODEL,
        "input": text,
        "instructions": "short",
        "max_output_tokens": chance.randint(1, 99),
    }


def _items(chance: random.Random, text: str) -> Made:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": text}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"a": text})},
        {"type": "function_call_output", "call_id": "c", "output": text},
    ]
    return "/v1/responses", {"model": CHAT_MODEL, "input": items[: chance.randint(1, 3)]}


def _messages(chance: random.Random, text: str) -> Made:
    return "/v1/messages", {"model": CLAUDE, "max_tokens": chance.randint(1, 99), "messages": [{"role": "user", "content": text}]}


def _blocks(chance: random.Random, text: str) -> Made:
    document = {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": _b64(text)}}
    used = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"to": text}}]}
    result = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": text}]}],
    }
    first = {"role": "user", "content": [{"type": "text", "text": "read"}, *([document] if chance.random() < 0.5 else [])]}
    system = [{"type": "text", "text": text}]
    return "/v1/messages", {"model": CLAUDE, "max_tokens": 9, "system": system, "messages": [first, used, result]}


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
