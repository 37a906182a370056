"""The files a policy names: that each can be read, and that those which count tokens can be used for it."""

from collections.abc import Iterator

from headrace.ext_proc.engine.counting.own import template_of, tokenizer_of
from headrace.ext_proc.engine.policy.models import (
    ApiKeysSource,
    GatewaySource,
    HeadersSource,
    JwtSource,
    KeyFile,
    Model,
    PolicyDocument,
    TemplateFile,
    TokenizerFile,
)
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.registry import Build


def check_files(build: Build) -> None:
    """Reports what is wrong; a reload follows every file's changes."""
    unread = {where for where, name in _files(build.document) if build.file(where, name) is None}
    for index, model in enumerate(build.document.models):
        if not any(where[:2] == ("models", index) for where in unread):
            _check_counting(build, model, ("models", index))


def _files(document: PolicyDocument) -> Iterator[tuple[Where, str]]:
    for index, model in enumerate(document.models):
        for part, name in _files_of(model):
            yield ("models", index, *part), name
    for index, source in enumerate(document.identity):
        match source:
            case ApiKeysSource(api_keys=KeyFile(file=name)):
                yield ("identity", index, "api_keys", "file"), name
            case JwtSource(jwt=jwt) if "://" not in jwt.jwks:
                yield ("identity", index, "jwt", "jwks"), jwt.jwks
            case ApiKeysSource() | JwtSource() | HeadersSource() | GatewaySource():
                pass


def _files_of(model: Model) -> Iterator[tuple[Where, str]]:
    if isinstance(model.tokenizer, TokenizerFile):
        yield ("tokenizer", "file"), model.tokenizer.file
    if isinstance(model.template, TemplateFile):
        yield ("template", "file"), model.template.file
        if model.template.config is not None:
            yield ("template", "config"), model.template.config
    if model.shape is not None:
        yield ("shape",), model.shape


def _check_counting(build: Build, model: Model, where: Where) -> None:
    if isinstance(model.tokenizer, TokenizerFile):
        _check_tokenizer(build, model, model.tokenizer, where)
    elif isinstance(model.template, TemplateFile):
        build.problem((*where, "template"), "is of no use without the model's own tokenizer, whose markers it writes: {file: …}")
    if isinstance(model.template, TemplateFile):
        try:
            template_of(build.base, model.template)
        except (OSError, ValueError) as error:
            build.problem((*where, "template"), str(error))


def _check_tokenizer(build: Build, model: Model, tokenizer: TokenizerFile, where: Where) -> None:
    try:
        counter = tokenizer_of(build.base, tokenizer)
    except (OSError, ValueError) as error:
        build.problem((*where, "tokenizer", "file"), str(error))
        return
    if counter.frames is not None and "template" in model.model_fields_set:
        build.problem((*where, "template"), "must not be there: a tekken.json brings its own")
