"""Debian's nginx with its Lua module, around the plugin and a stand-in for APISIX."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.apisix import real

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
MODULES = Path("/usr/lib/nginx/modules")
LUA_MODULE = MODULES / "ngx_http_lua_module.so"
CJSON = next(iter(Path("/usr/lib").glob("*/lua/5.1/cjson.so")), Path("cjson.so"))

ROOT = Path(__file__).parents[2]
LUA = f"{ROOT}/apisix/lua/?.lua;{ROOT}/tests/apisix/stand_in/?.lua;;"

FLUSH = "postpone_output 0;"

PARTS = {"nginx": Path(NGINX), "libnginx-mod-http-lua": LUA_MODULE, "lua-cjson": CJSON}


def missing() -> str:
    """Why nginx cannot play APISIX here; empty where it can."""
    if real.HOME:
        return ""
    absent = [name for name, path in PARTS.items() if not path.exists()]
    return f"not installed: {', '.join(absent)} (Debian packages; libluajit2-5.1-2 by name beside them)" if absent else ""


@dataclass(frozen=True)
class Nginx:
    """Where it listens (Unix sockets): one for a plain route, one for a route behind ai-proxy. log: its errors."""

    plain: Path
    ai: Path
    log: Path


def _configuration(
    folder: Path, conf: Mapping[str, Any], servers: Mapping[str, tuple[str, int]], stands: Mapping[str, Any], flush: str
) -> str:
    given = {name: {"host": host, "port": port} for name, (host, port) in servers.items()}
    setup = f"""
        cjson = require("cjson.safe")
        stands = cjson.decode([==[{json.dumps(stands)}]==])
        plays = require("apisix.plays")
        conf = plays.configured(cjson.decode([==[{json.dumps(conf)}]==]))
        servers = cjson.decode([==[{json.dumps(given)}]==])
    """
    location = """
            client_max_body_size 64m; client_body_buffer_size 1m;
            set $backend ''; set $upstream_uri '';
            access_by_lua_block { plays.%s(conf, servers) }
            header_filter_by_lua_block { plays.header_filter() }
            log_by_lua_block { plays.log() }
            proxy_http_version 1.1; proxy_buffering off; proxy_pass http://$backend$upstream_uri;
    """
    return f"""
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
load_module {MODULES}/ndk_http_module.so; load_module {LUA_MODULE};
events {{ worker_connections 4096; }}
http {{
    access_log off; lua_package_path "{LUA}"; lua_socket_log_errors off;
    {flush}
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; lua_check_client_abort on;
    init_by_lua_block {{ {setup} }}
    server {{ listen unix:{folder}/plain.sock; location / {{ {location % "plain"} }} }}
    server {{ listen unix:{folder}/ai.sock; location / {{ {location % "behind_ai_proxy"} }} }}
}}
"""


@asynccontextmanager
async def running_nginx(
    folder: Path,
    conf: Mapping[str, Any],
    servers: Mapping[str, tuple[str, int]],
    stands: Mapping[str, Any] = MappingProxyType({}),
    flush: str = FLUSH,
) -> AsyncIterator[Nginx]:
    """conf: the plugin's. servers: upstream name to address. stands: what APISIX would have put into the request's context.

    Raises AssertionError with nginx's words where it does not start.
    """
    nginx = Nginx(folder / "plain.sock", folder / "ai.sock", folder / "error.log")
    (folder / "conf").mkdir()
    if real.HOME:
        if flush != FLUSH:
            pytest.skip("APISIX 3.16 and newer pass on every piece by themselves")
        command = real.command(folder, conf, servers, stands, {"plain": nginx.plain, "ai": nginx.ai})
    else:
        written = folder / "conf" / "nginx.conf"
        written.write_text(_configuration(folder, conf, servers, dict(stands), flush))
        command = [NGINX, "-c", str(written), "-p", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        await _listens(process, nginx)
        yield nginx
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def _listens(process: asyncio.subprocess.Process, nginx: Nginx) -> None:
    async with asyncio.timeout(20):
        while not nginx.ai.exists():
            if process.returncode is not None:
                _, said = await process.communicate()
                raise AssertionError(f"nginx ended: {said.decode()}{nginx.log.read_text()}")
            await asyncio.sleep(0.01)
