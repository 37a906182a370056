"""Real Envoy with the rendered configuration, between an HTTP client, a scripted service and two scripted upstreams."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count

import httpx

from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.envoy.process import EnvoyProcess
from tests.e2e.envoy_process import running_envoy, short_directory
from tests.envoy.stub_service import Decision, StubService
from tests.envoy.stub_upstream import StubUpstream

_numbers = count(1)


@dataclass(frozen=True)
class Gateway:
    """`standard` is the first upstream, and so the default."""

    service: StubService
    standard: StubUpstream
    large: StubUpstream
    envoy: EnvoyProcess
    client: httpx.AsyncClient

    def decide(self, *, route: str | None = None, settle: bool = True, **metadata: str | float) -> str:
        """Make the service decide this for every request from now on; returns the exchange id in its metadata."""
        exchange = f"exchange-{next(_numbers)}"
        facts = {"exchange": exchange, **({"settle": "access_log"} if settle else {}), **metadata}
        self.service.decide = lambda seen: Decision(route=route, metadata=facts)
        return exchange


@contextlib.asynccontextmanager
async def running_gateway(configure: Callable[[GatewaySettings], str] = render_bootstrap) -> AsyncIterator[Gateway]:
    """`configure` turns the settings (free ports, sockets in a directory of its own) into a bootstrap."""
    with short_directory() as directory:
        async with (
            StubService(directory / "service.sock") as service,
            StubUpstream("standard") as standard,
            StubUpstream("large") as large,
        ):
            settings = GatewaySettings(
                upstreams=(Upstream(name="standard", url=standard.url), Upstream(name="large", url=f"{large.url}/pool")),
                service=(Address(path=str(service.socket)),),
                listen=Address(host="127.0.0.1", port=0),
            )
            async with running_envoy(configure(settings)) as envoy:
                base = f"http://127.0.0.1:{await envoy.port()}"
                async with httpx.AsyncClient(base_url=base, timeout=20) as client:
                    yield Gateway(service, standard, large, envoy, client)
