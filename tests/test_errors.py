"""docs/errors.md has every code that the source can give a caller, with its status, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from headrace.ext_proc.core.json_body import MAX_DEPTH
from headrace.ext_proc.core.unreadable import MAX_HEADERS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "errors.md").read_text()
CODE = re.compile(r"[a-z_]+\.[a-z_]+")
GIVERS = {"Reply", "Kind", "BodyError", "Rejected", "_unauthenticated"}
"""What is called with the code of a refusal."""
OWN_STATUS = {"BodyError": "400", "Rejected": "401", "_unauthenticated": "401"}
ANY_FILTER = "<filter>.failed"


def listed() -> dict[str, set[str]]:
    """Code → the statuses that the page says."""
    rows = re.findall(r"^\| `([a-z_<>]+\.[a-z_]+)` \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert len(rows) == len({code for code, _ in rows}), "a code stands twice"
    return {code: set(statuses.split(", ")) for code, statuses in rows}


def sources() -> Iterator[Path]:
    """Those that answer callers of the APIs; the admin API's and the simulated pools' errors are others."""
    for path in (*(ROOT / "filters").rglob("*.py"), *(ROOT / "ext_proc").rglob("*.py")):
        if not {"cli", "admin", "pb"} & set(path.relative_to(ROOT).parts):
            yield path


def given() -> Iterator[tuple[str, str]]:
    """(code, status) as the source has them; status "" where it is not written there."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (name := getattr(node.func, "id", "")) in GIVERS:
                texts = [one.value for one in node.args if isinstance(one, ast.Constant)]
                codes = [text for text in texts if isinstance(text, str) and CODE.fullmatch(text) and text != "response.code"]
                statuses = [str(one) for one in texts if isinstance(one, int)]
                yield from ((code, OWN_STATUS.get(name, "".join(statuses))) for code in codes)


def in_lua() -> set[str]:
    words = (ROOT / "apisix" / "lua" / "headrace" / "words.lua").read_text()
    return set(re.findall(r'\["([a-z_]+\.[a-z_]+)"\]', words))


def test_the_page_has_every_code_and_no_other() -> None:
    assert set(listed()) == {code for code, _ in given()} | in_lua() | {ANY_FILTER}


def test_the_page_has_the_status_of_each() -> None:
    pages = listed()
    assert [(code, status) for code, status in given() if status and status not in pages[code]] == []


def test_the_page_has_the_limits_as_they_are() -> None:
    assert f"more than {MAX_DEPTH} levels" in PAGE
    assert f"more than {MAX_HEADERS} headers" in PAGE
