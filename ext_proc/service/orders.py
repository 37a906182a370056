"""What a fork server is told, each in a packet of its own."""

FORK = b"fork"
"""Comes with two sockets: a worker's end of its channel, and one on which is told what becomes of the worker."""
PREPARE = b"prepare"
"""Comes with a gateway and the path of a policy: have ready what its workers will need."""
LONGEST = 8192
"""Bytes of an order: a path has 4096 at most on Linux."""


def preparing(policy: bytes, gateway: str) -> bytes:
    """policy: the path, as the file system has it."""
    return b"%s %s %s" % (PREPARE, gateway.encode(), policy)


def prepared(order: bytes) -> tuple[bytes, str] | None:
    """The policy's path and the gateway of such an order; None for any other."""
    word, _, rest = order.partition(b" ")
    gateway, _, policy = rest.partition(b" ")
    return (policy, gateway.decode()) if word == PREPARE else None
