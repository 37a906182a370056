"""Which of the servers behind a pool a request goes to, by their load; and what the gateway allows of them."""

import hashlib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from headrace.ext_proc.core.candidates import PICKED_KEY
from headrace.ext_proc.core.json_body import encode
from headrace.ext_proc.core.principal import ANONYMOUS, PRINCIPAL
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.load.board import Board, Need
from headrace.ext_proc.engine.load.choice import NoServer, order
from headrace.ext_proc.engine.policy.destinations import servers_of
from headrace.ext_proc.engine.policy.models import Upstream
from headrace.ext_proc.engine.policy.pools import Pool
from headrace.filters.routing.weighing import Asked

PREFIX_CHARS: Final = 4096
"""Of a prompt that has no turns: enough to tell two of them apart."""


class Placed(NamedTuple):
    """A pool that takes the request, and its servers, best first; none where the gateway chooses among them."""

    pool: Pool
    servers: Sequence[str]

    def metadata(self, attempts: int) -> Mapping[str, str]:
        """attempts: servers to name; a gateway with an ORIGINAL_DST cluster takes one alone."""
        return {PICKED_KEY: ",".join(self.servers[:attempts])} if self.servers else {}


class Servers:
    """The servers of a policy's upstreams, and what is known of their load."""

    def __init__(self, upstreams: Mapping[str, Upstream], load: Board) -> None:
        self._upstreams = upstreams
        self._servers = {name: servers_of(upstream) for name, upstream in upstreams.items()}
        self._load = load

    def place(self, pools: Sequence[Pool], need: Need, now_ms: int, allowed: "Subset | None") -> Sequence[Placed] | Reply:
        """Those of the pools that can take it, in their order.

        Else a refusal: 429 where servers are only busy, 413 where all of them are too small, 503 where there is none.
        """
        found = [(pool, self._order(pool, need, now_ms, allowed)) for pool in pools]
        placed = [Placed(pool, servers) for pool, servers in found if not isinstance(servers, NoServer)]
        if placed:
            return placed
        if any(servers is NoServer.BUSY for _, servers in found):
            return _BUSY
        return self._too_large(pools, need) if all(servers is NoServer.SMALL for _, servers in found) else _NONE

    def _too_large(self, pools: Sequence[Pool], need: Need) -> Reply:
        most = max(self._load.capacity(server) for pool in pools for server in self._servers[pool.upstream])
        message = (
            f"No model server holds this request: it needs {need.tokens} tokens of KV cache for the prompt and the answer, and the "
            f"largest server has {most}. Shorten the prompt or lower max_tokens."
        )
        return Reply(413, "routing.too_large", message)

    def _order(self, pool: Pool, need: Need, now_ms: int, allowed: "Subset | None") -> Sequence[str] | NoServer:
        upstream = self._upstreams[pool.upstream]
        if allowed is None and upstream.metrics is None:
            return ()
        servers = [server for server in self._servers[pool.upstream] if allowed is None or server in allowed]
        if not servers:
            return NoServer.NONE
        if upstream.metrics is None:
            return ()
        ordered = order(self._load, servers, need, now_ms, upstream.max_queue)
        return ordered if isinstance(ordered, NoServer) or upstream.servers else ()

    def sent(self, placed: Placed, need: Need, now_ms: int) -> None:
        """The request goes to the first of its servers."""
        self._load.place((placed.servers or self._servers[placed.pool.upstream])[0], need, now_ms)

    def answered(self, server: str, need: Need, now_ms: int) -> None:
        """Where its conversation is warm by now."""
        self._load.answered(server, need.prefix, now_ms)


class Subset:
    """Addresses the gateway allows: `ip:port`, or `ip` for all of its ports. What is neither allows nothing."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = frozenset(found for entry in entries if (found := _address(entry)))

    def __contains__(self, server: str) -> bool:
        host, _, port = server.rpartition(":")
        address = _address(server)
        return address in self._entries or (bool(port) and _address(host) in self._entries)


def subset_of(hint: Any) -> Subset | None:
    """The hint in any of the forms that gateways use: a list, a string with commas, or a list of such strings. None: no hint."""
    if hint is None:
        return None
    listed = hint if isinstance(hint, list) else [hint]
    return Subset([word for item in listed if isinstance(item, str) for word in item.split(",")])


def _address(text: str) -> tuple[str, str] | None:
    """(ip, port) in one spelling; the port empty where there is none; None for what is no address."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or (host.count(":") and not host.endswith("]")):
        host, port = text.strip(), ""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).compressed, port
    except ValueError:
        return None


def need_of(request: Request, asked: Asked, lengths: Sequence[int]) -> Need:
    """lengths: of the model's last answers. Two requests of one caller that begin alike are one conversation.

    Where answers have been as long as this one may become, it is expected to become as long: caps like its own may have ended them.
    """
    principal = request.facts.get(PRINCIPAL) or ANONYMOUS
    told = encode([principal.organisation, principal.team, principal.user, request.call.model, _beginning(request.document or {})])
    prefix = hashlib.blake2b(told, digest_size=12).hexdigest()
    shorter = asked.choices == 1 and bool(lengths) and lengths[-1] < asked.answer
    return Need(asked.need, prefix, asked.answer * asked.choices, lengths if shorter else ())


def _beginning(document: Mapping[str, Any]) -> Any:
    """What every further request of a conversation repeats: all up to the first words of the user."""
    for name in ("messages", "input", "prompt"):
        if isinstance(turns := document.get(name), list):
            first = next((at for at, turn in enumerate(turns) if isinstance(turn, dict) and turn.get("role") == "user"), 0)
            return [document.get("system"), turns[: first + 1]]
        if isinstance(turns, str):
            return turns[:PREFIX_CHARS]
    return None


_NONE: Final = Reply(503, "routing.no_server", "No model server can be reached at the moment. Please try again.", retry_after=1)
_BUSY: Final = Reply(429, "routing.busy", "All model servers are busy. Please try again.", retry_after=1)
