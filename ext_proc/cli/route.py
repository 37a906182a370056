"""`headrace route`: what routing by prompt size is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.filters.routing.sizing import Comparison, Sized

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def route() -> None:
    """What routing by prompt size is worth."""


@app.command()
def simulate(
    trace: Annotated[Path, typer.Argument(help='JSON lines: {"arrival": seconds, "prompt": tokens, "answer": tokens}.')],
    pool: Annotated[list[int] | None, typer.Option(min=1, help="Most tokens of a request in a pool. May repeat.")] = None,
    kv_tokens: Annotated[int, typer.Option(min=1, help="Tokens that a server's KV cache holds.")] = 524_288,
    prefill: Annotated[float, typer.Option(min=0.001, help="Tokens of a prompt that a server reads in a second.")] = 8000.0,
    decode: Annotated[float, typer.Option(min=0.001, help="Tokens of one answer that a server writes in a second.")] = 40.0,
    wait: Annotated[float, typer.Option(min=0, help="Seconds that 99 % of the requests may wait for a slot.")] = 1.0,
    plot: Annotated[Path | None, typer.Option(help="Draw the servers of both into this PNG.", metavar="FILE.png")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say how many servers a trace needs with one pool for all requests, and with pools by prompt size.

    Pools are 8192 and 65536 tokens unless given. Ends with 1 when the trace cannot be read.
    """
    import msgspec

    from headrace.ext_proc.cli.files import cannot_read
    from headrace.filters.routing.sizing import Server, compare
    from headrace.filters.routing.trace import TraceError, read_trace

    limits = sorted(set(pool or (8192, 65536)))
    if limits[-1] > kv_tokens:
        raise typer.BadParameter(f"a server holds {kv_tokens} tokens, and none of {limits[-1]}", param_hint="--pool")
    try:
        found = compare(read_trace(trace), limits, Server(kv_tokens, prefill, decode), wait)
    except (TraceError, OSError) as error:
        typer.echo(cannot_read(error) if isinstance(error, OSError) else error, err=True)
        raise typer.Exit(1) from None
    typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode() if as_json else told(found))
    if plot is not None:
        _plot(found, plot)


@app.command()
def synthesize(
    requests: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of the trace.")] = 30_000,
    short: Annotated[float, typer.Option(min=0, max=1, help="Share of the short requests.")] = 0.8,
    per_second: Annotated[float, typer.Option(min=0.001, help="Requests that arrive in a second.")] = 100.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same trace.")] = 5,
) -> None:
    """Print a trace: Poisson arrivals, short prompts of 1600 tokens and long ones of 29600, answers of 400."""
    import msgspec

    from headrace.filters.routing.trace import synthetic

    for arrival in synthetic(requests, short, per_second, seed):
        typer.echo(msgspec.json.encode(arrival))


def told(found: "Comparison") -> str:
    """For people."""
    return "\n".join(
        (
            f"requests    {found.requests}, {found.too_large} of them too large for every pool",
            f"one pool    {_pool(found.one_pool)}",
            *(f"by size     {_pool(pool)}" for pool in found.pools),
            f"saving      {found.servers_without} servers to {found.servers_with}: {found.saving:.1%}"
            f" (arithmetic without queues and rounding: {found.published:.1%})",
        )
    )


def _pool(pool: "Sized") -> str:
    size = f"up to {pool.max_tokens} tokens, {pool.slots} at once per server"
    return f"{size}: {pool.requests} requests, {pool.servers} servers, 99 % wait at most {pool.wait:.2f} s"


def _plot(found: "Comparison", path: Path) -> None:
    """Raises typer.Exit where matplotlib is not installed or the file cannot be written."""
    try:
        from headrace.filters.routing.sizing_plot import draw

        draw(found, path)
    except (ImportError, OSError) as error:
        hint = "; pip install '.[reports]' in a checkout of Headrace" if isinstance(error, ImportError) else ""
        typer.echo(f"no plot: {error}{hint}", err=True)
        raise typer.Exit(1) from None
