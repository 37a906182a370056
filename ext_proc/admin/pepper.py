"""The pepper of the store's keys, from the policy as its file is now."""

import os
from pathlib import Path

from headrace.ext_proc.admin.errors import conflict
from headrace.ext_proc.engine.keys import PEPPER_NAME, PepperError, load_pepper
from headrace.ext_proc.engine.policy.lines import MAX_BYTES, parse, read_bytes
from headrace.ext_proc.engine.policy.models import ApiKeysSource, KeyStore, PolicyDocument
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.policy.validation import validated


def pepper_of(policy: Path) -> bytes:
    """Raises ApiError where the policy takes no keys from the store, or cannot be read. Reads files: call it on a thread."""
    try:
        source = _source(_document(policy))
        return load_pepper(policy.parent / (source.pepper_file or PEPPER_NAME), os.environ)
    except (PolicyErrors, PepperError) as error:
        raise conflict(f"No key can be made now: {error}") from None


def _document(policy: Path) -> PolicyDocument:
    """Raises PolicyErrors, and ApiError for a document that is no policy."""
    located = parse(read_bytes(policy, MAX_BYTES), str(policy))
    document = validated(PolicyDocument, located.value, lambda where, message: None)
    if document is None:
        raise conflict("No key can be made now: the policy has problems; `headrace check` names them.")
    return document


def _source(document: PolicyDocument) -> KeyStore:
    """Raises ApiError."""
    for entry in document.identity:
        if isinstance(entry, ApiKeysSource) and isinstance(entry.api_keys, KeyStore):
            return entry.api_keys
    raise conflict("The policy takes no keys from the store; its identity list needs {api_keys: {store: true}}.")
