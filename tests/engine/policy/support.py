"""Filters that do nothing, under the names of the real ones, and a compiler that uses them."""

import textwrap
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar, cast

import pytest
from pydantic import Field, model_validator

from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.registry import GROUP, Build, Ports, Registry
from headrace.ext_proc.engine.settings import FilterSettings

PORTS = cast(Ports, None)  # the compiler hands them on and calls none


class Plain:
    """A filter without settings of its own."""

    name: ClassVar[str]
    Settings: ClassVar[type[FilterSettings]] = FilterSettings
    built: ClassVar[list["Plain"]] = []

    def __init__(self, settings: FilterSettings, build: Build) -> None:
        self.settings, self.build = settings, build
        Plain.built.append(self)

    def open(self, request: Request) -> Session | None:
        return None


class Identity(Plain):
    name = "identity"


class Budget(Plain):
    name = "budget"


class Routing(Plain):
    name = "routing"


class Usage(Plain):
    name = "usage"


class PiiSettings(FilterSettings):
    entities: tuple[str, ...] = ()
    threshold: float = Field(0.5, ge=0, le=1)
    floor: float = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> "PiiSettings":
        if self.floor > self.threshold:
            raise ValueError(f"floor must be at most threshold, {self.threshold}, not {self.floor}")
        return self


class Pii(Plain):
    name = "pii"
    Settings = PiiSettings
    broken: ClassVar[bool] = False

    def __init__(self, settings: PiiSettings, build: Build) -> None:
        super().__init__(settings, build)
        if self.broken:
            raise RuntimeError("the disk is gone")
        for index, entity in enumerate(settings.entities):
            if entity == "UNKNOWN":
                build.problem((*build.at, "entities", index), "there is no entity 'UNKNOWN'")
            if entity == "CRASH":
                raise RuntimeError("no such model")


CLASSES = (Identity, Budget, Routing, Usage, Pii)


def registry() -> Registry:
    return Registry(EntryPoint(cls.name, f"{__name__}:{cls.__name__}", GROUP) for cls in CLASSES)


class Workbench:
    """A directory with a policy in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "policy.yaml"

    def write(self, text: str | bytes) -> None:
        content = text if isinstance(text, bytes) else textwrap.dedent(text).lstrip("\n").encode()
        self.path.write_bytes(content)

    def compile(self, text: str | bytes) -> Policy:
        self.write(text)
        return compile_policy(self.path, registry(), PORTS)

    def problems(self, text: str | bytes) -> Sequence[str]:
        """What is wrong with a policy, each without the directory it is in."""
        with pytest.raises(PolicyErrors) as raised:
            self.compile(text)
        return [str(problem).replace(f"{self.directory}/", "") for problem in raised.value.problems]
