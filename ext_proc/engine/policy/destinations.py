"""Where requests may go, as the attempts need to know it: the upstreams of the policy with their credentials read."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never
from urllib.parse import urlsplit

from headrace.ext_proc.core.endpoint import Dialect
from headrace.ext_proc.engine.load.scrape import Target
from headrace.ext_proc.engine.policy.models import PolicyDocument, Upstream
from headrace.ext_proc.engine.policy.part import EnvSecret, FileSecret
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.registry import Build

MAX_SECRET = 8192
"""Characters. Providers' keys have some hundred; what is longer is another file."""


@dataclass(frozen=True, slots=True)
class Destination:
    """prefix: of its paths, without a slash at the end. dialect: None for a server that takes every API as it comes."""

    name: str
    prefix: str = ""
    dialect: Dialect | None = None
    api_key: str | None = field(default=None, repr=False)


def targets_of(document: PolicyDocument) -> Mapping[str, Target]:
    """The metrics pages of every server that has one, by `ip:port`, or by the URL's own host where an upstream lists none."""
    return {
        server: Target(f"{urlsplit(upstream.url).scheme}://{server}/metrics", upstream.metrics)
        for upstream in document.upstreams.values()
        if upstream.metrics is not None
        for server in servers_of(upstream)
    }


def servers_of(upstream: Upstream) -> Sequence[str]:
    """Where its metrics are read."""
    return upstream.servers or (urlsplit(upstream.url).netloc,)


def destinations_of(build: Build) -> Mapping[str, Destination]:
    """By name. Reports every credential that cannot be read or sent."""
    return {name: _destination(name, upstream, build) for name, upstream in build.document.upstreams.items()}


def _destination(name: str, upstream: Upstream, build: Build) -> Destination:
    where = ("upstreams", name, "api_key")
    return Destination(
        name=name,
        prefix=urlsplit(upstream.url).path.rstrip("/"),
        dialect=Dialect(upstream.dialect) if upstream.dialect else None,
        api_key=secret_of(upstream.api_key, where, build) if upstream.api_key else None,
    )


def secret_of(secret: EnvSecret | FileSecret, where: Where, build: Build) -> str | None:
    """One line of printable ASCII. None where there is none; that, and any other text, is reported."""
    match secret:
        case EnvSecret():
            found, where, source = os.environ.get(secret.env), (*where, "env"), f"the environment variable {secret.env}"
            if found is None:
                build.problem(where, f"{source} is not set")
        case FileSecret():
            found, where, source = _read(secret, (*where, "file"), build), (*where, "file"), f"the file {secret.file}"
        case _:
            assert_never(secret)
    if found is not None and not _sendable(found):
        build.problem(where, f"{source} must hold one line of printable ASCII characters, at most {MAX_SECRET}")
    return found


def _read(secret: FileSecret, where: Where, build: Build) -> str | None:
    path = build.file(where, secret.file)
    return path.read_bytes()[: MAX_SECRET + 2].decode("utf-8", "replace").rstrip("\r\n") if path else None


def _sendable(secret: str) -> bool:
    """In a header: nothing that could end it."""
    return 0 < len(secret) <= MAX_SECRET and secret.isascii() and secret.isprintable()
