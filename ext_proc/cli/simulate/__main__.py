"""A simulated pool as a process: `python -m headrace.ext_proc.cli.simulate --port 9001`."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from . import SimulatedPool, parse


def main(
    port: Annotated[int, typer.Option(help="TCP port on 127.0.0.1; 0 takes a free one")] = 0,
    uds: Annotated[Path | None, typer.Option(help="Unix socket to listen on instead")] = None,
    name: Annotated[str, typer.Option(help="name of the pool")] = "simulated",
    model: Annotated[list[str] | None, typer.Option(help="model to list at /v1/models; may be repeated")] = None,
    script: Annotated[str, typer.Option(help="how to answer requests without an x-simulate header")] = "",
) -> None:
    """Run a simulated GPU pool until SIGTERM or Ctrl-C. Its books are at GET /books."""
    try:
        default = parse(script)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--script") from None
    pool = SimulatedPool(name, port=port, uds=uds, models=model or ["llama-3.3-70b"], default=default)
    uvloop.run(_serve(pool, uds))


async def _serve(pool: SimulatedPool, uds: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with pool:
        print(f"{pool.name} listens on {uds or pool.url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    typer.run(main)
