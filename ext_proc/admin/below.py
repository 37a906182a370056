"""Everything below a path, whatever characters follow."""

import re

from starlette.routing import Mount
from starlette.types import ASGIApp


class Below(Mount):
    """A Mount whose paths may have line feeds: to Starlette's own they are somebody else's, and get another's answer."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        super().__init__(path, app)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)
