"""The table of the transcripts that cannot apply behind APISIX, as apisix/README.md has it: `python -m tests.apisix.not_through`
writes it there.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.transcripts.model import FOLDER

README = Path(__file__).parents[2] / "apisix" / "README.md"
SECTION = re.compile(r"(<!-- not_through: [^\n]*\n)(.*?)(<!-- end -->)", re.DOTALL)
LINE = re.compile(r"^not_through: \[(?P<drivers>[^]]*)\](?:\s+#\s*(?P<reason>.+))?$", re.MULTILINE)


def exempt() -> Iterator[tuple[str, str]]:
    """Each transcript that is not played through the plugin, and why; empty where its file does not say."""
    for path in sorted(FOLDER.glob("*.yaml")):
        found = LINE.search(path.read_text("utf-8"))
        if found and "apisix" in re.split(r",\s*", found["drivers"]):
            yield path.stem, found["reason"] or ""


def table() -> str:
    """One row for each reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in exempt():
        reasons.setdefault(reason, []).append(name)
    rows = [f"| {'; '.join(name.replace('_', ' ') for name in names)} | {reason} |" for reason, names in reasons.items()]
    return "\n".join(["| transcript | why not |", "|---|---|", *rows]) + "\n"


def written(readme: str) -> str:
    return SECTION.sub(lambda found: found[1] + table() + found[3], readme)


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), "utf-8")
