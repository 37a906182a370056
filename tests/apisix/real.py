"""APISIX itself in place of its stand-in, where HEADRACE_APISIX names its directory: `apisix/` and `deps/` are in it, and the
commands `apisix` and `openresty` are found.
"""

import getpass
import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.apisix.render import NGINX
from tests.transcripts.checks import UNCHANGED
from tests.transcripts.model import Seen, Transcript

HOME = os.environ.get("HEADRACE_APISIX", "")
ROOT = Path(__file__).parents[2]
PLUGINS = (
    "serverless-pre-function",
    "serverless-post-function",
    "key-auth",
    "ai-proxy",
    "ai-proxy-multi",
    "headrace",
    "prometheus",
)
KEY = "key-of-the-consumer"
PLAYED = {"consumer_name", "consumer_group_id", "consumer", "logs", "upstream_conf", "matched_route"}
"""What of a request's context APISIX is brought to by its own resources."""
LOGS = """return function(_, ctx)
    local logged = {}
    for _, name in ipairs(require("cjson.safe").decode([==[%s]==])) do logged[name] = ctx.var["headrace_" .. name] end
    ngx.log(ngx.WARN, "logged: ", require("cjson.safe").encode(logged), " end")
end"""

Settings = Mapping[str, Any]
Tree = dict[str, Any]
Servers = Mapping[str, tuple[str, int]]


def command(folder: Path, conf: Settings, servers: Servers, stands: Settings, listening: Mapping[str, Path]) -> Sequence[str]:
    """What starts APISIX, once `folder` has all that it reads. listening: the sockets of the routes "plain" and "ai".

    Skips the test where `stands` asks for what no resource of APISIX brings about. Raises CalledProcessError where APISIX does not
    take its configuration.
    """
    labels = stands.get("consumer", {}).get("labels") or {}
    if not stands.keys() <= PLAYED or not isinstance(labels, dict) or not all(isinstance(one, str) for one in labels.values()):
        pytest.skip("APISIX itself never comes to this state")
    for name in ("apisix", "deps"):
        (folder / name).symlink_to(Path(HOME, name).resolve())
    (folder / "logs").mkdir()
    written = {"config.yaml": _config(folder, stands, listening), "apisix.yaml": _resources(conf, servers, stands, listening)}
    for name, document in written.items():
        (folder / "conf" / name).write_text(json.dumps(document, indent=1) + "\n#END\n")
    (folder / "conf" / "mime.types").write_text("types {}\n")
    subprocess.run(["apisix", "init"], cwd=folder, check=True, capture_output=True)
    return ["openresty", "-p", str(folder), "-c", str(folder / "conf" / "nginx.conf"), "-g", "daemon off;"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _config(folder: Path, stands: Settings, listening: Mapping[str, Path]) -> Tree:
    sockets = "".join(f"listen unix:{path};\n" for path in listening.values())
    return {
        "deployment": {"role": "data_plane", "role_data_plane": {"config_provider": "yaml"}},
        "apisix": {
            "node_listen": [{"ip": "127.0.0.1", "port": _free_port()}],
            "enable_control": False,
            "ssl": {"enable": False},
            "status": {"ip": "127.0.0.1", "port": _free_port()},
            "extra_lua_path": f"{ROOT}/apisix/lua/?.lua",
        },
        "plugins": list(PLUGINS),
        "plugin_attr": {
            "ai-proxy": {"http_client": "lua-resty-http"},
            "prometheus": {"export_addr": {"ip": "127.0.0.1", "port": _free_port()}},
        },
        "nginx_config": {
            "user": getpass.getuser(),
            "worker_processes": 1,
            "error_log": f"{folder}/error.log",
            "error_log_level": "warn",
            "http_configuration_snippet": NGINX,
            "http_server_configuration_snippet": sockets,
            "http": {"enable_access_log": False, "client_max_body_size": "64m"},
        },
    }


def _resources(conf: Settings, servers: Servers, stands: Settings, listening: Mapping[str, Path]) -> Tree:
    plugins = {"headrace": dict(conf), **_stand_plugins(stands)}
    plain, ai = [
        {"id": name, "uri": "/*", "vars": [["server_addr", "==", f"unix:{path}"]], "plugins": plugins}
        for name, path in listening.items()
    ]
    times = _timeout(stands.get("matched_route", {}).get("value"))
    chats, messages = _ai_proxy(servers, "openai-compatible"), _ai_proxy(servers, "anthropic")
    routes = [
        {**plain, "upstream_id": "standard", **times},
        {**ai, "plugins": plugins | chats},
        {**ai, "id": "messages", "uri": "/v1/messages", "plugins": plugins | messages},
    ]
    upstreams = [
        {"id": name, "type": "roundrobin", "nodes": [{"host": host, "port": port, "weight": 1}]}
        | _timeout(stands.get("upstream_conf"))
        for name, (host, port) in servers.items()
    ]
    return {"routes": routes, "upstreams": upstreams} | _consumers(stands)


def _stand_plugins(stands: Settings) -> Tree:
    found: Tree = {}
    if "consumer_name" in stands:
        say = f'return function(_, ctx) require("apisix.core").request.set_header(ctx, "apikey", "{KEY}") end'
        found["serverless-pre-function"] = {"phase": "rewrite", "functions": [say]}
        found["key-auth"] = {"hide_credentials": True}
    if "logs" in stands:
        found["serverless-post-function"] = {"phase": "log", "functions": [LOGS % json.dumps(stands["logs"])]}
    return found


def _ai_proxy(servers: Servers, provider: str) -> Tree:
    """Where the policy says nothing, `standard` is asked."""
    instances = [
        {
            "name": name,
            "provider": provider,
            "weight": int(name == "standard"),
            "auth": {},
            "override": {"endpoint": f"http://{host}:{port}"},
        }
        for name, (host, port) in servers.items()
    ]
    return {"ai-proxy-multi": {"instances": instances, "timeout": 30_000, "ssl_verify": False}}


def _timeout(told: Settings | None) -> Tree:
    return {"timeout": told["timeout"]} if told else {}


def _consumers(stands: Settings) -> Tree:
    if "consumer_name" not in stands:
        return {}
    told, group = stands.get("consumer", {}), stands.get("consumer_group_id")
    auth = {"plugins": {"key-auth": {"key": KEY}}}
    consumer: Tree = {"username": stands["consumer_name"], "labels": told.get("labels") or {}}
    consumers: list[Any] = [consumer]
    if "credential_id" in told:
        consumers.append({"id": f"{stands['consumer_name']}/credentials/{told['credential_id']}", **auth})
    else:
        consumer |= auth
    if group:
        consumer["group_id"] = group
    return {"consumers": consumers} | ({"consumer_groups": [{"id": group, "plugins": {}}]} if group else {})


def as_sent(seen: Seen, transcript: Transcript) -> Seen:
    """ai-proxy asks every chat's stream for its usage: without that, a body that is expected to come unchanged."""
    sent, received = transcript.turn.request.body, seen.received
    if not HOME or received is None or received.body == sent:
        return seen
    unchanged = transcript.expect.get("upstream", {}).get("body", UNCHANGED) == UNCHANGED
    if unchanged and json.loads(received.body) == json.loads(sent) | {"stream_options": {"include_usage": True}}:
        seen.received = replace(received, body=sent)
    return seen


NOT_THERE = {
    "half_a_surrogate_pair_passes_where_nobody_rewrites_the_body": "its JSON decoder refuses the body",
    "a_stream_that_does_not_ask_for_usage_is_made_to_ask": "it writes the body anew, of another length",
}
"""Transcripts that ai-proxy itself answers otherwise."""


def skip_unless_there(transcript: Transcript) -> None:
    if HOME and transcript.name in NOT_THERE:
        pytest.skip(NOT_THERE[transcript.name])
