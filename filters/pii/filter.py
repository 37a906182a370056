"""The filter: settings checked against the detector, one session per exchange."""

import os
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from secrets import token_bytes
from typing import ClassVar

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.engine.policy.problems import suggestion
from headrace.ext_proc.engine.registry import Build
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.session import Equipment, PiiSession
from headrace.filters.pii.settings import PiiSettings

KEY_VARIABLE = "HEADRACE_PII_KEY"
LEAST_KEY = 32
"""Bytes of a key from a file or from the environment."""

_PROCESS_KEY = token_bytes(32)

# What Presidio's NLP recognizers report; they have no patterns.
_OF_A_MODEL = frozenset({"PERSON", "LOCATION", "NRP", "ORGANIZATION", "FACILITY", "AGE"})


class PiiFilter:
    """One per policy revision. Loads Presidio when it is built, not when it is imported."""

    name: ClassVar[str] = "pii"
    Settings: ClassVar[type[PiiSettings]] = PiiSettings

    def __init__(self, settings: PiiSettings, build: Build) -> None:
        self.settings = settings
        detector = detector_for(tuple(sorted(_thresholds(settings, build).items())))
        self._equipment = Equipment(settings, detector, build.ports.offload, _secret(settings, build))

    def open(self, request: Request) -> Session | None:
        """None where there is nothing to search: the endpoint is unknown, or both directions are off."""
        settings = self.settings
        answered = settings.response != "off" and request.endpoint is not Endpoint.EMBEDDINGS
        if request.endpoint is None or (settings.request == "off" and not answered):
            return None
        return PiiSession(self._equipment, request.endpoint, watches_answer=answered)


# The suffix list and the telephone numbers of each region are read when they are first needed: 25 ms that no request should pay.
_WARM_UP = "a@example.com +1 415-555-2671 030 123456 020 7946 0123"


@lru_cache(maxsize=8)
def detector_for(thresholds: tuple[tuple[str, float], ...]) -> MemoDetector:
    """Shared by policy revisions, and by overrides that change something else: building one takes a quarter of a second."""
    from headrace.filters.pii.detector import PatternDetector  # imports Presidio

    detector = PatternDetector(dict(thresholds))
    detector.detect(_WARM_UP)
    return MemoDetector(detector)


def _thresholds(settings: PiiSettings, build: Build) -> Mapping[str, float]:
    """Entity → the score a finding must reach. Reports entities that nothing here can find."""
    from headrace.filters.pii.detector import best_scores

    best = best_scores()
    for index, entity in enumerate(settings.entities or ()):
        _check_entity(entity, best, settings, build, ("entities", index))
    for entity in settings.thresholds:
        if entity not in best:
            build.problem((*build.at, "thresholds", entity), _unknown(entity, best))
    wanted = settings.entities or tuple(best)
    return {entity: settings.thresholds.get(entity, settings.min_score) for entity in wanted if entity in best}


def _check_entity(entity: str, best: Mapping[str, float], settings: PiiSettings, build: Build, at: tuple[str | int, ...]) -> None:
    if entity not in best:
        build.problem((*build.at, *at), _unknown(entity, best))
        return
    least = settings.thresholds.get(entity, settings.min_score)
    if best[entity] < least:
        message = (
            f"{entity} never scores above {best[entity]:g} without a model, so {least:g} hides every finding; "
            f"set thresholds: {{{entity}: {best[entity]:g}}} or leave it out"
        )
        build.problem((*build.at, *at), message)


def _unknown(entity: str, known: Mapping[str, float]) -> str:
    if entity in _OF_A_MODEL:
        return f"{entity} is found by a language model only, and this filter runs none; leave it out"
    return f"{entity!r} is nothing that Presidio's default recognizers find without a model; {suggestion(entity, known)}"


def _secret(settings: PiiSettings, build: Build) -> bytes:
    """The secret of the placeholders; from the policy's file, the environment, or made at start."""
    if settings.key_file is not None:
        path = build.file((*build.at, "key_file"), settings.key_file)
        secret = path.read_bytes().strip() if path is not None else b""
        if path is not None and len(secret) < LEAST_KEY:
            build.problem((*build.at, "key_file"), f"{path} holds {len(secret)} bytes; a key has at least {LEAST_KEY}")
        return _digest(secret)
    if given := os.environ.get(KEY_VARIABLE):
        if len(given) < LEAST_KEY:
            build.problem(build.at, f"{KEY_VARIABLE} has {len(given)} characters; a key has at least {LEAST_KEY}")
        return _digest(given.encode("utf-8", "surrogateescape"))
    return _PROCESS_KEY


def _digest(secret: bytes) -> bytes:
    """Keys of any length become the 32 bytes that keyed hashing takes."""
    return blake2b(secret, digest_size=32, person=b"headrace.pii.key").digest()
