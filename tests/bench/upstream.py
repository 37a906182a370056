"""The model server of the bench: a fixed answer with its usage, from a program that is faster than any gateway.

nginx where it is installed (60,000 answers/s on the machine this was tried on), else a second Envoy (30,000).
"""

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from string import Template
from typing import Any

from headrace.ext_proc.envoy.process import EnvoyProcess

from .processes import tied

ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "llama-3.3-70b",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Water turns the wheel."},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 45, "completion_tokens": 5, "total_tokens": 50},
    }
)
TOKENS = 50

_NGINX = Template("""
worker_processes 1;
daemon off;
pid $directory/nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  default_type application/json;
  client_body_temp_path $directory/body;
  proxy_temp_path $directory/proxy;
  fastcgi_temp_path $directory/fastcgi;
  uwsgi_temp_path $directory/uwsgi;
  scgi_temp_path $directory/scgi;
  server {
    listen 127.0.0.1:$port reuseport backlog=4096;
    location / { return 200 '$answer'; }
  }
}
""")


@contextlib.asynccontextmanager
async def upstream(directory: Path) -> AsyncIterator[tuple[str, str]]:
    """A running upstream with its files in `directory`: what it is, and its URL."""
    nginx = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
    if nginx:
        async with _nginx(nginx, directory) as url:
            yield "nginx", url
    else:
        async with EnvoyProcess(json.dumps(_envoy()), directory) as envoy:
            yield "envoy", f"http://127.0.0.1:{await envoy.port('upstream')}"


@contextlib.asynccontextmanager
async def _nginx(binary: str, directory: Path) -> AsyncIterator[str]:
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(_NGINX.substitute(directory=directory, port=port, answer=ANSWER))
    process = await asyncio.create_subprocess_exec(*tied(binary, "-p", str(directory), "-e", "stderr", "-c", str(config)))
    try:
        async with asyncio.timeout(10):
            await listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def listening(port: int) -> None:
    """Returns when something listens on a port of loopback."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.02)


def free_port() -> int:
    """A TCP port of loopback that nothing listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _envoy() -> dict[str, Any]:
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "upstream",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [{"filters": [_typed("envoy.filters.network.http_connection_manager", _MANAGER, _manager())]}],
                }
            ]
        }
    }


_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def _typed(name: str, type_name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{type_name}", **config}}


def _manager() -> dict[str, Any]:
    answer = {"status": 200, "body": {"inline_string": ANSWER}}
    json_type = {
        "header": {"key": "content-type", "value": "application/json"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    route = {"match": {"prefix": "/"}, "direct_response": answer, "response_headers_to_add": [json_type]}
    return {
        "stat_prefix": "upstream",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        # Answered before its body has come, a request would cost its connection.
        "http_filters": [
            _typed("envoy.filters.http.buffer", _BUFFER, {"max_request_bytes": 1048576}),
            _typed("envoy.filters.http.router", _ROUTER, {}),
        ],
    }
