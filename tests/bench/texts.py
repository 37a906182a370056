"""Clean texts of the size of a long prompt, no two alike: words, prose with numbers in it, source code."""

import random
import sysconfig
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from .peers.prompts import SIZE, prompt
from .scaling.axes import words

MOST_OF_A_FILE = 60_000
_BEHIND_NUMBERS = " kg "
_ENDS = (". ", ". ", ". ", ", and so on. ", "?\n", ".\n\n")


def numbers_last(chance: random.Random) -> str:
    """A prompt of the bench with its first line at its end: all before it has to be cut into segments."""
    text = prompt(chance)
    numbers = text.index(_BEHIND_NUMBERS) + len(_BEHIND_NUMBERS)
    return f"{text[numbers:]} {text[:numbers]}"


def prose(chance: random.Random) -> str:
    """Sentences of 16 words; every other one has a year, an amount, a version or a number in it."""
    sentences = [words(chance, 10)]
    length = 0
    while length < SIZE:
        sentences.append(_sentence(chance))
        length += len(sentences[-1])
    return "".join(sentences)[:SIZE]


def _sentence(chance: random.Random) -> str:
    said = words(chance, 90).split()
    numbers = (
        f"in {chance.randint(1850, 2030)}",
        f"{chance.randint(2, 90)},{chance.randint(100, 999)} sacks",
        f"v{chance.randint(1, 9)}.{chance.randint(0, 20)}.{chance.randint(0, 9)}",
        f"{chance.randint(2, 99)}",
        f"{chance.randint(1, 99)}.{chance.randint(1, 9)} %",
    )
    if chance.random() < 0.5:
        said.insert(chance.randrange(1, len(said)), chance.choice(numbers))
    return " ".join(said).capitalize() + chance.choice(_ENDS)


def code(chance: random.Random) -> str:
    """Files of Python's standard library. Not quite clean: there are links, dates and authors in it, some thirty in 400 KB."""
    files = list(_library())
    chance.shuffle(files)
    return f"# {chance.random()}\n{''.join(files)}"[:SIZE]


@cache
def _library() -> tuple[str, ...]:
    listed = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return tuple(each.read_text() for each in listed if each.stat().st_size < MOST_OF_A_FILE)


CLEAN: Mapping[str, Callable[[random.Random], str]] = {
    "words alone": lambda chance: words(chance, SIZE),
    "words and a few numbers in one place": prompt,
    "words and a few numbers at the end": numbers_last,
    "prose, a number in every other sentence": prose,
    "source code": code,
}
