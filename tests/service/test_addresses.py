"""Where workers listen, and what stands in the way."""

import socket
from pathlib import Path

import pytest

from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.service.addresses import AddressError, make_free, parse_address, worker_addresses


@pytest.mark.parametrize(
    ("listen", "workers", "expected"),
    [
        ("unix:/run/hr/worker.sock", 1, ["unix:/run/hr/worker.sock"]),
        ("unix:///run/hr/worker.sock", 3, [f"unix:/run/hr/worker-{n}.sock" for n in range(3)]),
        ("/run/hr/worker", 2, ["unix:/run/hr/worker-0", "unix:/run/hr/worker-1"]),
        ("127.0.0.1:9470", 2, ["127.0.0.1:9470", "127.0.0.1:9471"]),
        ("[::1]:9470", 2, ["[::1]:9470", "[::1]:9471"]),
        ("127.0.0.1:0", 2, ["127.0.0.1:0", "127.0.0.1:0"]),
    ],
)
def test_each_worker_has_an_address_of_its_own(listen: str, workers: int, expected: list[str]) -> None:
    assert [str(address) for address in worker_addresses(parse_address(listen), workers)] == expected


@pytest.mark.parametrize("text", ["", "9470", "unix:relative", "host:port", ":9470"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither host:port nor"):
        parse_address(text)


def test_ports_end_at_65535() -> None:
    with pytest.raises(ValueError, match="65535"):
        worker_addresses(parse_address("127.0.0.1:65535"), 2)


def test_the_directory_of_a_socket_is_made_for_its_owner_alone(folder: Path) -> None:
    make_free(Address(path=str(folder / "run" / "worker.sock")))
    assert (folder / "run").stat().st_mode & 0o777 == 0o700


def test_a_directory_lets_in_whom_its_socket_does(folder: Path) -> None:
    make_free(Address(path=str(folder / "run" / "worker.sock")), 0o660)
    assert (folder / "run").stat().st_mode & 0o777 == 0o750


def test_a_directory_that_is_there_keeps_its_mode(folder: Path) -> None:
    folder.chmod(0o755)
    make_free(Address(path=str(folder / "worker.sock")))
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_socket_nobody_serves_is_removed(folder: Path) -> None:
    path = folder / "worker.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    make_free(Address(path=str(path)))
    assert not path.exists()


def test_a_socket_somebody_serves_is_left_alone(folder: Path) -> None:
    path = folder / "worker.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(AddressError, match="another process listens there"):
            make_free(Address(path=str(path)))
    assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    path = folder / "worker.sock"
    path.write_text("precious")
    with pytest.raises(AddressError, match="no socket stands there"):
        make_free(Address(path=str(path)))
    assert path.read_text() == "precious"


def test_a_directory_that_cannot_be_made_is_said(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(AddressError, match="cannot create the directory"):
        make_free(Address(path=str(folder / "file" / "worker.sock")))


def test_a_port_somebody_serves_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = Address(host="127.0.0.1", port=other.getsockname()[1])
        with pytest.raises(AddressError, match="address already in use"):
            make_free(address)
