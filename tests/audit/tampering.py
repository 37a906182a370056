"""Ways to change what is on disk, each at a place that chance picks. Every one gives what was done, in words."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from shutil import copyfile

Tamper = Callable[[Path, Random], str]


def files(directory: Path) -> list[Path]:
    return [directory / "manifest.jsonl", *sorted(directory.glob("chains/*/*.jsonl"))]


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _a_file(directory: Path, chance: Random) -> tuple[Path, list[bytes]]:
    path = chance.choice(files(directory))
    return path, _lines(path)


def remove_a_line(directory: Path, chance: Random) -> str:
    path, lines = _a_file(directory, chance)
    at = chance.randrange(len(lines))
    path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
    return f"line {at + 1} of {path.name} removed"


def change_a_byte(directory: Path, chance: Random) -> str:
    path = chance.choice(files(directory))
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] = (data[at] + chance.randrange(1, 256)) % 256
    path.write_bytes(data)
    return f"byte {at} of {path.name} changed"


def swap_two_lines(directory: Path, chance: Random) -> str:
    path, lines = _a_file(directory, chance)
    one, other = sorted(chance.sample(range(len(lines)), 2))
    lines[one], lines[other] = lines[other], lines[one]
    path.write_bytes(b"".join(lines))
    return f"lines {one + 1} and {other + 1} of {path.name} swapped"


def cut_the_end_off(directory: Path, chance: Random) -> str:
    path = chance.choice(files(directory))
    data = path.read_bytes()
    size = chance.randrange(len(data))
    path.write_bytes(data[:size])
    return f"{path.name} cut to {size} bytes"


def repeat_lines(directory: Path, chance: Random) -> str:
    path, lines = _a_file(directory, chance)
    start = chance.randrange(len(lines))
    end = chance.randrange(start, len(lines)) + 1
    path.write_bytes(b"".join(lines[:end] + lines[start:]))
    return f"lines {start + 1} to {end} of {path.name} repeated"


def splice_in(directory: Path, chance: Random) -> str:
    """Lines of another file in place of as many of this one's, its checkpoints with them."""
    one, other = chance.sample(files(directory), 2)
    lines, foreign = _lines(one), _lines(other)
    start = chance.randrange(min(len(lines), len(foreign)))
    end = chance.randrange(start, min(len(lines), len(foreign))) + 1
    one.write_bytes(b"".join(lines[:start] + foreign[start:end] + lines[end:]))
    return f"lines {start + 1} to {end} of {one.name} taken from {other.name}"


def replace_a_file(directory: Path, chance: Random) -> str:
    one, other = chance.sample(files(directory), 2)
    copyfile(other, one)
    return f"{one.name} replaced by {other.name}"


def remove_a_file(directory: Path, chance: Random) -> str:
    path = chance.choice(files(directory))
    path.unlink()
    return f"{path.name} removed"


def append_a_line(directory: Path, chance: Random) -> str:
    path, lines = _a_file(directory, chance)
    path.write_bytes(b"".join([*lines, chance.choice(lines)]))
    return f"a line appended to {path.name}"


WAYS: tuple[Tamper, ...] = (
    remove_a_line, change_a_byte, swap_two_lines, cut_the_end_off, repeat_lines, splice_in, replace_a_file, remove_a_file,
    append_a_line,
)  # fmt: skip
