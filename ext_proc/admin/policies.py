"""What the API needs of the policy, from its file as it is now. Everything here reads files: call it on a thread."""

import os
from collections.abc import Sequence
from pathlib import Path

from headrace.ext_proc.admin.errors import ApiError
from headrace.ext_proc.engine.budgets.limits import Limit, limits_of
from headrace.ext_proc.engine.keys import PEPPER_NAME, PepperError, load_pepper
from headrace.ext_proc.engine.policy.lines import MAX_BYTES, parse, read_bytes
from headrace.ext_proc.engine.policy.models import ApiKeysSource, KeyStore, PolicyDocument
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.policy.validation import validated


def pepper_of(policy: Path) -> bytes:
    """Of the store's keys. Raises ApiError where the policy takes none from the store, or cannot be read."""
    source = _source(_document(policy))
    try:
        return load_pepper(policy.parent / (source.pepper_file or PEPPER_NAME), os.environ)
    except PepperError as error:
        raise ApiError("conflict", f"No key can be made now: {error}.") from None


def budgets_of(policy: Path) -> Sequence[Limit]:
    """Raises ApiError where the policy cannot be read."""
    return limits_of(_document(policy), lambda where, message: None)


def _document(policy: Path) -> PolicyDocument:
    """Raises ApiError for a file that holds no policy."""
    try:
        located = parse(read_bytes(policy, MAX_BYTES), str(policy))
    except PolicyErrors as error:
        raise ApiError("conflict", f"The policy cannot be read: {error.problems[0]}") from None
    document = validated(PolicyDocument, located.value, lambda where, message: None)
    if document is None:
        raise ApiError("conflict", "The policy's file has problems; GET /policy, or `headrace check`, names them.")
    return document


def _source(document: PolicyDocument) -> KeyStore:
    """Raises ApiError."""
    for entry in document.identity:
        if isinstance(entry, ApiKeysSource) and isinstance(entry.api_keys, KeyStore):
            return entry.api_keys
    raise ApiError("conflict", "The policy takes no keys from the store; its identity list needs {api_keys: {store: true}}.")
