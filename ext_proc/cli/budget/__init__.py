"""`headrace budget`: how budgets stand, and what operators change about them while the policy stays."""

import getpass
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.ext_proc.cli.moments import instant
from headrace.ext_proc.cli.stores import StoreUrl, with_store

if TYPE_CHECKING:
    from headrace.ext_proc.core.ports import Store
    from headrace.ext_proc.engine.budgets.desk import Desk
    from headrace.ext_proc.engine.budgets.limits import Limit

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

PolicyFile = Annotated[Path, typer.Argument(help="The policy file, which names the budgets.", metavar="POLICY")]
BudgetName = Annotated[str, typer.Argument(help="The budget's name.", metavar="BUDGET")]
Id = Annotated[str, typer.Argument(help="As the request for it said, and `headrace budget history` shows.", metavar="ID")]
For = Annotated[
    str | None, typer.Option("--for", help="Whose counter: team=research,user=ann. Default: everybody's.", metavar="LEVEL=NAME,…")
]
Organisation = Annotated[str, typer.Option(help="Of which organisation.")]
Until = Annotated[
    str | None, typer.Option(help="Day or instant, UTC unless it has an offset. Default: the end of the running window.")
]
Reason = Annotated[str, typer.Option(help="Why; kept in the history.")]
Who = Annotated[
    str,
    typer.Option(
        "--who", help="Who does it; kept in the history.", default_factory=getpass.getuser, show_default="your login name"
    ),
]
Waits = Annotated[bool, typer.Option("--needs-approval", help="It counts when somebody else has approved it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def budget() -> None:
    """Show, raise, set and reset budgets. A running service goes by a change within two seconds."""


@app.command()
def show(
    policy: PolicyFile,
    store: StoreUrl,
    name: Annotated[str | None, typer.Option("--budget", help="This one alone.")] = None,
    whom: For = None,
    organisation: Organisation = "default",
    as_json: AsJson = False,
) -> None:
    """How much of each budget is used and left, and until when: of one caller, or of all who have drawn on it of late."""
    from headrace.ext_proc.cli.budget import printing
    from headrace.ext_proc.engine.budgets.callers import callers

    async def act(desk: "Desk", opened: "Store", limits: "list[Limit]") -> Any:
        wanted = [limit for limit in limits if name in (None, limit.name)]
        found = [_levels(whom)] if whom else await callers(opened, organisation, wanted, await opened.time_ms())
        return await desk.show(organisation, found or [{}], name)

    found = _at_desk(policy, store, act)
    typer.echo(printing.standings_json(found) if as_json else printing.standings(found))


@app.command("raise")
def raise_(
    policy: PolicyFile,
    name: BudgetName,
    amount: Annotated[str, typer.Argument(help="How much more, in the budget's unit: 50000 tokens, 12.50 USD.", metavar="AMOUNT")],
    store: StoreUrl,
    who: Who,
    whom: For = None,
    until: Until = None,
    reason: Reason = "",
    organisation: Organisation = "default",
    needs_approval: Waits = False,
    as_json: AsJson = False,
) -> None:
    """Add to a limit for a time."""
    given = {"whom": whom, "until": until, "reason": reason, "organisation": organisation, "needs_approval": needs_approval}
    _request(policy, store, "raise", name, amount, who, given, as_json=as_json)


@app.command("set")
def set_(
    policy: PolicyFile,
    name: BudgetName,
    amount: Annotated[str, typer.Argument(help="The limit in place of the policy's, in the budget's unit.", metavar="AMOUNT")],
    store: StoreUrl,
    who: Who,
    whom: For = None,
    until: Until = None,
    reason: Reason = "",
    organisation: Organisation = "default",
    needs_approval: Waits = False,
    as_json: AsJson = False,
) -> None:
    """Put another limit in place of the policy's for a time; raises add to it."""
    given = {"whom": whom, "until": until, "reason": reason, "organisation": organisation, "needs_approval": needs_approval}
    _request(policy, store, "set", name, amount, who, given, as_json=as_json)


@app.command()
def reset(
    policy: PolicyFile,
    name: BudgetName,
    store: StoreUrl,
    who: Who,
    whom: For = None,
    reason: Reason = "",
    organisation: Organisation = "default",
    needs_approval: Waits = False,
    as_json: AsJson = False,
) -> None:
    """Give a caller the whole limit again for the rest of the window. What was used stays in the ledger and in reports."""
    given = {"whom": whom, "until": None, "reason": reason, "organisation": organisation, "needs_approval": needs_approval}
    _request(policy, store, "reset", name, "0", who, given, as_json=as_json)


@app.command()
def approve(policy: PolicyFile, id: Id, store: StoreUrl, who: Who, as_json: AsJson = False) -> None:
    """Put in force what somebody else has asked for."""
    _decide(policy, store, lambda desk: desk.approve(id, who), as_json=as_json)


@app.command()
def reject(policy: PolicyFile, id: Id, store: StoreUrl, who: Who, as_json: AsJson = False) -> None:
    """Refuse what somebody else has asked for."""
    _decide(policy, store, lambda desk: desk.reject(id, who), as_json=as_json)


@app.command()
def end(policy: PolicyFile, id: Id, store: StoreUrl, who: Who, as_json: AsJson = False) -> None:
    """End a raise or another limit before its time. What was admitted under it stays admitted."""
    _decide(policy, store, lambda desk: desk.end(id, who), as_json=as_json)


@app.command()
def history(
    policy: PolicyFile,
    store: StoreUrl,
    pending: Annotated[bool, typer.Option("--pending", help="Only what waits for approval.")] = False,
    organisation: Annotated[str | None, typer.Option(help="Of this organisation alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Everything that was ever asked for, the latest first, with who asked, who decided, and why."""
    from headrace.ext_proc.cli.budget import printing

    async def act(desk: "Desk", opened: "Store", limits: "list[Limit]") -> Any:
        return [one for one in await desk.adjustments(organisation) if not pending or one.state == "pending"]

    found = _at_desk(policy, store, act)
    typer.echo(printing.adjustments_json(found) if as_json else printing.adjustments(found))


def _request(
    policy: Path, store: str, kind: Any, name: str, amount: str, who: str, given: Mapping[str, Any], *, as_json: bool
) -> None:
    from headrace.ext_proc.engine.budgets.desk import Change

    change = Change(
        kind=kind,
        budget=name,
        by=who,
        amount=amount,
        organisation=given["organisation"],
        whom=_levels(given["whom"]) if given["whom"] else None,
        until_ms=instant(given["until"], "--until") if given["until"] is not None else None,
        reason=given["reason"],
        needs_approval=given["needs_approval"],
    )
    _decide(policy, store, lambda desk: desk.request(change), as_json=as_json)


def _decide(policy: Path, store: str, decide: "Callable[[Desk], Awaitable[Any]]", *, as_json: bool) -> None:
    from headrace.ext_proc.cli.budget import printing

    async def act(desk: "Desk", opened: "Store", limits: "list[Limit]") -> Any:
        return await decide(desk)

    made = _at_desk(policy, store, act)
    typer.echo(printing.adjustments_json([made]) if as_json else printing.done(made))


def _at_desk(policy: Path, url: str, act: "Callable[[Desk, Store, list[Limit]], Awaitable[Any]]") -> Any:
    """What `act` gives. Ends the command, with the reason, where the policy, the store or the desk refuses."""
    from headrace.ext_proc.engine.budgets.desk import DeskError
    from headrace.ext_proc.engine.policy.offline import compiled

    outcome = compiled(policy)
    if isinstance(outcome, Exception):
        raise _ended(outcome)
    try:
        return with_store(url, lambda store: _acted(outcome.document, store, act))
    except DeskError as error:
        raise _ended(error) from None


async def _acted(document: Any, store: "Store", act: "Callable[[Desk, Store, list[Limit]], Awaitable[Any]]") -> Any:
    from headrace.ext_proc.engine.budgets.desk import Desk
    from headrace.ext_proc.engine.budgets.limits import limits_of
    from headrace.ext_proc.engine.clock import SharedClock

    clock = SharedClock(store.time_ms)
    await clock.look()
    limits = list(limits_of(document, lambda where, message: None))  # the policy was compiled: it has no problems
    return await act(Desk(limits, store, clock), store, limits)


def _ended(said: object) -> typer.Exit:
    typer.echo(said, err=True)
    return typer.Exit(1)


def _levels(text: str) -> Mapping[str, str]:
    """`team=research,model=m`. Raises typer.BadParameter."""
    from headrace.ext_proc.engine.budgets.callers import LEVELS

    pairs = [part.partition("=") for part in text.split(",")]
    if wrong := [part for part, equals, value in pairs if part not in LEVELS or not equals or not value]:
        raise typer.BadParameter(f"{wrong[0]!r} is none of {', '.join(LEVELS)}, or has no name", param_hint="--for")
    return {level: value for level, _, value in pairs}
