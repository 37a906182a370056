"""A dead worker's socket, and who answers there."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.service.standing_in import stand_in, take_over


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[socket.socket]:
    with _listening(tmp_path / "alive.sock") as made:
        yield made


def _listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


def _at(path: Path) -> Address:
    return Address(path=str(path))


def _reaches(path: Path, listener: socket.socket) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        listener.accept()[0].close()
    return True


@pytest.mark.parametrize("left", ["its socket", "nothing"])
def test_another_worker_answers_at_the_dead_ones_address(alive: socket.socket, tmp_path: Path, left: str) -> None:
    dead = tmp_path / "dead.sock"
    if left == "its socket":
        _listening(dead).close()
    for _ in range(2):  # told twice
        assert stand_in(_at(dead), _at(tmp_path / "alive.sock"))
        assert _reaches(dead, alive)
        assert _reaches(tmp_path / "alive.sock", alive)
    assert {path.name for path in tmp_path.iterdir()} == {"alive.sock", "dead.sock"}


def test_the_replacement_takes_its_address_back(alive: socket.socket, tmp_path: Path) -> None:
    dead = tmp_path / "dead.sock"
    stand_in(_at(dead), _at(tmp_path / "alive.sock"))
    take_over(_at(dead))
    with _listening(dead) as replaced:
        assert _reaches(dead, replaced)
    assert _reaches(tmp_path / "alive.sock", alive)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    take_over(_at(tmp_path / "notes"))
    take_over(_at(tmp_path / "missing"))
    take_over(Address(host="127.0.0.1", port=1))
    assert (tmp_path / "notes").read_text() == "mine"


def test_one_that_is_gone_too_cannot_stand_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not stand_in(_at(tmp_path / "dead.sock"), _at(tmp_path / "gone.sock"))
    assert [record.message for record in caplog.records] == ["no worker can stand in"]
    assert not stand_in(Address(host="127.0.0.1", port=1), Address(host="127.0.0.1", port=2))
    assert len(caplog.records) == 1
