"""`headrace usage reconcile` against what the upstreams themselves have in their books: each pool is a provider that bills."""

import asyncio
import csv
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.cli.simulate.books import Entry, Outcome
from headrace.ext_proc.cli.simulate.server import SimulatedPool
from tests.cli.command import headrace
from tests.e2e.site import MESSAGES, MODEL, Site, chat

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

CLAUDE = "claude-sonnet-4-5"
LONG = "word " * 9000
"""More than the standard pool holds."""

BILLED = {Outcome.COMPLETE, Outcome.CLIENT_GONE}
DAYS = timedelta(days=2)


def write_invoice(path: Path, entries: Sequence[Entry]) -> None:
    """In the form of OpenAI's usage export, one line a request, in the model's dated name."""
    day = datetime.now(UTC).date()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["start_time", "start_time_iso", "model", "num_model_requests", "input_tokens", "output_tokens"])
        for entry in entries:
            if entry.outcome in BILLED:
                model = f"{json.loads(entry.body)['model']}-2026-01-31"
                writer.writerow(["", day.isoformat(), model, "1.0", entry.prompt_tokens, entry.completion_tokens])


async def reconciled(site: Site, pool: SimulatedPool, path: Path, *exchanges: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document, exact to the token. Compared without days: midnight may pass."""
    await site.pools_idle()
    await site.settled(exchanges)
    write_invoice(path, list(pool.books.entries))
    today = datetime.now(UTC).date()
    days = ("--from", str(today - DAYS), "--to", str(today + DAYS))
    command = ["usage", "reconcile", str(path), "--store", site.stack.store_url, "--route", pool.name, "--by", "model", *days]
    done = await asyncio.to_thread(headrace, *command, "--tolerance", "0", "--format", "json", cwd=path.parent)
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


async def test_what_the_pools_served_is_what_the_ledger_has_and_what_it_only_estimates_is_told(site: Site, tmp_path: Path) -> None:
    caller = await site.caller()
    message = {"model": CLAUDE, "max_tokens": 30, "messages": [{"role": "user", "content": "hi"}]}
    answers = [
        *[await site.post(caller, chat(f"{number} of five"), x_simulate=f"tokens={number}") for number in range(1, 6)],
        await site.post(caller, chat(stream=True), x_simulate="tokens=9"),
        await site.post(caller, message, MESSAGES, x_simulate="tokens=11"),
        await site.post(caller, chat(LONG), x_simulate="tokens=3"),
        await site.post(caller, chat(), x_simulate="fail=500"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 8 + [500]
    exchanges = [answer.headers["x-headrace-exchange"] for answer in answers]
    code, found = await reconciled(site, site.standard, tmp_path / "standard.csv", *exchanges)
    assert [(group["model"], group["verdict"], group["requests"]["ledger"]) for group in found["groups"]] == [
        (CLAUDE, "agrees", 1),
        (MODEL.replace(".", "-"), "agrees", 6),
    ]
    assert (code, found["total"]["output_tokens"]["invoice"], found["total"]["estimated"]) == (0, 1 + 2 + 3 + 4 + 5 + 9 + 11, 0)
    code, found = await reconciled(site, site.large, tmp_path / "large.csv")
    assert (code, found["total"]["requests"]["ledger"], found["total"]["output_tokens"]["ledger"]) == (0, 1, 3)

    async with site.stream(caller, chat(stream=True, max_tokens=40), x_simulate="tokens=30 stall=3") as answer:
        exchange = answer.headers["x-headrace-exchange"]
        async for line in answer.aiter_lines():
            if line:
                break
    code, found = await reconciled(site, site.standard, tmp_path / "more.csv", exchange)
    (wrong,) = (group for group in found["groups"] if group["verdict"] != "agrees")
    assert (code, wrong["verdict"], wrong["estimated"]) == (1, "differs", 1)
    assert wrong["requests"]["agrees"] and wrong["input_tokens"]["agrees"]
    assert wrong["output_tokens"]["ledger"] - (1 + 2 + 3 + 4 + 5 + 9) == 40, "what was reserved of the answer"
