"""A caller's request for an upstream of the other API: translated, or refused in the caller's dialect."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.ext_proc.core.dialect import error_body, error_headers
from headrace.ext_proc.core.endpoint import Dialect
from headrace.ext_proc.core.events import Refuse
from headrace.ext_proc.core.json_body import encode
from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.translate.translators import TO_OPENAI, Translator
from headrace.ext_proc.engine.translate.values import Untranslatable


def translated(translator: Translator, asked: Mapping[str, Any], exchange: str, efforts: Sequence[str]) -> bytes | Refuse:
    """The body that the upstream gets. asked: the caller's document; exchange: the id a refusal names; efforts: of the model."""
    try:
        return encode(translator.request(asked, efforts))
    except Untranslatable as error:
        dialect = Dialect.ANTHROPIC if translator is TO_OPENAI else Dialect.OPENAI
        reply = Reply(400, "translate.unavailable", f"{error} {str(asked.get('model'))[:100]!r}.", param=error.param)
        return Refuse(reply.status, error_headers(reply, dialect, exchange), error_body(reply, dialect, exchange), reply.reason)
