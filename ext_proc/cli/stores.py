"""The service's store, for a command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from headrace.ext_proc.cli.values import shared_store

if TYPE_CHECKING:
    from headrace.ext_proc.core.ports import Store

Result = TypeVar("Result")
STORE = typer.Option("--store", help="The service's store, by its URL: as for `headrace serve`.", envvar="HEADRACE_STORE")
StoreUrl = Annotated[str, STORE]


def with_store(url: str, act: "Callable[[Store], Awaitable[Result]]", *, failure: int = 1) -> Result:
    """What `act` gives with the store, closed after it. Ends the command with `failure` where the store does not answer."""
    return asyncio.run(_with(url, act, failure))


async def _with(url: str, act: "Callable[[Store], Awaitable[Result]]", failure: int) -> Result:
    from headrace.ext_proc.core.ports import REFUSED, StoreUnavailable
    from headrace.ext_proc.stores import open_store

    try:
        store = open_store(shared_store(url))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--store") from None
    try:
        return await act(store)
    except StoreUnavailable as error:
        said = str(error).rstrip(".")
        what = said if said.startswith(REFUSED) else f"the store does not answer: {said}"
        typer.echo(f"{what}; is it running, and is --store right?", err=True)
        raise typer.Exit(failure) from None
    finally:
        await store.close()
