"""Everything that a soak runs, each part a process of its own, and what faults may do to it.

    callers ─▶ Envoy ─▶ pools `standard` and `large` (simulated; their books arrive here while they write them)
                 │
                 ▼ Unix sockets, or TCP
    `headrace serve`: a supervisor and its workers ─▶ Valkey (append-only file, synced before every answer)

Faults find in `Site`: `store`, `service`, `gateway` and `pools[name]`, which have `pid`, `kill()` and `start()`;
`service.workers()`, the pids of the workers, which their supervisor starts again; `folder`, with the audit log in `folder / AUDIT`.
Between the processes stands what their `Splicer` puts there. The policy is changed by `tests.soak.reloads`, by no fault.
"""

import asyncio
import contextlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import OKPKey

from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.stores.redis import RedisStore
from tests.soak.books import PoolBooks
from tests.soak.faults.base import AUDIT, Fault, Place, Port, Splicer
from tests.soak.policy import policy_of
from tests.soak.processes import Gateway, Part, Pool, Service, Store
from tests.stores.servers import free_ports

LOOPBACK = "127.0.0.1"
POOLS = ("standard", "large")
WORKERS = 2
PATIENT_S = 30.0


@dataclass
class Site:
    """url: where callers ask; admin: the service's admin interface; ledger: the driver's own connection to the store.

    books: what the pools have told of themselves. signer: makes the callers' tokens.
    """

    folder: Path
    url: str
    admin: str
    store: Store
    service: Service
    gateway: Gateway
    pools: Mapping[str, Pool]
    books: PoolBooks
    ledger: RedisStore
    signer: OKPKey
    upstreams: Mapping[str, str]

    @property
    def audit(self) -> Path:
        return self.folder / AUDIT

    @property
    def policy(self) -> Path:
        return self.folder / "policy.yaml"

    def parts(self) -> Mapping[str, Part]:
        """By name, without the workers."""
        return {"store": self.store, "service": self.service, "gateway": self.gateway, **self.pools}

    async def replace(self, part: Part) -> None:
        """SIGKILL, and another one at the same address. Returns when it serves."""
        await part.kill()
        await part.start()

    @property
    def steady(self) -> asyncio.Lock:
        """Whoever has it is alone with the policy file, and no service starts meanwhile."""
        return self.service.steady

    def write_good_policy(self) -> None:
        """A rename, as a careful tool changes a file."""
        fresh = self.policy.with_suffix(".new")
        fresh.write_text(json.dumps(self.good_policy()))
        fresh.rename(self.policy)

    def good_policy(self, variant: int = 0) -> dict[str, Any]:
        return policy_of(self.upstreams, self.audit, variant)

    async def ready(self) -> bool:
        """Whether every worker serves and the store answers."""
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.admin}/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    async def metrics(self) -> str:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{self.admin}/metrics")).text


MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """In memory where the machine has a place for that: a disk that others use as well keeps every fsync waiting for seconds."""
    with tempfile.TemporaryDirectory(prefix="hr-", dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


@dataclass(frozen=True)
class _Ports:
    store: int
    admin: int
    envoy: int
    workers: int
    pools: Mapping[str, int]


def _ports() -> _Ports:
    """The workers' follow each other."""
    store, admin, envoy, workers, *pools = free_ports(4 + len(POOLS))
    return _Ports(store, admin, envoy, workers, dict(zip(POOLS, pools, strict=True)))


@contextlib.asynccontextmanager
async def running_site(faults: Sequence[Fault], splicer: Splicer, *, tcp: bool = False) -> AsyncIterator[Site]:
    """tcp: the service listens on ports instead of Unix sockets."""
    async with contextlib.AsyncExitStack() as exit:
        folder = exit.enter_context(_directory())
        (folder / AUDIT).mkdir(mode=0o700)
        exit.push_async_callback(splicer.close)
        for fault in faults:
            exit.push_async_callback(fault.close)
        environment = {name: value for fault in faults for name, value in fault.furnish(folder).items()}
        books = await exit.enter_async_context(PoolBooks(folder / "books.sock"))
        site = await _laid_out(folder, splicer, environment, books, tcp=tcp)
        exit.push_async_callback(site.ledger.close)
        exit.push_async_callback(_stopped, site)
        await _started(site)
        for fault in faults:
            await fault.prepare(site)
        yield site


async def _laid_out(folder: Path, splicer: Splicer, environment: Mapping[str, str], books: PoolBooks, *, tcp: bool) -> Site:
    ports = _ports()
    pools = {name: Pool(name, port, books.path) for name, port in ports.pools.items()}
    near = {name: await _spliced(splicer, Place.UPSTREAMS, name, port) for name, port in ports.pools.items()}
    store = await _spliced(splicer, Place.STORE, "store", ports.store)
    front = await _spliced(splicer, Place.CALLERS, "envoy", ports.envoy)
    upstreams = {name: f"http://{at.host}:{at.port}" for name, at in near.items()}
    listen = f"{LOOPBACK}:{ports.workers}" if tcp else f"unix:{folder}/run/worker.sock"
    arguments = ("--listen", listen, "--workers", str(WORKERS), "--admin", f"{LOOPBACK}:{ports.admin}", "--drain-seconds", "5")
    service = Service(folder, folder / "policy.yaml", (*arguments, "--store", f"redis://{store.host}:{store.port}"), environment)
    endpoints = await _endpoints(folder, splicer, ports, tcp=tcp)
    return Site(
        folder=folder,
        url=f"http://{front.host}:{front.port}",
        admin=f"http://{LOOPBACK}:{ports.admin}",
        store=Store(folder / "valkey", ports.store),
        service=service,
        gateway=Gateway(_bootstrap(upstreams, endpoints, ports.envoy), folder),
        pools=pools,
        books=books,
        ledger=RedisStore(f"redis://{LOOPBACK}:{ports.store}", timeout_s=PATIENT_S),
        signer=OKPKey.generate_key("Ed25519", {"kid": "soak"}),
        upstreams=upstreams,
    )


async def _endpoints(folder: Path, splicer: Splicer, ports: _Ports, *, tcp: bool) -> tuple[Address, ...]:
    """What Envoy calls the workers."""
    if not tcp:
        return tuple(Address(path=f"{folder}/run/worker-{index}.sock") for index in range(WORKERS))
    near = [await _spliced(splicer, Place.SERVICE, f"worker-{index}", ports.workers + index) for index in range(WORKERS)]
    return tuple(Address(host=at.host, port=at.port) for at in near)


async def _spliced(splicer: Splicer, place: Place, name: str, port: int) -> Port:
    return await splicer.splice(place, name, Port(LOOPBACK, port))


def _bootstrap(upstreams: Mapping[str, str], service: tuple[Address, ...], port: int) -> str:
    named = tuple(Upstream(name=name, url=url) for name, url in upstreams.items())
    return render_bootstrap(GatewaySettings(upstreams=named, service=service, listen=Address(host=LOOPBACK, port=port)))


async def _started(site: Site) -> None:
    (site.folder / "jwks.json").write_text(json.dumps({"keys": [site.signer.as_dict(private=False)]}))
    key = site.folder / "pii.key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    site.service.restore = site.write_good_policy
    site.write_good_policy()
    await asyncio.gather(site.store.start(), *(pool.start() for pool in site.pools.values()))
    await site.service.start()
    await site.gateway.start()


async def _stopped(site: Site) -> None:
    """Envoy first, then the service with its settlements, then the rest."""
    with contextlib.suppress(AssertionError):
        await site.gateway.kill()
    await site.service.stop()
    await asyncio.gather(site.store.kill(), *(pool.kill() for pool in site.pools.values()))
