"""Where the workers listen: one address each, derived from the one the operator gives."""

import errno
import os
import socket
from pathlib import Path

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.envoy.config.settings import Address

PROBE_S = 1.0
OWNER_ONLY = 0o600


class AddressError(HeadraceError):
    """An address that cannot be listened on; the message says why and what would help."""


class AddressTaken(AddressError):
    """Somebody listens there, maybe for a moment only: a worker whose supervisor was killed ends by itself."""


def parse_address(text: str) -> Address:
    """`unix:/path`, `unix:///path`, `/path` or `host:port`. Raises ValueError for anything else."""
    return Address.parse(text.replace("unix://", "unix:", 1))


def worker_addresses(listen: Address, workers: int) -> tuple[Address, ...]:
    """`listen` itself for one worker. For more: `worker.sock` becomes `worker-0.sock`, `worker-1.sock`…, ports follow each other.

    Port 0 stays 0: every worker takes a free port of its own. Raises ValueError where the ports or the path grow too large.
    """
    if workers == 1:
        return (listen,)
    return tuple(_numbered(listen, number) for number in range(workers))


def _numbered(listen: Address, number: int) -> Address:
    if listen.path is not None:
        path = Path(listen.path)
        return Address.parse(str(path.with_name(f"{path.stem}-{number}{path.suffix}")))
    return Address.parse(str(listen.model_copy(update={"port": listen.port and listen.port + number})))


def make_free(address: Address, mode: int = OWNER_ONLY) -> None:
    """Sees to it that a worker can listen there: the directory exists, a socket that nobody serves is removed.

    mode: of the socket; a directory that is new lets in whom the socket does.
    Raises AddressTaken when someone listens there, AddressError when what stands there is no socket.
    """
    if address.path is None:
        _check_port(address)
        return
    path = Path(address.path)
    _make_directory(path.parent, mode)
    if not path.is_socket():
        if path.exists():
            raise AddressError(f"cannot listen on {address}: a file that is no socket stands there; remove it, or listen elsewhere")
        return
    if _answers(path):
        raise AddressTaken(f"cannot listen on {address}: another process listens there; stop it, or listen elsewhere")
    path.unlink(missing_ok=True)


def _make_directory(path: Path, mode: int) -> None:
    """For its owner alone, unless the operator says otherwise: whoever reaches the socket may settle anybody's lease."""
    enter = 0o700 | (0o050 if mode & 0o070 else 0) | (0o005 if mode & 0o007 else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            path.mkdir()
            path.chmod(enter)  # whatever the umask
    except OSError as error:
        raise AddressError(f"cannot create the directory {path}: {error.strerror}; listen elsewhere (--listen)") from None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PROBE_S)
        try:
            peer.connect(str(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


def _check_port(address: Address) -> None:
    """A name that is looked up is left to the worker."""
    if not address.port or address.is_name:
        return
    family = socket.AF_INET6 if ":" in str(address.host) else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            kind = AddressTaken if error.errno == errno.EADDRINUSE else AddressError
            raise kind(f"cannot listen on {address}: {why}; listen elsewhere (--listen)") from None
