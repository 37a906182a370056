"""The request and the answer as filters see them."""

from typing import Any

from headrace.ext_proc.core.endpoint import Dialect, Endpoint
from headrace.ext_proc.core.facts import Facts
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.json_body import put
from headrace.ext_proc.core.lenses import Call, read_call
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.verdict import Json, SetMember

BESIDE_THE_PROMPT = frozenset({"stream_options", "stream", "model"})
"""Members whose value no count of the prompt depends on."""


class Request:
    """One request. Filters read it; only the exchange writes it, by applying verdicts.

    id: the exchange's id. hint: the servers it may go to, vouched: who calls, both as the gateway says it; None where it says
    nothing.
    document: the parsed body as edited so far, None until the body has come.
    """

    __slots__ = (
        "_call", "body", "capabilities", "dialect", "document", "endpoint", "facts", "headers", "hint", "id", "method", "path",
        "vouched",
    )  # fmt: skip

    def __init__(
        self, id: str, headers: Headers, endpoint: Endpoint | None, *, capabilities: Capability = Capability.NOTHING
    ) -> None:
        self.id = id
        self.headers = headers
        self.method = headers.get(":method")
        self.path = headers.get(":path")
        self.endpoint = endpoint
        self.dialect = _dialect(endpoint, headers)
        self.capabilities = capabilities
        self.facts = Facts()
        self.hint: Any = None
        self.vouched: Any = None
        self.body = b""
        self.document: dict[str, Any] | None = None
        self._call: Call | None = None

    @property
    def call(self) -> Call:
        """The typed reading of the body as edited so far.

        Raises BodyError for a body the endpoint's API does not allow; the exchange reads it before any filter does.
        """
        if self._call is None:
            assert self.endpoint is not None and self.document is not None, "a call is read from a body"
            self._call = read_call(self.endpoint, self.document)
        return self._call

    def load(self, body: bytes, document: dict[str, Any]) -> None:
        """The body has come."""
        self.body, self.document, self._call = body, document, None

    def apply(self, edit: SetMember) -> None:
        """Edits the document; facts about the prompt are forgotten, unless the edit is beside it."""
        put(self.document, edit.path, edit.value)
        self._call = None
        if edit.path[0] not in BESIDE_THE_PROMPT:
            self.facts.body_changed()


def _dialect(endpoint: Endpoint | None, headers: Headers) -> Dialect:
    if endpoint is not None:
        return endpoint.dialect
    return Dialect.ANTHROPIC if "anthropic-version" in headers else Dialect.OPENAI


class Response:
    """One answer. body and document: for answers that are no stream, once complete; document None for what is not JSON."""

    __slots__ = ("body", "document", "headers", "is_stream", "status")

    def __init__(self, status: int, headers: Headers, *, is_stream: bool) -> None:
        self.status = status
        self.headers = headers
        self.is_stream = is_stream
        self.body = b""
        self.document: Json = None

    @property
    def text(self) -> str | None:
        """The body as text, or None when it is not UTF-8."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return None
