"""Driver: nginx with the Lua plugin between an HTTP client and model servers, with the service in this process."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import httpx

from headrace.ext_proc.envoy.transport import DEFAULT
from tests.apisix.nginx import running_nginx
from tests.transcripts.real_envoy import Stand, serving
from tests.transcripts.site import WAIT


@asynccontextmanager
async def behind_nginx(stand: Stand, route: Literal["plain", "ai"], conf: Mapping[str, Any]) -> AsyncIterator[Stand]:
    """The stand with all that it needs. conf: of the plugin, besides where the service is."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(serving(stand, DEFAULT))
        servers = {upstream.name: ("127.0.0.1", httpx.URL(upstream.url).port or 80) for upstream in stand.upstreams}
        whole = {"service": [f"unix:{folder}/w.sock"], **conf}
        nginx = await stack.enter_async_context(running_nginx(folder, whole, servers))
        path = httpx.AsyncHTTPTransport(uds=str(getattr(nginx, route)))
        stand.client = await stack.enter_async_context(httpx.AsyncClient(base_url="http://gateway", transport=path, timeout=WAIT))
        yield stand
