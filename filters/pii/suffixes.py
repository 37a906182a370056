"""Whether a name ends in a public suffix, by the list in tldextract's package: nothing is fetched, and nothing kept in a home."""

from typing import Any

from headrace.ext_proc.engine.imports import deferred

with deferred("requests", "requests_file", "filelock"):  # 9 MB: the HTTP client that would fetch the list; where it would be kept
    import tldextract

_EXTRACT = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), fallback_to_snapshot=True)
_NO_SESSION: Any = object()  # without one an HTTP client is made for the list's URLs, of which there are none


def is_public(name: str) -> bool:
    """Whether `name`, of a host or after an @, is a domain below a public suffix. The first call reads the list: 0.1 s."""
    return bool(_EXTRACT(name, session=_NO_SESSION).fqdn)
