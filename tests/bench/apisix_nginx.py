"""nginx with its Lua module as the bench's other gateway: bare, and with the plugin on a plain route."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from string import Template

from tests.apisix.nginx import LUA, LUA_MODULE, MODULES, NGINX

from .processes import tied
from .upstream import free_port, listening

LOOPBACK = "127.0.0.1"

_TEMPLATE = Template("""
daemon off; master_process off; pid $folder/nginx.pid; error_log $folder/error.log error;
load_module $modules/ndk_http_module.so; load_module $lua_module;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000000; lua_package_path "$lua"; lua_socket_log_errors off; postpone_output 0;
    client_body_temp_path $folder/body; proxy_temp_path $folder/proxy; fastcgi_temp_path $folder/f;
    uwsgi_temp_path $folder/u; scgi_temp_path $folder/s; client_body_buffer_size 1m; client_max_body_size 64m;
    upstream model { server $upstream; keepalive 64; keepalive_requests 1000000000; }
    $setup
    server {
        listen $host:$port;
        location / {
            $phases
            proxy_http_version 1.1; proxy_set_header connection ''; proxy_buffering off; proxy_pass http://$backend;
        }
    }
}
""")
_PLUGIN = Template("""
    init_by_lua_block {
        cjson = require("cjson.safe")
        $patch
        plays = require("apisix.plays")
        conf = plays.configured(cjson.decode([==[$conf]==]))
        servers = cjson.decode([==[$servers]==])
    }
""")
_PHASES = """
            set $backend '';
            access_by_lua_block { plays.plain(conf, servers) }
            header_filter_by_lua_block { plays.header_filter() }
"""
NEW_CONNECTIONS = """
        local link = require("headrace.link")
        local connect = link.connect
        link.connect = function(address, timeouts)
            local made, err = connect(address, timeouts, true)
            if made then made.keep = made.close end
            return made, err
        end
"""
"""Lua that has the plugin open a connection for every exchange, to see what keeping them is worth."""


def bare(folder: Path, upstream: str, port: int) -> str:
    """upstream: host:port."""
    return _configuration(folder, upstream, port, setup="", phases="", backend="model")


def with_plugin(folder: Path, upstream: str, port: int, service: Path, patch: str = "") -> str:
    """service: the worker's socket. patch: Lua that runs before the plugin is loaded."""
    host, _, upstream_port = upstream.partition(":")
    server = {"host": host, "port": int(upstream_port)}
    servers = json.dumps({"standard": server, "high-memory": server})
    setup = _PLUGIN.substitute(patch=patch, conf=json.dumps({"service": [f"unix:{service}"]}), servers=servers)
    return _configuration(folder, upstream, port, setup=setup, phases=_PHASES, backend="$backend")


def _configuration(folder: Path, upstream: str, port: int, **parts: str) -> str:
    places = {"folder": folder, "modules": MODULES, "lua_module": LUA_MODULE, "lua": LUA}
    return _TEMPLATE.substitute(places, upstream=upstream, host=LOOPBACK, port=port, **parts)


@contextlib.asynccontextmanager
async def nginx(folder: Path, upstream: str, service: Path | None = None, patch: str = "") -> AsyncIterator[tuple[str, int]]:
    """The URL and the process of a running one; bare without a service."""
    port = free_port()
    written = folder / "nginx.conf"
    text = bare(folder, upstream, port) if service is None else with_plugin(folder, upstream, port, service, patch)
    written.write_text(text)
    command = tied(NGINX, "-c", str(written), "-p", str(folder), "-e", str(folder / "error.log"))
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(10):
            await listening(port)
        yield f"http://{LOOPBACK}:{port}", process.pid
    finally:
        process.terminate()
        await process.wait()
