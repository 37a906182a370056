"""The demo for people: a block per request, at most 100 columns wide."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from headrace.ext_proc.engine.budgets.amounts import quantity
from headrace.ext_proc.telemetry import phrases

from .evidence import Exchange, Received, changed_members
from .files import TEMPLATE
from .scenes import BURST_SCENE
from .story import Burst, Stage

WIDTH = 100
EXCERPT = 150  # characters of a prompt or an answer

Row = tuple[str, str, str]


def console(stderr: bool = False) -> Console:
    """At most WIDTH columns; colours and the spinner only on a terminal."""
    found = Console(stderr=stderr, highlight=False)
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


def opening(out: Console, on: Stage) -> None:
    """What runs, before the first request."""
    for name, value in (("Envoy", on.stack.url), ("policy", f"{on.files.policy} (made from {TEMPLATE})")):
        out.print(Text.assemble((f"{name:<13}", "cyan"), value), soft_wrap=True)


def exchange(out: Console, number: int, one: Exchange) -> None:
    """One request, from all sides."""
    _heading(out, f"{number}. {one.scene.title}", one.seen.status, one.as_expected)
    _rows(out, [*_asked(one), *_decided(one), *_happened(one)])


def _heading(out: Console, title: str, status: int | str, as_expected: bool) -> None:
    style = ("green" if status == 200 else "yellow") if as_expected else "red"
    mark = "" if as_expected else " UNEXPECTED"
    out.print()
    out.print(Rule(Text.assemble((title, "bold"), "   ", (f"{status}{mark}", f"bold {style}")), align="left", style="dim"))


def _rows(out: Console, rows: Sequence[Row]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=11, style="cyan", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(justify="right", style="dim", no_wrap=True)
    for name, what, time in rows:
        table.add_row(name, Text(what), time)
    out.print(table)


def _asked(one: Exchange) -> Iterator[Row]:
    how = "streamed, " if one.scene.stream else ""
    size = f"{how}{len(one.seen.sent):,} bytes"
    yield "application", f"{one.scene.caller} asks {one.scene.model} ({size}): {_excerpt(one.scene.prompt)}", ""


def _decided(one: Exchange) -> Iterator[Row]:
    """A line per decision; filters that had nothing to say share one."""
    spoke = [step for step in one.decision["steps"] if step["outcome"] != "continue" or step["reason"] or step.get("note")]
    for step in spoke:
        yield step["filter"], phrases.step(step), f"{step['us'] / 1000:.2f} ms"
    heard = {step["filter"] for step in spoke}
    if silent := [name for name in dict.fromkeys(step["filter"] for step in one.decision["steps"]) if name not in heard]:
        yield "continue", f"{', '.join(silent)}, with nothing to report", ""


def _happened(one: Exchange) -> Iterator[Row]:
    if one.received is None:
        yield "upstream", "received nothing", ""
        yield "answer", f"{one.seen.code}: {one.seen.text}", ""
    else:
        yield "upstream", _received(one, one.received), ""
        yield "answer", _excerpt(one.seen.text), ""
    if one.settlement:
        yield "ledger", phrases.money(one.decision, one.settlement), ""
    first = "" if one.seen.first_ms is None else f" (its first piece after {one.seen.first_ms:.1f} ms)"
    added = f"{one.decision['elapsed_us'] / 1000:.2f} ms"
    yield "time", f"{one.seen.total_ms:.1f} ms until the application had the answer{first}; {added} of it in Headrace", ""


def _received(one: Exchange, received: Received) -> str:
    key = "with the API key" if received.entry.header("authorization") else "without the API key"
    return f"{received.pool} received {_body(one.seen.sent, received.entry.body)}, {key}: {_excerpt(received.text)}"


def _body(sent: bytes, body: bytes) -> str:
    if sent == body:
        return "the same body, byte for byte"
    return f"a body of {len(body):,} bytes, other in {', '.join(changed_members(sent, body))}"


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return f'"{flat}"' if len(flat) <= EXCERPT else f'"{flat[:EXCERPT].rstrip()}…" ({len(text):,} characters)'


def burst(out: Console, number: int, found: Burst) -> None:
    """The burst as one block, with the ledger."""
    _heading(out, f"{number}. {BURST_SCENE.title}", f"{len(found.admitted)} of {len(found.exchanges)} admitted", found.as_expected)
    _rows(out, [*_each(found), *_totals(found)])


def _each(found: Burst) -> Iterator[Row]:
    for one in found.admitted[:1]:
        held = ", ".join(f"{quantity(h['unit'], h['reserved'])} of {h['budget']}" for h in phrases.reserved(one.decision))
        yield "each", f"reserves {held}", ""
    for one in found.refused[:1]:
        yield "refused", f"{len(found.refused)} with {one.seen.status} {one.seen.code}; one of them: {one.seen.text}", ""


def _totals(found: Burst) -> Iterator[Row]:
    calls = sum(1 for one in found.exchanges if one.received)
    yield "upstream", f"received {calls} requests and counted {found.upstream_tokens:,} tokens", ""
    used = f"{quantity('tokens', found.used('tokens'))} and {quantity('nano_usd', found.used('nano_usd'))}"
    same = "the pools' own count" if found.used("tokens") == found.upstream_tokens else "NOT the pools' own count"
    yield "ledger", f"the store holds {used} for {BURST_SCENE.caller}: {same}", ""
    slowest = max(one.decision["elapsed_us"] for one in found.exchanges) / 1000
    yield "time", f"{slowest:.2f} ms in Headrace for the slowest of them", ""


def staying(out: Console, on: Stage) -> None:
    """Where everything is, and what to try."""
    out.print(Rule(style="dim"))
    for name, value in _places(on):
        out.print(Text.assemble((f"{name:<13}", "cyan"), value), soft_wrap=True)
    out.print()
    for command in _commands(on):
        out.print(Text(command), soft_wrap=True)
    out.print()


def _places(on: Stage) -> Iterator[tuple[str, str]]:
    yield "Envoy", on.stack.url
    yield "admin", f"{on.stack.admin_url}/metrics /readyz /policy"
    yield "console", f"{on.stack.admin_url}/console, token {on.token}"
    for pool in on.pools:
        yield pool.name, f"{pool.url}/books"
    yield "decisions", str(on.stack.decisions_path)
    yield "policy", str(on.files.policy)


def _commands(on: Stage) -> Iterator[str]:
    yield f"export KEY={on.files.secrets['ada']}"
    yield f"curl -i {on.stack.url}/v1/chat/completions -H \"authorization: Bearer $KEY\" -H 'content-type: application/json' \\"
    yield """  -d '{"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Write to ada@example.com"}]}'"""
    yield f"curl -s {on.pools[0].url}/books | tail -c 400       # what the upstream received"
