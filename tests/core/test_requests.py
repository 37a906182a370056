"""The request's way through an exchange: asks, verdicts, edits, refusals, and what leaves the proxy."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.events import Proceed, RequestHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.facts import INPUT_TOKENS, Fact
from headrace.ext_proc.core.needs import Capability, Needs
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Link, Session
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, Reply, SetMember
from headrace.ext_proc.engine.guard import shield
from tests.kit import (
    CHAT,
    DENIED,
    ChainPolicy,
    ScriptedFilter,
    answer_head,
    body,
    decision_in,
    exchange_of,
    filter_of,
    last,
    noting,
    policy_of,
    post,
    proceeds,
    told,
)

from .asking import BODY, STREAM, reads, refused, sets


async def test_a_path_that_is_no_llm_call_passes_at_once_and_asks_no_filter() -> None:
    never = filter_of(open=AssertionError())
    exchange = exchange_of(never)
    answer = proceeds(await last(exchange, post("/v1/files")))
    assert answer.last
    assert answer.metadata == {"exchange": "e1"}
    assert decision_in(exchange.close())["outcome"] == "handed_off"


@pytest.mark.parametrize(("event", "anthropic"), [(post("/x"), False), (post("/x", anthropic_version="2023-06-01"), True)])
async def test_a_path_that_is_no_llm_call_is_refused_where_the_policy_says_so(event: RequestHeaders, anthropic: bool) -> None:
    exchange = Exchange("e1", policy_of(refuse_other_paths=True), shield)
    reply = refused(await last(exchange, event))
    assert (reply.status, reply.reason) == (404, "path.not_allowed")
    assert ("type" in json.loads(reply.body)) is anthropic


async def test_a_chain_without_needs_is_asked_on_headers_alone_and_the_exchange_handed_over() -> None:
    one = filter_of(on_headers=Continue(metadata={"team": "blue"}))
    exchange = exchange_of(one)
    answer = proceeds(await last(exchange, post(accept_encoding="gzip")))
    assert answer.last
    assert {**answer.metadata, "lease": None} == {"exchange": "e1", "team": "blue", "settle": "access_log", "lease": None}
    assert "accept-encoding" in answer.edits.remove_headers
    assert one.session.heard == ["on_headers", "on_request"]
    exchange.close()
    assert [(outcome.cause, outcome.forwarded) for outcome in one.session.outcomes] == [(Cause.HANDED_OFF, True)]


async def test_a_filter_that_opens_no_session_costs_nothing() -> None:
    absent, present = filter_of(open=False), filter_of()
    exchange = exchange_of(absent, present)
    await told(exchange, post())
    assert absent.sessions == []
    assert [step["filter"] for step in exchange.decision.steps] == ["f1", "f1"]


async def test_a_place_that_is_off_for_this_request_is_passed_over() -> None:
    class Off:
        def choose(self, request: Request) -> Link | None:
            return None

    answer = await last(Exchange("e1", ChainPolicy([Off()]), shield), post())
    assert proceeds(answer).last


async def test_later_filters_see_the_facts_of_earlier_ones() -> None:
    team: Fact[str] = Fact("team")
    seen: list[str | None] = []
    look = noting(seen, lambda request: request.facts.get(team))
    first = filter_of(on_headers=Continue(facts={team: "blue"}))
    await told(exchange_of(first, filter_of(open=look, on_headers=look)), post())
    assert seen == ["blue", "blue"]


async def test_a_reply_on_headers_is_given_before_the_body_leaves_the_proxy() -> None:
    later = reads()
    exchange = exchange_of(reads(on_headers=DENIED), later)
    assert refused(await last(exchange, post())).status == 403
    assert later.sessions == []
    assert decision_in(exchange.close())["reason"] == "test.denied"


async def test_a_reply_on_the_request_stops_the_chain_and_closes_every_session() -> None:
    first, second, third = reads(), reads(on_request=DENIED), reads()
    exchange = exchange_of(first, second, third)
    assert refused(await last(exchange, post(), body())).reason == "test.denied"
    exchange.close()
    assert third.session.heard == ["on_headers", "close"]
    causes = [one.session.outcomes[0] for one in (first, second, third)]
    assert [(outcome.cause, outcome.forwarded) for outcome in causes] == [(Cause.REFUSED, False)] * 3


async def test_a_body_is_awaited_where_any_filter_needs_it_and_passes_untouched_where_none_edits_it() -> None:
    first, second = filter_of(), reads()
    exchange = exchange_of(first, second)
    answers = await told(exchange, post(), body())
    assert not proceeds(answers[0]).last
    assert first.session.heard == ["on_headers", "on_request"]
    assert proceeds(answers[1]).body is None
    assert proceeds(answers[1]).last


class Defaults(Session):
    """Overrides nothing."""


class DefaultsFilter:
    def open(self, request: Request) -> Session | None:
        return Defaults()


async def test_hooks_that_are_not_overridden_are_not_asked() -> None:
    exchange = exchange_of(Link("quiet", DefaultsFilter()), reads())
    await told(exchange, post(), body())
    assert [(step["filter"], step["phase"]) for step in exchange.decision.steps] == [("f1", "headers"), ("f1", "request")]
    assert len(exchange.close()) == 1


async def test_the_hooks_of_a_bare_session_change_nothing() -> None:
    session = Session()
    request = Request("e1", post().headers, None)
    assert await session.on_headers(request) == await session.on_request(request) == PASS


async def test_an_edit_is_written_into_the_body_and_seen_by_later_filters() -> None:
    seen: list[Any] = []
    looking = reads(on_request=noting(seen, lambda request: (request.call.model, (request.document or {})["x"])))
    editing = reads(on_request=Continue(Edits(members=[SetMember(("model",), "n"), SetMember(("x",), 1)])))
    answer = proceeds(await last(exchange_of(editing, looking), post(), body()))
    assert seen == [("n", 1)]
    assert answer.body is not None
    assert json.loads(answer.body) == {**CHAT, "model": "n", "x": 1}


AZURE = "/openai/deployments/large/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize("named", [{"model": "cheap"}, {}, {"model": None}])
async def test_the_deployment_in_the_path_is_the_model_whatever_the_body_names(named: dict[str, Any]) -> None:
    seen: list[Any] = []
    looking = reads(on_request=noting(seen, lambda request: request.call.model))
    exchange = exchange_of(looking)
    sent = {name: value for name, value in CHAT.items() if name != "model"} | named
    answer = proceeds((await told(exchange, post(AZURE), body(sent)))[-1])
    assert seen == ["large"]
    assert answer.body is not None
    assert json.loads(answer.body) == CHAT | {"model": "large"}
    assert ":path" not in answer.edits.set_headers
    assert decision_in(exchange.close())["model"] == "large"


async def test_a_body_that_names_the_deployment_of_the_path_stays_as_it_is() -> None:
    answer = proceeds(await last(exchange_of(reads()), post(AZURE), body(CHAT | {"model": "large"})))
    assert (answer.body, answer.edits.set_headers) == (None, {})


async def test_a_model_that_a_filter_puts_in_its_place_is_the_deployment_of_the_path_too() -> None:
    answer = proceeds(await last(exchange_of(reads(on_request=sets(("model",), "other"))), post(AZURE), body()))
    assert answer.edits.set_headers == {":path": AZURE.replace("large", "other")}
    assert answer.body is not None
    assert json.loads(answer.body)["model"] == "other"


async def test_a_deployment_that_can_be_read_in_two_ways_is_refused() -> None:
    reply = refused(await last(exchange_of(reads()), post("/openai//deployments/x/chat/completions"), body()))
    assert (reply.status, reply.reason) == (400, "body.invalid")


async def test_facts_about_the_prompt_are_forgotten_when_it_is_edited_and_kept_when_something_beside_it_is() -> None:
    seen: list[int | None] = []
    look = reads(on_request=noting(seen, lambda request: request.facts.get(INPUT_TOKENS)))
    counting = reads(on_request=Continue(facts={INPUT_TOKENS: 8, PRINCIPAL: Principal()}))
    beside = reads(on_request=sets(("stream_options",), {"include_usage": True}))
    within = reads(on_request=sets(("messages", 0, "content"), "other"))
    exchange = exchange_of(counting, beside, look, within, look)
    await told(exchange, post(), body())
    assert seen == [8, None]
    record = decision_in(exchange.close())
    assert record["principal"] == {"organisation": "default"}


PLACELESS = [("choices", 0, "text"), ("messages", 7, "content"), ("model", "x"), (), ("messages", "0")]


@pytest.mark.parametrize("fail_open", [False, True])
@pytest.mark.parametrize("path", PLACELESS, ids=str)
async def test_an_edit_without_a_place_in_the_body_refuses_whichever_way_the_filter_fails(path: Any, fail_open: bool) -> None:
    link = Link("clumsy", reads(on_request=sets(path, 1)), fail_open=fail_open)
    assert refused(await last(exchange_of(link), post(), body())).reason == "clumsy.failed"


async def test_a_body_edit_before_the_body_has_come_refuses() -> None:
    assert refused(await last(exchange_of(reads(on_headers=sets(("model",), "n"))), post())).reason == "f0.failed"


async def test_headers_of_ours_that_a_client_sends_are_removed_and_the_route_is_chosen_anew() -> None:
    answer = proceeds(await last(exchange_of(filter_of()), post(x_headrace_route="gpu", x_headrace_anything="1", x_other="2")))
    assert answer.edits.reroute
    assert set(answer.edits.remove_headers) == {"x-headrace-route", "x-headrace-anything", "accept-encoding"}


async def test_they_are_removed_on_other_paths_too() -> None:
    answer = proceeds(await last(exchange_of(), post("/v1/files", x_headrace_route="gpu")))
    assert answer.edits.remove_headers == ("x-headrace-route",)


async def test_header_edits_reach_the_proxy_with_the_next_answer_and_once() -> None:
    on_headers = Continue(Edits(set_headers={"x-a": "1"}, remove_headers=["authorization"]))
    on_request = Continue(Edits(set_headers={"x-b": "2"}, reroute=True))
    answers = await told(exchange_of(reads(on_headers=on_headers, on_request=on_request)), post(), body())
    first, second = proceeds(answers[0]).edits, proceeds(answers[1]).edits
    assert (dict(first.set_headers), first.reroute) == ({"x-a": "1"}, False)
    assert set(first.remove_headers) == {"authorization", "accept-encoding"}
    assert (dict(second.set_headers), tuple(second.remove_headers), second.reroute) == ({"x-b": "2"}, (), True)


@pytest.mark.parametrize(
    ("needs", "settle", "stays"),
    [
        (Needs.NOTHING, "access_log", False),
        (Needs.RESPONSE_HEADERS, "access_log", True),
        (Needs.RESPONSE_BODY, "stream", True),
        (Needs.RESPONSE_STREAM, "stream", True),
    ],
)
async def test_who_settles_follows_from_what_is_seen_of_the_answer(needs: Needs, settle: str, stays: bool) -> None:
    answer = proceeds(await last(exchange_of(filter_of(needs=needs | BODY)), post(), body()))
    assert (answer.metadata["settle"], answer.last) == (settle, not stays)


async def test_needs_are_read_again_after_the_request_was_seen() -> None:
    holder: list[ScriptedFilter] = []

    def drop(_: Request) -> Continue:
        holder[0].session.needs = BODY
        return PASS

    holder.append(filter_of(needs=BODY | STREAM, on_request=drop))
    assert proceeds(await last(exchange_of(holder[0]), post(), body())).last


async def test_capabilities_of_the_gateway_are_told_to_filters() -> None:
    seen: list[Capability] = []
    filter = filter_of(open=noting(seen, lambda request: request.capabilities))
    await told(exchange_of(filter, capabilities=Capability.ACCESS_LOG), post())
    assert seen == [Capability.ACCESS_LOG]


async def test_a_gateway_that_calls_models_with_whatever_it_gets_is_given_calls_alone() -> None:
    exchange = exchange_of(filter_of(), capabilities=Capability.CALLS_ONLY)
    assert refused(await last(exchange, post("/anything"))).reason == "path.not_allowed"
    assert proceeds(await last(exchange_of(filter_of(), capabilities=Capability.CALLS_ONLY), post()))


async def test_who_the_gateway_vouches_for_is_told_to_filters() -> None:
    seen: list[object] = []
    filter = filter_of(open=noting(seen, lambda request: request.vouched))
    await told(exchange_of(filter), replace(post(), vouched={"user": "ada"}))
    assert seen == [{"user": "ada"}]


async def test_a_request_that_the_gateway_cannot_send_on_as_it_was_told_was_sent_nowhere() -> None:
    filter = filter_of(needs=BODY | STREAM)
    exchange = exchange_of(filter)
    assert not proceeds(await last(exchange, post(), body())).last
    exchange.withdraw()
    exchange.close(Cause.FAILED)
    assert [(outcome.cause, outcome.forwarded) for outcome in filter.session.outcomes] == [(Cause.FAILED, False)]


@pytest.mark.parametrize("needs", [BODY, BODY | STREAM], ids=["handed over", "the answer is read"])
async def test_a_request_whose_gateway_gave_up_before_it_had_the_answer_was_sent_nowhere(needs: Needs) -> None:
    filter = filter_of(needs=needs)
    exchange = exchange_of(filter)
    proceeds(await last(exchange, post(), body()))
    exchange.unsent()
    exchange.close(Cause.FAILED)
    assert [(outcome.cause, outcome.forwarded) for outcome in filter.session.outcomes] == [(Cause.ABORTED, False)]


async def test_a_refusal_that_the_gateway_did_not_wait_for_was_one() -> None:
    filter = filter_of(needs=BODY, on_request=DENIED)
    exchange = exchange_of(filter)
    await told(exchange, post(), body())
    exchange.unsent()
    exchange.close(Cause.ABORTED)
    assert [(outcome.cause, outcome.forwarded) for outcome in filter.session.outcomes] == [(Cause.REFUSED, False)]


async def test_what_was_answered_had_been_sent_on() -> None:
    filter = filter_of(needs=BODY | STREAM)
    exchange = exchange_of(filter)
    await told(exchange, post(), body(), answer_head())
    exchange.unsent()
    exchange.close(Cause.ABORTED)
    assert [outcome.forwarded for outcome in filter.session.outcomes] == [True]


async def test_an_answer_that_is_retracted_refuses_a_request_that_was_handed_over() -> None:
    filter = filter_of(needs=BODY)
    exchange = exchange_of(filter)
    assert proceeds(await last(exchange, post(), body())).last
    refused = exchange.retract(Reply(503, "test.retracted", "No."))
    assert (refused.status, refused.reason) == (503, "test.retracted")
    record = decision_in(exchange.close(Cause.ABORTED))
    assert (record["outcome"], record["reason"]) == ("refused", "test.retracted")
    assert [(outcome.cause, outcome.forwarded) for outcome in filter.session.outcomes] == [(Cause.REFUSED, False)]


async def test_the_decision_is_known_before_the_exchange_is_over_and_does_not_grow_with_it() -> None:
    exchange = exchange_of(filter_of(needs=BODY | STREAM, on_request=DENIED))
    await told(exchange, post(), body())
    early = exchange.decided()
    final = decision_in(exchange.close(Cause.ABORTED))
    assert early.members["steps"] is not final["steps"]
    assert early.members == final


async def test_a_call_is_read_once_per_body() -> None:
    calls: list[object] = []
    look = reads(on_request=noting(calls, lambda request: request.call))
    await told(exchange_of(look, look, reads(on_request=sets(("x",), 1)), look), post(), body())
    assert calls[0] is calls[1]
    assert calls[1] is not calls[2]


# --- the proxy's own reply ---------------------------------------------------------------------------------------------------


async def test_the_proxys_own_reply_while_the_request_is_read_ends_the_exchange() -> None:
    filter = reads()
    exchange = exchange_of(filter)
    own = replace(answer_head("text/plain", 413), from_upstream=False)
    assert await last(exchange, post(), own) == Proceed(last=True)
    exchange.close()
    outcome = filter.session.outcomes[0]
    assert (outcome.cause, outcome.status, outcome.forwarded) == (Cause.ABORTED, 413, False)


async def test_the_proxys_own_reply_after_the_request_was_sent_is_never_read() -> None:
    filter = filter_of(needs=BODY | Needs.RESPONSE_BODY, on_response=AssertionError())
    exchange = exchange_of(filter)
    own = replace(answer_head(status=503), from_upstream=False)
    assert await last(exchange, post(), body(), own) == Proceed(last=True)
    exchange.close()
    outcome = filter.session.outcomes[0]
    assert (outcome.cause, outcome.status, outcome.forwarded) == (Cause.COMPLETED, 503, True)


async def test_headers_of_a_reply_go_to_the_caller_and_the_record_keeps_its_note() -> None:
    headers = {"x-ratelimit-limit-tokens": "7"}
    reply = Reply(429, "budget.exhausted", "Spent.", retry_after=0, headers=headers, note={"budget": "day"})
    exchange = exchange_of(filter_of(on_headers=reply))
    answer = refused(await last(exchange, post()))
    assert answer.headers["x-ratelimit-limit-tokens"] == "7"
    assert answer.headers["retry-after"] == "1"
    assert exchange.decision.steps[0]["note"] == {"budget": "day"}
