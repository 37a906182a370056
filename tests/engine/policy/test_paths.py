import pytest

from headrace.ext_proc.engine.policy.paths import OtherPaths

LISTED = OtherPaths(["GET /v1/Models", "GET /v1/models/*", "DELETE /v1/files/file-[0-9]", "GET /v1/responses/*"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/V1/models/?limit=20"),
        ("GET", "/v1/models/meta-llama%2FLlama-3"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("DELETE", "/v1/files/file-7"),
    ],
)
def test_what_is_listed_passes(method: str, path: str) -> None:
    assert LISTED.passes(method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models"),
        ("get", "/v1/models"),
        ("", ""),
        ("GET", "/v1/files/file-7"),
        ("DELETE", "/v1/files/file-x"),
        ("GET", "/v2/v1/models"),
        ("GET", "/v1/models/../files"),
        ("GET", "/v1/models/%2e%2e/files"),
        ("GET", "/v1/models;x/../files"),
        ("GET", "/v1/models/\\..\\files"),
        ("GET", "/v1/models/.%09./files"),
        ("GET", "/v1/models/.%0D%0A./files"),
        ("GET", "/v1/models/x%00/files"),
    ],
)
def test_nothing_else_does_nor_a_path_that_servers_may_read_differently(method: str, path: str) -> None:
    assert not LISTED.passes(method, path)


def test_all_or_none_pass_in_any_spelling() -> None:
    for path in ("/v1/models", "/v1/models/../files", "*", ""):
        assert OtherPaths("pass").passes("GET", path)
        assert not OtherPaths("refuse").passes("GET", path)
