"""A real Envoy for the length of a test: free ports, a short directory for its sockets, gone afterwards."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from headrace.ext_proc.envoy.process import EnvoyProcess


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose sockets keep within the 107 bytes a Unix socket's path may have; pytest's tmp_path may not."""
    with tempfile.TemporaryDirectory(prefix="hr-") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def running_envoy(bootstrap: str, *, concurrency: int = 1) -> AsyncIterator[EnvoyProcess]:
    """Envoy with this bootstrap (YAML or JSON), ready. Give its listener port 0 and ask `port()` for the one it got."""
    with short_directory() as directory:
        async with EnvoyProcess(bootstrap, directory, concurrency=concurrency) as envoy:
            yield envoy
