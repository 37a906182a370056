"""Which server a call goes to: one server, the primary that Sentinels name, or the nodes of a cluster by slot."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from hiredis import pack_command
from msgspec import Struct
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError, TryAgainError

from headrace.ext_proc.core.ports import NeverSent, StoreUnavailable
from headrace.ext_proc.stores.link import ConnectionLost, Link, Reply

REDIRECTS_MAX = 5
"""Nodes one call may be sent to in turn; a cluster that has settled needs two."""
TRY_AGAIN_S = 0.02
"""Between two attempts while an organisation's slot is being moved: its keys are on two nodes, and no function may run."""

Address = tuple[str, int]
"""A host, an IPv6 address without brackets, and a port."""


def shown(address: Address) -> str:
    """HOST:PORT, as URLs have it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Nodes(Protocol):
    """Carries packed commands to the server that holds a key."""

    async def call(self, key: str, command: bytes) -> Reply:
        """Raises ResponseError for an error reply, and StoreUnavailable. The command may be sent twice."""
        ...

    async def close(self) -> None:
        """As `Store.close`."""
        ...


class Copies(Struct, frozen=True):
    """How many replicas must have a write before it counts as done, and how long they may take."""

    replicas: int = 0
    timeout_ms: int = 0


def carried(link: Link, command: bytes, copies: Copies) -> Awaitable[Reply]:
    """The reply, once the replicas have what the command wrote; raises StoreUnavailable where too few of them do in time."""
    return _copied(link, command, copies) if copies.replicas else link.call(command)


async def _copied(link: Link, command: bytes, copies: Copies) -> Reply:
    reply = link.call(command)
    reply.add_done_callback(_looked_at)
    try:
        waited = link.call(_packed("WAIT", copies.replicas, copies.timeout_ms))
        waited.add_done_callback(_looked_at)
        answer = await reply
        copied = await waited
    except NeverSent as error:  # the other one may have been
        raise StoreUnavailable(str(error)) from None
    if copied < copies.replicas:
        raise StoreUnavailable(f"{copied} of {copies.replicas} replicas have the write after {copies.timeout_ms} ms")
    return answer


def _looked_at(future: "asyncio.Future[Reply]") -> None:
    """Its error may be nobody's: the caller has met another one, or has given up."""
    if not future.cancelled():
        future.exception()


class OneServer:
    """A server that is found by its URL, or by Sentinels at each connect; `sentinels` are clients of theirs, to be closed.

    A call whose connection broke is made once more, in what is left of timeout_s; one that was not answered in time is not.
    """

    def __init__(self, link: Link, copies: Copies, *, timeout_s: float, sentinels: Sequence[Redis] = ()) -> None:
        self._link, self._copies, self._timeout_s, self._sentinels = link, copies, timeout_s, sentinels

    async def call(self, key: str, command: bytes) -> Reply:
        until = asyncio.get_running_loop().time() + self._timeout_s
        try:
            return await carried(self._link, command, self._copies)
        except ConnectionLost as lost:
            return await self._again(command, until, lost)

    async def _again(self, command: bytes, until: float, lost: ConnectionLost) -> Reply:
        try:
            async with asyncio.timeout_at(until):
                return await carried(self._link, command, self._copies)
        except NeverSent as error:  # the first one was
            raise StoreUnavailable(str(error)) from None
        except TimeoutError:
            raise StoreUnavailable(f"{lost}, and within {self._timeout_s} s another one had no answer") from None

    async def close(self) -> None:
        await self._link.close()
        await asyncio.gather(*(sentinel.aclose() for sentinel in self._sentinels))


class Cluster:
    """A link for each node that was called, and which node has which slot, as the nodes say.

    seeds: nodes to ask first. link_to: makes the link to a node. Where a node cannot be reached the others are asked anew, so that
    a promoted replica is found with the first call after its promotion.
    """

    def __init__(self, seeds: Sequence[Address], link_to: Callable[[Address], Link], copies: Copies, *, timeout_s: float) -> None:
        self._copies = copies
        self._seeds, self._link_to, self._timeout_s = seeds, link_to, timeout_s
        self._links: dict[Address, Link] = {}
        self._ranges: list[tuple[int, int, Address]] = []
        self._asking: asyncio.Task[None] | None = None

    async def call(self, key: str, command: bytes) -> Reply:
        try:
            return await self._call(key, command)
        except NeverSent as error:  # another node may have had it before
            raise StoreUnavailable(str(error)) from None

    async def _call(self, key: str, command: bytes) -> Reply:
        slot = key_slot(key.encode())
        for _ in range(REDIRECTS_MAX):
            address = await self._owner(slot)
            try:
                return await self._settled(address, command)
            except MovedError as error:
                self._ranges.insert(0, (slot, slot, (error.host or address[0], error.port)))
            except AskError as error:
                return await self._ask((error.host or address[0], error.port), command)
            except StoreUnavailable as error:
                await self._look_elsewhere(slot, address, error)
        raise StoreUnavailable(f"the cluster sent the call for slot {slot} to {REDIRECTS_MAX} nodes in turn")

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        await asyncio.gather(*(link.close() for link in self._links.values()))

    async def _settled(self, address: Address, command: bytes) -> Reply:
        """The reply once the slot is not between two nodes. Raises as `call`, MovedError and AskError besides."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        return await carried(self._link(address), command, self._copies)
                    except TryAgainError:
                        await asyncio.sleep(TRY_AGAIN_S)
        except ClusterDownError as error:
            raise StoreUnavailable(f"the cluster is down: {error}") from error
        except TimeoutError:
            raise StoreUnavailable(f"the slot was on the move for {self._timeout_s} s") from None

    async def _ask(self, address: Address, command: bytes) -> Reply:
        """One call to the node that a slot is moving to; nothing comes between the two commands on a link."""
        link = self._link(address)
        link.call(_ASKING).add_done_callback(_looked_at)
        try:
            return await carried(link, command, self._copies)
        except TryAgainError:
            raise StoreUnavailable("the slot is on the move") from None

    async def _owner(self, slot: int) -> Address:
        if not self._ranges:
            await self._refresh(avoid=None)
        for first, last, address in self._ranges:
            if first <= slot <= last:
                return address
        self._ranges = []
        raise StoreUnavailable(f"no node of the cluster has slot {slot}")

    async def _look_elsewhere(self, slot: int, failed: Address, error: StoreUnavailable) -> None:
        """Raises `error` where the slot is still with the node that failed."""
        await self._refresh(avoid=failed)
        if await self._owner(slot) == failed and not isinstance(error, ConnectionLost):
            raise error

    async def _refresh(self, avoid: Address | None) -> None:
        """Ask the nodes which of them has what; calls that want to know at the same time share the answer."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._discover(avoid))
        await asyncio.shield(self._asking)

    async def _discover(self, avoid: Address | None) -> None:
        nodes = dict.fromkeys([*(address for _, _, address in self._ranges), *self._links, *self._seeds])
        said: dict[Address, str] = {}
        for address in sorted(nodes, key=lambda node: node == avoid):
            try:
                found = await self._link(address).call(_SLOTS)
            except (StoreUnavailable, ResponseError) as error:
                said[address] = str(error)
                continue
            self._ranges = [(first, last, _address(primary, address)) for first, last, primary, *_ in found]
            return
        raise StoreUnavailable(_told(said))

    def _link(self, address: Address) -> Link:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = self._link_to(address)
        return link


def _told(said: Mapping[Address, str]) -> str:
    """What the nodes said; once, where it is the same."""
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    each = "; ".join(f"{shown(address)}: {why}" for address, why in said.items())
    return f"none of {len(said)} nodes of the cluster answers: {each}"


def _packed(*parts: str | int) -> bytes:
    packed: bytes = pack_command(parts)  # type: ignore[arg-type]  # its stub knows only tuples of one
    return packed


_SLOTS, _ASKING = _packed("CLUSTER", "SLOTS"), _packed("ASKING")


def _address(node: Sequence[bytes | int], asked: Address) -> Address:
    """A node that does not know its own name is the one that was asked."""
    host, port = node[0], node[1]
    return (host.decode() if isinstance(host, bytes) and host else asked[0], int(port))
