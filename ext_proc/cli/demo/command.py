"""What `headrace demo` does once its options are read."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from headrace.ext_proc.envoy.transport import Transport

from . import document, show, story
from .evidence import Exchange
from .story import Burst, Stage

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended


async def run(once: bool, as_json: bool, port: int, transport: Transport) -> int:
    """The exit status. SIGINT and SIGTERM end it wherever it is, and everything it started.

    Raises as `story.stage` does, and NoRecordError, StoreUnavailable and openai.APIConnectionError.
    """
    demo = Demo(once, as_json, port, transport)
    playing = asyncio.create_task(demo.play())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, playing.cancel)
    try:
        await playing
    except asyncio.CancelledError:
        return demo.status
    return demo.status


class Demo:
    """One performance. status: the exit status as things stand."""

    def __init__(self, once: bool, as_json: bool, port: int, transport: Transport) -> None:
        self.status = INTERRUPTED
        self._once = once
        self._as_json = as_json
        self._port = port
        self._transport = transport
        self._out = show.console(stderr=as_json)

    async def play(self) -> None:
        """From the start to the end; Envoy's end, where it stays up."""
        with tempfile.TemporaryDirectory(prefix="headrace-demo-") as name, self._out.status("starting") as spinner:
            tell = spinner.update if self._out.is_terminal else _tell_plainly
            async with story.stage(Path(name), self._port, self._transport, tell) as on:
                exchanges, burst = await self._perform(on, tell)
                self.status = 0 if all(one.as_expected for one in exchanges) and burst.as_expected else 1
                spinner.stop()
                if self._as_json:
                    print(json.dumps(document.document(on, exchanges, burst), indent=2))
                if not self._once:
                    await _stay(self._out, on)

    async def _perform(self, on: Stage, tell: Callable[[str], None]) -> tuple[Sequence[Exchange], Burst]:
        exchanges: list[Exchange] = []
        if not self._as_json:
            show.opening(self._out, on)
        async for exchange in story.scenes(on, tell):
            exchanges.append(exchange)
            if not self._as_json:
                show.exchange(self._out, len(exchanges), exchange)
        burst = await story.burst(on, tell)
        if not self._as_json:
            show.burst(self._out, len(exchanges) + 1, burst)
        return exchanges, burst


async def _stay(out: Console, on: Stage) -> None:
    show.staying(out, on)
    await on.stack.envoy.wait()


def _tell_plainly(what: str) -> None:
    print(f"demo: {what}", file=sys.stderr, flush=True)
