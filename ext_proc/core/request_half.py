"""The request's half of an exchange: sessions are opened and heard, and the request goes on, changed, or is refused."""

from collections.abc import Generator

from headrace.ext_proc.core.course import Course, Flow, State
from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.endpoint import deployment_of, endpoint_of, with_deployment
from headrace.ext_proc.core.errors import BodyError, ProtocolError
from headrace.ext_proc.core.events import Answer, Proceed, Refuse, RequestBody, RequestHeaders, ResponseHeaders
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.json_body import parse, render
from headrace.ext_proc.core.needs import RESPONSE, Capability, Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.seats import Ask, FilterFailed, Resolution, Seated, Shield, failure
from headrace.ext_proc.core.session import POLICY, EndStream, Link, Policy
from headrace.ext_proc.core.unreadable import asks_for_websocket, too_many, unreadable
from headrace.ext_proc.core.verdict import Edits, Reply, SetMember

READS_ANSWER = Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM


class RequestHalf(Course):
    """Ends with the request refused, handed over, or sent on with an interest in its answer."""

    def __init__(self, id: str, policy: Policy, shield: Shield, capabilities: Capability) -> None:
        super().__init__(id, policy)
        self._policy = policy
        self._shield = shield
        self._capabilities = capabilities

    def _on_request_headers(self, event: RequestHeaders) -> Flow:
        headers = event.headers
        has_body = not event.end or asks_for_websocket(headers)  # of its beginning nginx says that it has none, Envoy that it has
        endpoint = endpoint_of(headers.get(":method"), headers.get(":path"), has_body=has_body)
        self._request = request = Request(self.id, headers, endpoint, capabilities=self._capabilities)
        request.hint, request.vouched = event.hint, event.vouched
        self.decision.request(request)
        if (reply := too_many(headers)) is not None:
            return self._refuse(reply)
        self._pending.strip_ours(headers)
        if endpoint is None or (endpoint.counts and Capability.CALLS_ONLY in self._capabilities):
            return self._other_path(headers)
        self._pending.remove("accept-encoding")  # an answer that is compressed is one that nobody can read usage from
        if (reply := (yield from self._enter(request))) is not None:
            return self._refuse(reply)
        if not self._needs_any(Needs.REQUEST_BODY):
            return (yield from self._finish_request())
        if (reply := unreadable(headers)) is not None:
            return self._refuse(reply)
        self.state = State.AWAIT_BODY
        if event.end:
            return (yield from self._on_request_body(RequestBody(b"")))
        return Proceed(self._pending.take())

    def _other_path(self, headers: Headers) -> Answer:
        if Capability.CALLS_ONLY in self._capabilities or not self._policy.passes(headers.get(":method"), headers.get(":path")):
            return self._refuse(_OTHER_PATH)
        self._pending.remove(*(name for name in self._policy.private_headers if name in headers))
        return self._hand_over(settle=None)

    def _enter(self, request: Request) -> Generator[Ask, Resolution, Reply | None]:
        for choice in self._policy.chain:
            try:
                link = self._shield(POLICY, choice.choose, request)
            except FilterFailed:
                self.decision.failed(POLICY, "headers")
                return failure(POLICY)
            if link is not None and (reply := (yield from self._open(link, request))) is not None:
                return reply
        return None

    def _open(self, link: Link, request: Request) -> Generator[Ask, Resolution, Reply | None]:
        try:
            session = self._shield(link, link.filter.open, request)
        except (FilterFailed, EndStream):
            self.decision.failed(link, "headers")
            return None if link.fail_open or link.shadow else failure(link)
        if session is None:
            return None
        seat = Seated(link, session, self._shield, self.decision.passed_over)
        self._seats.append(seat)
        if not seat.answers_headers:
            return None
        ask = seat.on_headers(request)
        return self._fold(ask, (yield ask))

    def _on_request_body(self, event: RequestBody) -> Flow:
        if event.too_large:
            return self._refuse(_TOO_LARGE)
        try:
            self._request.load(event.data, parse(event.data))
            self._name_deployment()
            self.decision.call(self._request.call)
        except BodyError as error:
            return self._refuse(_bad_body(error))
        return (yield from self._finish_request())

    def _name_deployment(self) -> None:
        """On a path of Azure's the deployment is what is served, so it is the model that the body names, too. Raises BodyError."""
        deployment = deployment_of(self._request.path)
        if deployment == "":
            raise BodyError("body.invalid", "the deployment in the path must be written plainly", param="model")
        document = self._request.document or {}
        if deployment is not None and document.get("model") != deployment:
            self._apply("request", Edits(members=[SetMember(("model",), deployment)]))

    def _finish_request(self) -> Flow:
        for seat in self._seats:
            if not seat.answers_request:
                continue
            ask = seat.on_request(self._request)
            if (reply := self._fold(ask, (yield ask))) is not None:
                return self._refuse(reply)
        if self._needs_any(RESPONSE):
            return self._await_response("stream" if self._needs_any(READS_ANSWER) else "access_log")
        return self._hand_over(settle="access_log")

    def _await_response(self, settle: str) -> Answer:
        try:
            answer = self._proceed(settle)
        except BodyError as error:
            return self._refuse(_bad_body(error))
        self._forwarded = True
        self.state = State.AWAIT_RESPONSE
        return answer

    def _hand_over(self, *, settle: str | None) -> Answer:
        try:
            answer = self._proceed(settle, last=True)
        except BodyError as error:
            return self._refuse(_bad_body(error))
        self._forwarded = True
        self._end(Cause.HANDED_OFF)
        return answer

    def _proceed(self, settle: str | None, *, last: bool = False) -> Proceed:
        """Raises BodyError when the body cannot be written anew."""
        members = self._pending.members
        body = render(self._request.body, members) if members else None
        if any(member.path == ("model",) for member in members):
            self._path_follows()
        metadata = {"exchange": self.id, **self.decision.metadata, **self._settling(settle)}
        return Proceed(self._pending.take(), body, metadata, last=last)

    def _path_follows(self) -> None:
        """Where the path names a deployment, it names the model that filters have put into the body."""
        path = with_deployment(self._request.path, self._request.call.model)
        if path != self._request.path:
            self._pending.add(Edits(set_headers={":path": path}))

    def withdraw(self) -> None:
        """The last answer cannot be carried out by this gateway: the request goes nowhere after all."""
        self._forwarded = False

    def unsent(self) -> None:
        """The gateway gave up before it had the last answer: where that would have sent the request on, it went nowhere."""
        if self._forwarded and self._status is None:
            self._end(Cause.ABORTED)
            self._forwarded = False

    def retract(self, reply: Reply) -> Refuse:
        """The last answer is not given after all: the request goes nowhere, and is refused."""
        self._forwarded = False
        return self._refuse(reply)

    def _on_early_response(self, event: ResponseHeaders) -> Answer:
        """The proxy replied by itself before the request was sent on: a path it refuses, a body too large, a client gone."""
        if event.from_upstream:
            raise ProtocolError("an upstream answered a request that was not sent to it")
        self._status = event.status
        self._end(Cause.ABORTED)
        return Proceed(last=True)


def _bad_body(error: BodyError) -> Reply:
    return Reply(error.status, error.reason, error.message[:1].upper() + error.message[1:] + ".", param=error.param)


_TOO_LARGE = Reply(413, "body.too_large", "The request body is larger than this gateway accepts.")
_OTHER_PATH = Reply(404, "path.not_allowed", "This gateway does not serve this path.")
