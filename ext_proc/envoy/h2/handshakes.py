"""TLS: who connects is accepted here. The loop's own servers let anybody begin as many handshakes as there are descriptors."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from headrace.ext_proc.envoy.h2.limits import HANDSHAKE_S, MAX_HANDSHAKES

AGAIN_S = 1.0
"""After the system could not give a descriptor."""


class Handshakes:
    """Takes connections from a listening socket. accepted: the protocol of one whose handshake is done."""

    def __init__(self, listening: socket.socket, context: ssl.SSLContext, accepted: Callable[[], asyncio.Protocol]) -> None:
        self._listening, self._context, self._accepted = listening, context, accepted
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        listening.setblocking(False)
        self._accepting = self._loop.create_task(self._accept(), name="accepting")

    def close(self) -> None:
        """Handshakes that are under way end, too."""
        self._accepting.cancel()
        for task in self._under_way:
            task.cancel()

    async def _accept(self) -> None:
        while True:
            try:
                line, _ = await self._loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(AGAIN_S)
            else:
                self._begin(line)

    def _begin(self, line: socket.socket) -> None:
        if len(self._under_way) >= MAX_HANDSHAKES:
            line.close()
            return
        task = self._loop.create_task(self._shake_hands(line))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _shake_hands(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):  # an SSLError is one; the loop has closed the connection
            await self._loop.connect_accepted_socket(self._accepted, line, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S)
