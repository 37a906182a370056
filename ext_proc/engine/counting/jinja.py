"""Chat templates in Jinja, as models on Hugging Face have them: rendered as transformers and the engines do, in a sandbox.

Sources: transformers/utils/chat_template_utils.py; vllm/entrypoints/chat_utils.py for what becomes of a message's members.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headrace.ext_proc.core.json_body import NO_JSON
from headrace.ext_proc.core.lenses import Prompt
from headrace.ext_proc.core.lenses.call import Texts
from headrace.ext_proc.engine.counting.conversation import texts_of
from headrace.ext_proc.engine.counting.files import read_at_most
from headrace.ext_proc.engine.counting.templates import NotRendered

MAX_BYTES: Final = 16 * 1024 * 1024
"""Templates have some kilobytes; a tokenizer_config.json may list a hundred thousand tokens beside its template."""

_TODAY: Final = datetime(2024, 7, 26)
"""Llama's own default, for templates that tell the date: as many tokens as any day, so that no count hangs on the clock."""

_FAILURES: Final = (TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a template raises whose author did not think of such a chat."""


class JinjaTemplate:
    """source: the template. tokens: those that it may name, such as bos_token."""

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        """Raises ValueError, with the line, for what is no template."""
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise ValueError(f"line {getattr(error, 'lineno', 1)}: {error}") from None
        self._tokens = tokens

    def __call__(self, chat: dict[str, Any]) -> Prompt:
        """The rendered chat as one text, whose markers the tokenizer knows. Raises NotRendered."""
        texts = Texts()
        messages = [_message(message, texts) for message in chat["messages"]]
        asked = chat.get("chat_template_kwargs")
        given = {
            **self._tokens,
            **(asked if isinstance(asked, dict) else {}),
            "messages": messages,
            "tools": chat.get("tools") or None,
            "documents": None,
            "add_generation_prompt": chat.get("add_generation_prompt") is not False,
        }
        try:
            texts.text(self._template.render(given))
        except _FAILURES as error:
            raise NotRendered(str(error) or type(error).__name__) from error
        if chat.get("continue_final_message") or chat.get("chat_template") or chat.get("functions"):
            texts.estimate()
        return texts.prompt(chat)


def _message(message: Mapping[str, Any], texts: Texts) -> Mapping[str, Any]:
    """As engines hand it to a template: its content one text, the arguments of calls objects."""
    found = {**message, "content": "\n".join(texts_of(message.get("content"), texts))}
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        found["tool_calls"] = [_call(call) for call in calls]
    return found


def _call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}}


@lru_cache(1)
def _environment() -> ImmutableSandboxedEnvironment:
    extensions: Sequence[str | type[Extension]] = (_Generation, "jinja2.ext.loopcontrols")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _TODAY.strftime
    return environment


def _tojson(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what the model wrote, for training; it renders as what it holds."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def template_from(file: Path, config: Path | None) -> JinjaTemplate:
    """file: Jinja, or a tokenizer_config.json that has it; config: where the tokens are, if not there.

    Raises OSError for a file that cannot be read, ValueError, with its path and what is wrong, for one that has no template or a
    template that does not render a user's message. A file that was changed is read anew.
    """
    return _loaded(file, config, tuple(path.stat().st_mtime_ns for path in (file, config) if path))


@lru_cache(16)
def _loaded(file: Path, config: Path | None, stamp: tuple[int, ...]) -> JinjaTemplate:
    try:
        source, tokens = _read(file)
        template = JinjaTemplate(source, {**(_tokens(_document(config)) if config else {}), **tokens})
        template({"messages": [{"role": "user", "content": "hi"}]})
    except (ValueError, NotRendered) as error:
        raise ValueError(f"{file} is no chat template: {error}") from None
    return template


def _read(file: Path) -> tuple[str, Mapping[str, str]]:
    if file.suffix != ".json":
        return read_at_most(file, MAX_BYTES).decode("utf-8"), {}
    document = _document(file)
    return _source(document.get("chat_template")), _tokens(document)


def _document(file: Path) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(read_at_most(file, MAX_BYTES), type=dict[str, Any])
    except NO_JSON as error:
        raise ValueError(f"{file.name}: {error}") from None


def _source(found: Any) -> str:
    """The template itself, or of several the one named default."""
    if isinstance(found, list):
        named = [each.get("template") for each in found if isinstance(each, dict) and each.get("name") == "default"]
        found = named[0] if named else None
    if not isinstance(found, str):
        raise ValueError("it has no chat_template; that may be in a file of its own, chat_template.jinja")
    return found


def _tokens(document: Mapping[str, Any]) -> Mapping[str, str]:
    """bos_token and the like: words, or objects with their content."""
    given = {name: value for name, value in document.items() if name.endswith("_token")}
    found = {name: value.get("content") if isinstance(value, dict) else value for name, value in given.items()}
    return {name: value for name, value in found.items() if isinstance(value, str)}
