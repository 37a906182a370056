"""From the policy's identity list to sources; what is wrong with their files is reported at their lines."""

import os
from collections.abc import Iterator
from pathlib import Path

from headrace.ext_proc.engine.key_files import read_keys
from headrace.ext_proc.engine.keys import PEPPER_NAME, PEPPER_VARIABLE, PepperError, load_pepper
from headrace.ext_proc.engine.policy.models import (
    ApiKeysSource,
    GatewaySource,
    HeadersSource,
    JwtSource,
    KeyFile,
    KeyStore,
)
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.registry import Build
from headrace.filters.identity.sources import FileKeys, Source, TrustedHeaders, Vouched
from headrace.filters.identity.store_keys import StoreKeys, key_roster


def sources_of(build: Build) -> Iterator[Source]:
    """The sources that can be built; problems are reported. Raises PolicyErrors for a key file with errors of its own."""
    for index, entry in enumerate(build.document.identity):
        where: Where = ("identity", index)
        match entry:
            case ApiKeysSource(api_keys=KeyFile() as keys):
                source = _file_keys(keys, (*where, "api_keys"), build)
            case ApiKeysSource(api_keys=KeyStore() as keys):
                source = _store_keys(keys, (*where, "api_keys"), build)
            case JwtSource(jwt=jwt):
                from headrace.filters.identity.providers import tokens_of  # cryptography: 9 MB that keys do without

                source = tokens_of(jwt, (*where, "jwt", "jwks"), build)
            case HeadersSource(headers=headers):
                source = TrustedHeaders({str(part): name for part, name in headers.items()})
            case GatewaySource():
                source = Vouched()
        if source is not None:
            yield source


def _file_keys(keys: KeyFile, where: Where, build: Build) -> Source | None:
    path = build.file((*where, "file"), keys.file)
    pepper = _pepper(keys, (build.base / keys.file).parent, where, build)
    return FileKeys(read_keys(path), pepper, build.ports.clock) if path is not None and pepper is not None else None


def _store_keys(keys: KeyStore, where: Where, build: Build) -> Source | None:
    pepper = _pepper(keys, build.base, where, build)
    if pepper is None:
        return None
    clock = build.ports.clock
    return StoreKeys(key_roster(build.ports.store, clock), pepper, clock, stale_ms=keys.stale_seconds * 1000)


def _pepper(keys: KeyFile | KeyStore, beside: Path, where: Where, build: Build) -> bytes | None:
    path = build.base / keys.pepper_file if keys.pepper_file else beside / PEPPER_NAME
    if PEPPER_VARIABLE not in os.environ:
        build.files.add(path)
    try:
        return load_pepper(path, os.environ)
    except PepperError as error:
        build.problem((*where, "pepper_file"), str(error))
        return None
