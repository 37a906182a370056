"""The audit log as the console reads it: every worker's records, page by page."""

from pathlib import Path

import pytest

from headrace.ext_proc.admin.console import audit_log
from headrace.ext_proc.admin.console.audit_log import AuditDirectory
from headrace.ext_proc.admin.console.log import Search
from headrace.ext_proc.admin.tokens import Role
from tests.admin.console.conftest import Pages
from tests.audit.logs import START_MS, written


def exchange(number: int) -> str:
    return f"hx{number:024x}"


async def pages_of(source: AuditDirectory, wanted: Search, limit: int) -> list[str]:
    found, after = [], ""
    while True:
        page = await source.search(wanted, after, limit)
        found += [str(record["exchange"]) for record in page.records]
        if not (after := page.next):
            return found


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_every_decision_is_on_one_page_whatever_the_workers_shared_in_time(tmp_path: Path, limit: int) -> None:
    for worker in ("0", "1"):
        written(tmp_path, 10, worker=worker)
    found = await pages_of(AuditDirectory(tmp_path), Search(), limit)
    assert sorted(found) == sorted([exchange(number) for number in range(10)] * 2)
    assert found[0] == found[1] == exchange(9)


async def test_a_search_is_for_what_is_asked_and_reads_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, 30)
    source = AuditDirectory(tmp_path)
    assert await pages_of(source, Search(who="user1"), 4) == [exchange(number) for number in range(28, 0, -3)]
    assert await pages_of(source, Search(end_ms=START_MS), 4) == []
    monkeypatch.setattr(audit_log, "READ", 6)
    assert await pages_of(source, Search(), 10) == [exchange(number) for number in range(29, 23, -1)]


async def test_one_exchange_and_the_latest_of_a_kind(tmp_path: Path) -> None:
    written(tmp_path, 5)
    source = AuditDirectory(tmp_path)
    assert [(record["kind"], record["exchange"]) for record in await source.about(exchange(3))] == [("decision", exchange(3))]
    assert [record["exchange"] for record in await source.latest("decision", 2)] == [exchange(4), exchange(3)]
    assert await source.latest("candidate", 2) == []


async def test_the_pages_show_it(pages: Pages, tmp_path: Path) -> None:
    written(tmp_path / "audit", 5)
    pages.around.decisions = AuditDirectory(tmp_path / "audit")
    await pages.log_in(Role.VIEWER)
    assert exchange(4) in (await pages.get("/decisions")).text
    assert "blue" in (await pages.get(f"/decisions/{exchange(4)}")).text
