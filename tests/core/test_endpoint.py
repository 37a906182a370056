"""No spelling of a path is a way past the filters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.endpoint import (
    MAX_UNCLEAR,
    Dialect,
    Endpoint,
    deployment_of,
    endpoint_of,
    normalise,
    plain_of,
    with_deployment,
)

PATHS = {
    "/v1/chat/completions": Endpoint.CHAT,
    "/v1/completions": Endpoint.COMPLETIONS,
    "/v1/embeddings": Endpoint.EMBEDDINGS,
    "/v1/responses": Endpoint.RESPONSES,
    "/v1/responses/compact": Endpoint.RESPONSES,
    "/v1/messages": Endpoint.MESSAGES,
    "/v1/messages/count_tokens": Endpoint.MESSAGES_COUNT,
    "/v1/messages/count_tokens?beta=true": Endpoint.MESSAGES_COUNT,
    "/v1/responses/input_tokens": Endpoint.RESPONSES_COUNT,
    "/chat/completions": Endpoint.CHAT,
    "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21": Endpoint.CHAT,
    "/api/anthropic/v1/messages": Endpoint.MESSAGES,
}
SPELLINGS = [
    "/v1//chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions//",
    "//v1/chat/completions",
    "/V1/Chat/COMPLETIONS",
    "/v1/chat/completions;x=1",
    "/v1;a/chat;b=2/completions;c",
    "/v1/chat/completions;a%2fv1",
    "/v1/chat/completions%3Ba%252fv1",
    "/v1/chat/completions/%3b/..",
    "/v1/chat/completions\\.. /..",
    "/v1/chat/completions/" + "x/" * 2000 + "../" * 2000,
    "/v1/chat/completions?x=/v1/files",
    "/v1/chat/completions#x",
    "/v1/./chat/completions",
    "/v1/x/../chat/completions",
    "/v1/x/..;/chat/completions",
    "/v1/%2e/chat/completions",
    "/v1/x/%2E%2e/chat/completions",
    "/v1/chat%2Fcompletions",
    "/v1/chat%2fcompletions",
    "/v1%5cchat%5Ccompletions",
    "/v1\\chat\\completions",
    "/v1/%63hat/completions",
    "/v1/%2563hat/completions",
    "/v1/%252563hat/completions",
    "/v1/chat/completions%20",
    "/v1/chat/comp%09letions",
    "/v1/chat/completions%3Fx",
    "/v1/chat/completions%3bx",
    "v1/chat/completions",
    "http://model/v1/chat/completions",
    "/v1/x#/v1/chat/completions",
    "#/chat/completions",
]
OTHERS = [
    "",
    "/",
    "*",
    "/v1/models",
    "/v1/chat",
    "/v1/chat/completions/x",
    "/v1/responses/resp_1/cancel",
    "/v1/messages/batches",
    "/v1/messages/count_tokens/x",
    "/v1/xcompletions",
    "/v1/files?path=/v1/chat/completions",
    "/v1/chat/completions/..",
    "/v1/chat/completions%252525252fx",
    "/%",
    "/%zz%ff",
]


@pytest.mark.parametrize("path", PATHS)
def test_endpoints(path: str) -> None:
    assert endpoint_of("POST", path) is PATHS[path]


@pytest.mark.parametrize("path", SPELLINGS)
def test_a_spelling_a_lenient_upstream_may_take_for_the_path_is_the_path(path: str) -> None:
    assert endpoint_of("POST", path) is Endpoint.CHAT


CALLS_TO_SOME = [
    "/v1/messages/count_tokens/..",
    "/v1/messages/count_tokens/..;/",
    "/v1/messages/count_tokens/x;/../..",
    "/v1/messages?/count_tokens",
    "/v1/messages#/count_tokens",
    "/v1/messages%3f/count_tokens",
    "/v1/messages/x/..;/count_tokens/%2e%2e",
]


@pytest.mark.parametrize("path", CALLS_TO_SOME)
def test_a_path_that_some_server_may_take_for_a_call_is_no_count(path: str) -> None:
    assert endpoint_of("POST", path) is Endpoint.MESSAGES


@pytest.mark.parametrize("path", OTHERS)
def test_other_paths(path: str) -> None:
    assert endpoint_of("POST", path) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_a_method_that_asks_for_what_is_kept_calls_nothing_unless_a_body_comes_with_it(method: str) -> None:
    assert endpoint_of(method, "/v1/chat/completions") is None
    assert endpoint_of(method, "/v1/chat/completions#x", has_body=True) is Endpoint.CHAT


@pytest.mark.parametrize("method", ["post", "PUT", "PATCH", "CALL", ""])
def test_any_other_method_calls_what_its_path_names(method: str) -> None:
    assert endpoint_of(method, "/v1/chat/completions") is Endpoint.CHAT
    assert endpoint_of(method, "/v1/files") is None


def test_dialects() -> None:
    anthropic = [endpoint for endpoint in Endpoint if endpoint.dialect is Dialect.ANTHROPIC]
    assert anthropic == [Endpoint.MESSAGES, Endpoint.MESSAGES_COUNT]


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/v1/Models/", "/v1/models"),
        ("//v1/./models?after=x/../y", "/v1/models"),
        ("/v1/models/meta-llama%2FLlama-3", "/v1/models/meta-llama/llama-3"),
        ("/v1/models/meta-llama%252FLlama-3", "/v1/models/meta-llama/llama-3"),
        ("", "/"),
    ],
)
def test_a_path_that_every_server_reads_alike_has_a_normal_form(path: str, plain: str) -> None:
    assert plain_of(path) == plain


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../batches",
        "/v1/models/%2e%2e/batches",
        "/v1/models/%25252e%25252e/batches",
        "/v1/models/..;/batches",
        "/v1/models;/batches",
        "/v1/models\\batches",
        "/v1/models%3F/batches",
        "/v1/models#/batches",
        "/v1/models%23/batches",
        "/v1/models/%ff",
        "/v1/models/%2525252fbatches",
        "/v1/models/%zz",
    ],
)
def test_a_path_that_servers_may_read_differently_has_none(path: str) -> None:
    assert plain_of(path) is None


def test_dot_segments_do_not_climb_above_the_root() -> None:
    assert normalise("/../../a/./b/..") == "/a"


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_path_normalises_to_plain_segments(path: str) -> None:
    assert not {"", ".", ".."} & set(normalise(path).removeprefix("/").split("/")) or normalise(path) == "/"


@given(st.text(alphabet="aA%2e.;/\\ ", max_size=30))
def test_what_is_appended_as_a_query_never_matters(path: str) -> None:
    assert normalise(path + "?q=/../x") == normalise(path)


def test_a_long_path_is_what_it_names() -> None:
    long = "/" + "a" * MAX_UNCLEAR
    assert endpoint_of("POST", f"{long}/v1/chat/%63ompletions/%3b/..") is Endpoint.CHAT
    assert endpoint_of("POST", f"{long}/v1/messages/%3b/..") is Endpoint.MESSAGES
    assert endpoint_of("POST", f"{long}/v1/files") is None


DEPLOYMENTS = {
    "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21": "gpt-4o",
    "/azure/openai/deployments/My%20Model/completions": "My Model",
    "/OpenAI/Deployments/X/embeddings/": "X",
    "/deployments/x/chat/completions": "x",
    "/openai/deployments/x/responses/compact": "x",
    "/v1/chat/completions": None,
    "/v1/chat/completions?x=/openai/deployments/x/chat/completions": None,
    "/my-deployments/v1/chat/completions": None,
    "/v2/deployments/d1/chat/completions": None,
    "/openai/deployments/a/b/chat/completions": "",
    "/openai/deployments/a%2Fb/chat/completions": "",
    "/openai/deployments/a%252Fb/chat/completions": "",
    "/openai/deployments/a%ff/chat/completions": "",
    "/openai/deployments/%2e%2e/chat/completions": "",
    "/openai/deployments/a;b/chat/completions": "",
    "/openai//deployments/a/chat/completions": "",
    "/openai/%64eployments/a/chat/completions": "",
    "/openai/deployments/x/../a/chat/completions": "",
    "/openai/deployments/a/./chat/completions": "",
    "http://x/openai/deployments/a/chat/completions": "",
}


@pytest.mark.parametrize("path", DEPLOYMENTS)
def test_the_deployment_in_a_path_is_read_where_there_is_one_reading(path: str) -> None:
    assert deployment_of(path) == DEPLOYMENTS[path]


def test_a_path_with_another_deployment() -> None:
    path = "/openai/deployments/a%20b/chat/completions?api-version=1"
    assert with_deployment(path, "c/d") == "/openai/deployments/c%2Fd/chat/completions?api-version=1"
    assert with_deployment(path, "a b") == path
    assert with_deployment("/v1/chat/completions", "a") == "/v1/chat/completions"
    assert with_deployment("/openai//deployments/a/chat/completions", "b") == "/openai//deployments/a/chat/completions"
