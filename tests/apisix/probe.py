"""The plugin's Lua modules called from Python: nginx runs them, one HTTP request for a batch of calls."""

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.apisix.nginx import LUA, LUA_MODULE, MODULES, NGINX
from tests.transcripts.site import WAIT

_CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
load_module {modules}/ndk_http_module.so; load_module {lua_module};
events {{ }}
http {{
    access_log off; lua_package_path "{lua}"; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 1000000000;
    server {{
        listen unix:{folder}/probe.sock; client_max_body_size 64m; client_body_buffer_size 64m;
        location / {{ content_by_lua_block {{ require("probe").serve() }} }}
    }}
}}
"""


class LuaError(Exception):
    """A module raised; the message is nginx's log."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("probe", timeout=WAIT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Probe:
    """Calls by name; bytes stand for Lua's strings."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "error.log"
        self._connection = _UnixConnection(folder / "probe.sock")

    def close(self) -> None:
        self._connection.close()

    def call(self, name: str, *arguments: Any) -> Any:
        """What the function gives: None for nil. Raises LuaError."""
        return self.calls([(name, arguments)])[0]

    def calls(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The result of each."""
        self._connection.request("POST", "/", json.dumps([[name, _to_lua(list(arguments))] for name, arguments in calls]))
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise LuaError(self._log.read_text()[-2000:])
        return [_from_lua(result) for result in json.loads(said)]


def _to_lua(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    return [_to_lua(item) for item in value] if isinstance(value, (list, tuple)) else value


def _from_lua(value: Any) -> Any:
    if isinstance(value, str):
        return bytes.fromhex(value)
    if isinstance(value, list):
        return [_from_lua(item) for item in value]
    if not isinstance(value, dict):
        return value
    return (
        float(value["#"])
        if "#" in value
        else {bytes.fromhex(name).decode("latin-1"): _from_lua(member) for name, member in value.items()}
    )


@contextmanager
def running_probe(folder: Path) -> Iterator[Probe]:
    """folder: a short path. Raises AssertionError with nginx's words where it does not start."""
    written = folder / "nginx.conf"
    written.write_text(_CONFIGURATION.format(folder=folder, modules=MODULES, lua_module=LUA_MODULE, lua=LUA))
    process = subprocess.Popen([NGINX, "-c", str(written), "-p", str(folder)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + WAIT
        while not (folder / "probe.sock").exists():
            assert process.poll() is None and time.monotonic() < deadline, "nginx did not start"
            time.sleep(0.01)
        probe = Probe(folder)
        yield probe
        probe.close()
    finally:
        process.terminate()
        process.communicate()
