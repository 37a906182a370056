"""The table of `docs/peers.md`, made anew from the figures between its two marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .figures import Missing, PeerRun
from .leaks import PLACES

BEGIN, END = "<!-- figures: make bench-peers -->", "<!-- end of figures -->"
HEADS = (
    "gateway",
    "requests/s, 32 at once",
    "p50 added, ms",
    "p99 added, ms",
    "CPU s per 1,000",
    "peak RSS, MiB",
    "streams held, of 200",
    "first token added, ms",
    "event p50 added, ms",
    "event p99 added, ms",
    "CPU µs per event",
    "400 KB prompt added, ms",
    "budget overshot by",
    "leaked in text",
    "leaked in tool arguments",
)
NONE = "–"
OURS = "headrace"


class NoPlaceError(ValueError):
    """The page has no place for the table."""


def render(runs: Sequence[PeerRun], missing: Sequence[Missing], about: Mapping[str, Any]) -> str:
    """What stands between the marks."""
    rows = [HEADS, ("---", *["---:"] * (len(HEADS) - 1)), *map(_cells, runs), *map(_absent, missing)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    parts = (_about(about), table, *_ratios(runs), *_absences(missing), *_problems(runs), _configured(runs))
    return "\n\n".join(parts)


def _cells(run: PeerRun) -> tuple[str, ...]:
    name = run.name if run.valid else f"{run.name} (see below)"
    load = (
        f"{run.rps:,.0f}",
        f"{run.added_p50_ms:.2f}",
        f"{run.added_p99_ms:.2f}",
        f"{run.cpu_s_per_1000:.2f}",
        f"{run.rss_mb:.0f}",
    )
    prompt = NONE if run.prompt_added_ms is None else f"{run.prompt_added_ms:.0f}"
    return (name, *load, *_stream_cells(run), prompt, _budget_cell(run), *_leak_cells(run))


def _stream_cells(run: PeerRun) -> tuple[str, ...]:
    if (seen := run.streamed) is None:
        return (NONE,) * 5
    times = (seen.added_first_ms, seen.added_p50_ms, seen.added_p99_ms)
    return (str(seen.streams), *(f"{time:.1f}" for time in times), f"{seen.cpu_us:.0f}")


def _budget_cell(run: PeerRun) -> str:
    if (seen := run.overshoot) is None:
        return NONE
    return f"{seen.over:.0%} ({seen.answered} of {seen.at_once}, then {seen.later})"


def _leak_cells(run: PeerRun) -> tuple[str, ...]:
    if run.leaks is None:
        return (NONE,) * len(PLACES)
    found = [run.leaks[place] for place in PLACES]
    return tuple(f"{one.leaked} of {one.answers}" + (f", {one.broken} broken" if one.broken else "") for one in found)


def _absent(missing: Missing) -> tuple[str, ...]:
    return (missing.name, "not measured", *[""] * (len(HEADS) - 2))


def _about(about: Mapping[str, Any]) -> str:
    machine, versions = about["machine"], about["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    load = " ".join(f"{one:.1f}" for one in about["load_average"])
    effort = f"{about['rounds']} round{'' if about['rounds'] == 1 else 's'}" + (", `--quick`" if about["quick"] else "")
    return (
        f"Taken {about['taken']}: {effort}. Machine: {machine['cpu']}, {machine['cores']} cores, {machine['os']}; "
        f"load average before the run {load}. Versions: {named}."
    )


def _ratios(runs: Sequence[PeerRun]) -> Sequence[str]:
    """Ours and each other row of the same run: the ratios hold where times and rates are the machine's."""
    ours = next((run for run in runs if run.name == OURS and run.rps and run.cpu_s_per_1000), None)
    others = [run for run in runs if not run.name.startswith(OURS) and run.rps and run.cpu_s_per_1000]
    if ours is None or not others:
        return []
    lines = [
        f"- {run.name}: {ours.rps / run.rps:.1f} times its requests/s, {ours.cpu_s_per_1000 / run.cpu_s_per_1000:.3f} of its CPU "
        "for a request"
        for run in others
    ]
    return ["\n".join([f"The row `{OURS}`, all of whose filters are on, by the others':", "", *lines])]


def _absences(missing: Sequence[Missing]) -> Sequence[str]:
    return ["\n".join(["Not measured:", "", *(f"- {one.name}: {one.why}." for one in missing)])] if missing else []


def _problems(runs: Sequence[PeerRun]) -> Sequence[str]:
    found = [f"- {run.name}: {problem}." for run in runs for problem in run.problems]
    return ["\n".join(["What went wrong, so that the row's figures prove less than they say:", "", *found])] if found else []


def _configured(runs: Sequence[PeerRun]) -> str:
    rows = [("row", "configured"), ("---", "---"), *((run.name, run.configured) for run in runs)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def replace(page: Path, figures: str, first: str = BEGIN, last: str = END) -> None:
    """Put the figures between the page's marks. Raises NoPlaceError."""
    before, begin, rest = page.read_text("utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise NoPlaceError(f"{page} has no lines {first!r} and {last!r} for the table to stand between")
    page.write_text(f"{before}{begin}\n\n{figures}\n\n{end}{after}", "utf-8")
