"""Which requests that are no LLM calls a policy lets pass."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from headrace.ext_proc.core.endpoint import plain_of
from headrace.ext_proc.engine.policy.catalogue import matcher


class OtherPaths:
    """said: as the policy has it; listed are methods with globs of paths (`GET /v1/models/*`), in which capitals do not count."""

    def __init__(self, said: Literal["pass", "refuse"] | Sequence[str]) -> None:
        self._pass_all = said == "pass"
        self.listed: Sequence[str] = () if isinstance(said, str) else said
        globs: defaultdict[str, list[str]] = defaultdict(list)
        for method, path in (entry.split(" ", 1) for entry in self.listed):
            globs[method].append(path.lower())
        self._matches = {method: matcher(paths) for method, paths in globs.items()}

    @property
    def refuse(self) -> bool:
        """Whether any is refused."""
        return not self._pass_all

    def passes(self, method: str, path: str) -> bool:
        """A path that servers may read in more than one way is none of the listed."""
        if self._pass_all:
            return True
        matches = self._matches.get(method)
        return matches is not None and (plain := plain_of(path)) is not None and matches(plain)
