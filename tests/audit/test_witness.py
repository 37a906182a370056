"""When an exchange is recorded, what of it, and what becomes of a request that cannot be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.audit.chain import Chain
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.log import AuditLog
from headrace.ext_proc.audit.reading import Entry, entries
from headrace.ext_proc.audit.vault import Spot, Vault
from headrace.ext_proc.audit.witness import Witness
from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.events import Answer, Event, Refuse, ResponseBody
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Needs
from tests.audit.logs import MASTER, Ticking, terms_at
from tests.audit.meters import Counts
from tests.audit.test_log import Disk
from tests.kit import DENIED, ScriptedFilter, answer_head, body, exchange_of, filter_of, post, proceeds

BODY, WHOLE = Needs.REQUEST_BODY, Needs.REQUEST_BODY | Needs.RESPONSE_BODY


class Site:
    """An exchange that is recorded."""

    def __init__(self, directory: Path, *filters: ScriptedFilter, **settings: Any) -> None:
        self.directory, self.disk, self.counts = directory, Disk(), Counts()
        clock = Ticking()
        chain = Chain(terms_at(directory, **settings), "0", clock.now_ms, self.disk)
        self.log = AuditLog(chain, clock.now_ms, self.counts)
        self.exchange: Exchange = exchange_of(*filters)
        self.witness = Witness(self.exchange, self.log)

    async def told(self, *events: Event) -> Answer:
        """The last answer."""
        answers = [await self.witness.step(event, deadline=asyncio.get_running_loop().time() + 30) for event in events]
        return answers[-1]

    def entries(self) -> list[Entry]:
        return list(entries(self.directory))

    def kinds(self) -> list[str]:
        return [entry.line.kind for entry in self.entries()]

    async def over(self, cause: Cause = Cause.ABORTED) -> list[str]:
        """The kinds of all records when the exchange has been closed, and the log with it."""
        self.witness.close(self.exchange.close(cause))
        await self.log.close()
        return self.kinds()[:-1]


async def test_a_request_goes_on_when_its_decision_is_on_disk(tmp_path: Path) -> None:
    site = Site(tmp_path, filter_of(needs=BODY))
    assert proceeds(await site.told(post(), body())).last
    assert site.kinds() == ["decision"]
    assert site.entries()[0].line.record["outcome"] == "handed_off"
    assert await site.over() == ["decision"]


async def test_a_refusal_is_on_disk_before_it_is_given(tmp_path: Path) -> None:
    site = Site(tmp_path, filter_of(needs=BODY, on_request=DENIED))
    assert isinstance(await site.told(post(), body()), Refuse)
    (entry,) = site.entries()
    assert (entry.line.record["outcome"], entry.line.record["reason"]) == ("refused", "test.denied")
    assert await site.over() == ["decision"]


async def test_where_the_answer_is_read_the_decision_follows_it(tmp_path: Path) -> None:
    site = Site(tmp_path, filter_of(needs=WHOLE), bodies="encrypted")
    await site.told(post(), body())
    assert site.kinds() == ["forwarded"]
    await site.told(answer_head(), ResponseBody(b'{"choices":[]}', end=True))
    assert await site.over() == ["forwarded", "decision"]
    forwarded, decided, _ = site.entries()
    assert opened(tmp_path, forwarded, "request") == body().data
    assert opened(tmp_path, decided, "answer") == b'{"choices":[]}'
    assert decided.line.record["outcome"] == "completed"
    assert "request" not in decided.line.bodies


def on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def opened(directory: Path, entry: Entry, part: str) -> bytes:
    spot = Spot(entry.chain, entry.segment, entry.line.seq, part)
    return Vault(Home(directory), MASTER).opened(entry.line.bodies[part], spot)


async def test_what_cannot_be_recorded_is_refused_and_was_sent_nowhere(tmp_path: Path) -> None:
    filter = filter_of(needs=BODY)
    site = Site(tmp_path, filter, wait_ms=20)
    site.disk.full = True
    refused = await site.told(post(), body())
    assert isinstance(refused, Refuse)
    assert (refused.status, refused.reason, refused.headers["retry-after"]) == (503, "audit.unavailable", "1")
    site.disk.full = False
    assert await site.over() == ["dropped"]
    assert [(outcome.cause, outcome.forwarded) for outcome in filter.session.outcomes] == [(Cause.REFUSED, False)]


async def test_a_refusal_stands_though_it_cannot_be_recorded(tmp_path: Path) -> None:
    site = Site(tmp_path, filter_of(needs=BODY, on_request=DENIED), wait_ms=20)
    site.disk.full = True
    refused = await site.told(post(), body())
    assert isinstance(refused, Refuse)
    assert refused.reason == "test.denied"
    assert site.counts.lost == 1


async def test_a_client_that_hangs_up_while_the_disk_is_waited_for_is_recorded_as_it_ended(tmp_path: Path) -> None:
    site = Site(tmp_path, filter_of(needs=WHOLE))
    site.disk.full = True
    asking = asyncio.create_task(site.told(post(), body()))
    while site.counts.failures == 0:  # noqa: ASYNC110  the count is the log's
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    site.disk.full = False
    assert (await site.over())[-1] == "decision"
    assert site.entries()[-2].line.record["outcome"] == "aborted"


@pytest.mark.parametrize("needs", [BODY, WHOLE])
async def test_a_request_whose_gateway_gives_up_while_the_disk_is_waited_for_went_nowhere(needs: Needs, tmp_path: Path) -> None:
    filter = filter_of(needs=needs)
    site = Site(tmp_path, filter)
    asking: asyncio.Task[Answer] = asyncio.create_task(site.told(post(), body()))
    site.disk.syncing = asking.cancel
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()
    await site.over()
    assert [(outcome.cause, outcome.forwarded) for outcome in filter.session.outcomes] == [(Cause.ABORTED, False)]


async def test_a_decision_that_a_batch_has_is_not_recorded_again_though_the_gateway_gives_up(tmp_path: Path) -> None:
    site = Site(tmp_path, filter_of(needs=BODY, on_request=DENIED))
    asking: asyncio.Task[Answer] = asyncio.create_task(site.told(post(), body()))
    site.disk.syncing = asking.cancel
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()
    assert await site.over() == ["decision"]
    assert site.entries()[0].line.record["outcome"] == "refused"


async def test_with_drop_and_count_nothing_waits_and_one_record_has_it_all(tmp_path: Path) -> None:
    site = Site(tmp_path, filter_of(needs=WHOLE), bodies="encrypted", on_full="drop-and-count")
    site.disk.full = True
    await site.told(post(), body(), answer_head(), ResponseBody(b"{}", end=True))
    assert site.kinds() == []
    site.disk.full = False
    assert await site.over() == ["decision"]
    (entry, _) = site.entries()
    assert entry.line.bodies.keys() == {"request", "answer"}


@pytest.mark.parametrize("bodies", ["none", "hashed"])
async def test_no_word_of_a_body_is_kept_unless_the_policy_says_so(bodies: str, tmp_path: Path) -> None:
    site = Site(tmp_path, filter_of(needs=BODY), bodies=bodies)
    await site.told(post(), body({"model": "m", "messages": [{"role": "user", "content": "a secret"}]}))
    await site.over()
    assert b"a secret" not in on_disk(tmp_path)
    assert set(site.entries()[0].line.bodies) == (set() if bodies == "none" else {"request"})
