"""The files that a policy document itself names; filters name more."""

from collections.abc import Iterator

from headrace.ext_proc.engine.policy.models import (
    ApiKeysSource,
    GatewaySource,
    HeadersSource,
    JwtSource,
    KeyFile,
    PolicyDocument,
    TokenizerFile,
)
from headrace.ext_proc.engine.policy.problems import Where


def named_files(document: PolicyDocument) -> Iterator[tuple[Where, str]]:
    """Each with its place."""
    for index, model in enumerate(document.models):
        if isinstance(model.tokenizer, TokenizerFile):
            yield ("models", index, "tokenizer", "file"), model.tokenizer.file
        if model.shape is not None:
            yield ("models", index, "shape"), model.shape
    for index, source in enumerate(document.identity):
        match source:
            case ApiKeysSource(api_keys=KeyFile(file=name)):
                yield ("identity", index, "api_keys", "file"), name
            case JwtSource(jwt=jwt) if "://" not in jwt.jwks:
                yield ("identity", index, "jwt", "jwks"), jwt.jwks
            case ApiKeysSource() | JwtSource() | HeadersSource() | GatewaySource():
                pass
