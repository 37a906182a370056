"""The pages of the commands have every option, and tables that give defaults and variables give those of the code."""

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from headrace.ext_proc.cli.lazy import COMMANDS, load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "envoy" / "README.md", ROOT / "apisix" / "README.md", *sorted(DOCS.rglob("*.md"))]
LINE = re.compile(r"headrace ((?:[a-z][a-z-]* ?)+)([^`|\n]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
ROW = re.compile(r"^\| `(--[a-z-]+)` \| `([^|]+)` \| (?:`([^|]*)`|none) \|", re.MULTILINE)

Words = tuple[str, ...]


def leaves(words: Words, command: Any) -> Iterator[tuple[Words, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves((*words, name), inner)
    if not getattr(command, "commands", {}):
        yield words, command


LEAVES = {words: command for name in COMMANDS for words, command in leaves((name,), load(name))}


def options(words: Words) -> set[str]:
    return {name for param in LEAVES[words].params for name in param.opts if name.startswith("--")} | {"--help"}


def page_of(words: Words) -> Path:
    return DOCS / "admin-api.md" if words[0] == "admin" else DOCS / "commands" / f"{words[0]}.md"


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_option_is_on_its_commands_page(words: Words) -> None:
    text = page_of(words).read_text("utf-8")
    assert sorted(name for name in options(words) - {"--help"} if name not in text) == []


def named(text: str) -> Iterator[tuple[Words, str]]:
    """The commands that a page names, with what follows them."""
    for found in LINE.finditer(text):
        first = tuple(found[1].split())
        words = next((first[:count] for count in (3, 2, 1) if first[:count] in LEAVES), None)
        if words:
            yield words, found[2]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_help_has_no_word_in_brackets_that_rich_takes_for_markup(words: Words) -> None:
    command = LEAVES[words]
    texts = [command.help or "", *(getattr(param, "help", None) or "" for param in command.params)]
    assert [text for text in texts if Text.from_markup(text).plain != text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_of_a_page_has_options_that_there_are(page: Path) -> None:
    found = [(words, name) for words, rest in named(page.read_text("utf-8")) for name in OPTION.findall(rest)]
    assert [(words, name) for words, name in found if name not in options(words)] == []


@pytest.mark.parametrize("name", ["serve", "up"])
def test_defaults_and_variables_are_those_of_the_code(name: str) -> None:
    rows = {option: (variables, default) for option, variables, default in ROW.findall(page_of((name,)).read_text("utf-8"))}
    params = {param.opts[0]: param for param in LEAVES[(name,)].params if param.opts[0] in rows}
    assert len(params) == len(rows) > 5
    for option, (variables, default) in rows.items():
        declared = params[option].envvar
        assert variables.split("`, `") == (declared if isinstance(declared, list) else [declared]), option
        assert default == shown(params[option].default), option


def shown(default: object) -> str:
    """As the pages have it; nothing for none."""
    return str(default.value if isinstance(default, Enum) else default)
