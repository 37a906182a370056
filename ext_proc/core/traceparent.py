"""The caller's trace context, as far as a settlement must know it to join the caller's trace.

Source: https://www.w3.org/TR/trace-context/#traceparent-header
"""

import re

from headrace.ext_proc.core.headers import Headers

HEADER = "traceparent"
# Version, trace id, parent id, flags. Version ff is forbidden, ids of zeros are invalid; a later version may add fields that nobody
# here understands, and such a caller starts a trace of its own.
FORM = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_FORM = re.compile(FORM)


def traceparent_of(headers: Headers) -> str | None:
    """The header's value, 55 characters; None where it is absent, given twice, or not of the form."""
    given = headers.get(HEADER)
    if not given or not _FORM.fullmatch(given) or len(headers.get_all(HEADER)) > 1:
        return None
    return given
