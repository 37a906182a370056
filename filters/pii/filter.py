"""The filter: settings checked against the detector, one session per exchange."""

import os
from hashlib import blake2b
from secrets import token_bytes
from typing import ClassVar

from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.registry import Build
from headrace.filters.pii.lateness import check_models_in_time, check_times, waiting_room
from headrace.filters.pii.placing import check_actions
from headrace.filters.pii.plan import Plan, check_lists, check_looked_for, check_quotes, detector_for, plan, warm
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.session import Equipment, PiiSession
from headrace.filters.pii.settings import PiiSettings
from headrace.filters.pii.treatment import Treatment

KEY_VARIABLE = "HEADRACE_PII_KEY"
LEAST_KEY = 32
"""Bytes of a key from a file or from the environment."""

_PROCESS_KEY = token_bytes(32)


class PiiFilter:
    """One per policy revision. Loads Presidio when it is built, not when it is imported."""

    name: ClassVar[str] = "pii"
    Settings: ClassVar[type[PiiSettings]] = PiiSettings

    def __init__(self, settings: PiiSettings, build: Build) -> None:
        self.settings = settings

        def report(where: Where, message: str) -> None:
            build.problem((*build.at, *where), message)

        def remark(where: Where, message: str) -> None:
            build.remark((*build.at, *where), message)

        self._plan = plan(settings, build.base, report)
        check_times(settings, report)
        check_models_in_time(settings, self._plan.models, remark)
        check_looked_for(settings, self._plan, remark)
        check_quotes(settings, remark)
        check_lists(settings, remark)
        check_actions(settings.request, "request", build, report)
        check_actions(settings.response, "response", build, report)
        detector = detector_for(self._plan)
        self._detector = detector
        request, response = Treatment(settings.request, "replace"), Treatment(settings.response, "off")
        searchers = Searcher(detector, request), Searcher(detector, response)
        offload = waiting_room() if detector.waits else build.ports.offload
        self._equipment = Equipment(settings, *searchers, offload, _secret(settings, build))

    @property
    def plan(self) -> Plan:
        """What it searches for, and with what."""
        return self._plan

    @property
    def remark(self) -> str:
        """What a summary of the policy says of it."""
        return f"model {' and '.join(model.name for model in self._plan.models) or 'none'}"

    def warm(self) -> None:
        """Waits for the gate and loads the models, if there are any. Blocking."""
        self._detector.ready()
        answers = self._equipment.answers.treatment
        if answers.changes and not answers.blocks:
            _ = self._detector.beginnings  # compiles patterns
        warm(self._plan)

    def open(self, request: Request) -> Session | None:
        """None where there is nothing to search: the endpoint is unknown, or both directions are off."""
        equipment = self._equipment
        if (endpoint := request.endpoint) is None:
            return None
        answered = equipment.answers.treatment.searches and endpoint.has_answer
        if not (equipment.requests.treatment.searches or answered):
            return None
        return PiiSession(equipment, endpoint, watches_answer=answered)


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
