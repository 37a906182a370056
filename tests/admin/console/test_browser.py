"""The console in a real Chromium, before a whole stack with traffic: real Envoy, two workers, a real store."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from headrace.ext_proc.admin.tokens import Role
from tests.admin.console.site import CHROMIUM, HOSTILE, Seen, Watched, watched
from tests.e2e.site import chat, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"Chromium is not installed: there is no {CHROMIUM}"),
]
BUDGET = "/budgets/team-day?organisation=default&team=research"
PAGES = ("/", "/budgets", BUDGET, "/decisions", "/policy", "/playground", "/keys", "/activity")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on() -> AsyncIterator[Watched]:
    async with watched() as running:
        yield running


def unharmed(on: Watched, seen: Seen) -> None:
    """Nothing was said in the browser's console, and nobody else was asked for anything."""
    assert seen.errors == []
    assert seen.hosts == {on.url.split("/")[2]}


async def overflow(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("width", [390, 1280])
async def test_every_page_is_whole_at_both_widths(on: Watched, width: int) -> None:
    async with on.page(Role.OPERATOR, Role.APPROVER, holder="rita", viewport={"width": width, "height": 900}) as (page, seen):
        exchange = (await on.site.records("decision"))[0]["exchange"]
        for path in (*PAGES, f"/decisions/{exchange}"):
            answer = await page.goto(on.url + path)
            assert answer is not None
            assert answer.status == 200, path
            await expect(page.locator("h1")).to_be_visible()
            assert await overflow(page) <= 0, path
            assert await page.title() != "1", f"{path} ran what a caller had said"
            assert await page.locator("img[onerror]").count() == 0, path
        unharmed(on, seen)


async def test_what_a_caller_said_is_shown_as_it_was_said(on: Watched) -> None:
    async with on.page(Role.VIEWER) as (page, seen):
        await page.goto(f"{on.url}/decisions?model=onerror")
        await expect(page.locator("td", has_text=HOSTILE).first).to_be_visible()
        await page.locator("td a").first.click()
        await expect(page.get_by_text(HOSTILE).first).to_be_visible()
        await page.goto(f"{on.url}/budgets")
        await expect(page.get_by_text(HOSTILE).first).to_be_visible()
        assert await page.title() == "Budgets · Headrace"
        unharmed(on, seen)


async def test_a_prompt_that_is_markup_is_text_in_the_playground(on: Watched) -> None:
    async with on.page(Role.VIEWER) as (page, seen):
        await page.goto(f"{on.url}/playground")
        await page.get_by_label("Body").fill(json.dumps(chat(f"{HOSTILE} ada@example.com")))
        await page.get_by_label("Team").fill(HOSTILE)
        await page.get_by_role("button", name="Try it").click()
        await expect(page.locator("#result mark")).to_have_text("ada@example.comEMAIL_ADDRESS", timeout=60_000)
        await expect(page.locator("#result .text")).to_contain_text(HOSTILE)
        await expect(page.locator("#result")).to_contain_text("passed to standard")
        assert await page.title() == "Playground · Headrace"
        await page.get_by_label("Body").fill("no JSON")
        await page.get_by_role("button", name="Try it").click()
        await expect(page.locator("#result .empty")).to_have_text("Not searched: the body is not JSON.", timeout=60_000)
        unharmed(on, seen)


async def test_the_overview_refreshes_itself_and_counts_what_came(on: Watched) -> None:
    async with on.page(Role.VIEWER) as (page, seen):

        async def counted() -> bool:
            return "model.not_allowed" in await (await page.request.get(f"{on.url}/")).text()

        await until(counted, "the workers' report of the traffic, and a reading of it")
        await page.clock.install()
        await page.goto(f"{on.url}/")
        await page.evaluate("document.querySelector('#live').dataset.old = 'yes'")
        await page.clock.fast_forward(6000)
        await expect(page.locator("#live[data-old]")).to_have_count(0, timeout=20_000)
        await expect(page.locator("tbody th", has_text="model.not_allowed")).to_be_visible()
        await expect(page.locator(".badge", has_text="serves")).to_have_count(2)
        unharmed(on, seen)


async def test_a_search_puts_its_result_and_its_address_into_the_page(on: Watched) -> None:
    async with on.page(Role.VIEWER) as (page, seen):
        await page.goto(f"{on.url}/decisions")
        await page.get_by_label("Verdict").select_option("refused")
        await page.get_by_role("button", name="Search").click()
        await page.wait_for_url(re.compile("verdict=refused"))
        badges = page.locator("#found .badge")
        await expect(badges.first).to_be_visible()
        assert set(await badges.all_inner_texts()) == {"refused"}
        unharmed(on, seen)


async def test_the_candidates_differences_lead_to_their_exchanges(on: Watched) -> None:
    async with on.page(Role.VIEWER) as (page, seen):
        await page.goto(f"{on.url}/policy")
        await expect(page.locator("tbody th", has_text="refused pii.blocked")).to_be_visible()
        await page.locator("td a.id").first.click()
        await expect(page.get_by_role("heading", name="The candidate policy")).to_be_visible()
        unharmed(on, seen)


async def test_a_change_is_asked_for_by_one_and_approved_by_another(on: Watched) -> None:
    async with on.page(Role.OPERATOR, Role.APPROVER, holder="ada") as (page, seen):
        await page.goto(on.url + BUDGET)
        form = page.get_by_role("form", name="Raise the limit")
        await form.get_by_label("By how much").fill("5000")
        await form.get_by_label("Reason").fill(HOSTILE)
        await form.get_by_label("Wait for somebody else").check()
        await form.get_by_role("button", name="Raise").click()
        await expect(page.get_by_role("status")).to_contain_text("waits for somebody else's approval")
        await page.goto(f"{on.url}/budgets")
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        unharmed(on, seen)
    async with on.page(Role.APPROVER) as (page, seen):
        await page.goto(on.url + BUDGET)
        await expect(page.get_by_role("form", name="Raise the limit")).to_have_count(0)
        await page.goto(f"{on.url}/budgets")
        await expect(page.get_by_text(HOSTILE).first).to_be_visible()
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("status")).to_contain_text("is in force")
        unharmed(on, seen)


async def test_the_keyboard_alone_is_enough(on: Watched) -> None:
    async with on.page() as (page, seen):
        await page.goto(f"{on.url}/budgets")
        await page.keyboard.type(await on.token(Role.VIEWER))  # the field has the focus
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{on.url}/budgets")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert await page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "team"
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.keyboard.type("support")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("team=support"))
        assert set(await page.locator("[aria-labelledby=counters] td:nth-child(2)").all_inner_texts()) == {"team support"}
        unharmed(on, seen)


async def test_the_policy_holds_against_what_gets_into_a_page(on: Watched) -> None:
    """The content security policy, should the escaping ever fail: inline scripts, styles and other hosts do nothing."""
    async with on.page(Role.VIEWER) as (page, seen):
        await page.goto(f"{on.url}/")
        await page.evaluate(
            """document.body.insertAdjacentHTML("beforeend",
            "<img src=x onerror='document.title=1'><b id=styled style='color: red'>b</b><img src=http://127.0.0.2/x>")"""
        )
        await expect(page.locator("#styled")).to_be_visible()
        assert await page.evaluate("getComputedStyle(document.querySelector('#styled')).color") != "rgb(255, 0, 0)"
        assert await page.title() == "Overview · Headrace"
        assert any("Content Security Policy" in error for error in seen.errors)


async def test_after_the_logout_the_page_that_refreshes_itself_leads_to_the_login(on: Watched) -> None:
    async with on.page(Role.VIEWER) as (page, _):
        await page.clock.install()
        await page.goto(f"{on.url}/")
        other = await page.context.new_page()
        await other.goto(f"{on.url}/")
        await other.get_by_role("button", name="Log out").click()
        await expect(other.get_by_label("Admin token")).to_be_focused()
        await page.clock.fast_forward(6000)
        await expect(page.get_by_label("Admin token")).to_be_visible(timeout=20_000)
