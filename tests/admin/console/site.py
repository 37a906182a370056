"""The console of a whole stack with traffic in it, and a browser in front: one of each for a module of tests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from headrace.ext_proc.admin.tokens import ROSTER, Role, fresh_token
from tests.e2e.site import Caller, Site, chat, lean_chain, running_site

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
)  # fmt: skip
HOSTILE = '<img src=x onerror="document.title=1">'
"""A name that is markup where it is not escaped."""
CARD = "4111 1111 1111 1111"

BUDGETS = [
    {"name": "team-day", "per": ["team"], "limit": {"tokens": 4000}, "window": "day"},
    {"name": "user-month", "per": ["team", "user"], "limit": {"usd": 25}, "window": "month"},
    {"name": "busy", "per": ["team"], "limit": {"requests": 40}, "window": {"sliding": 3600}},
]


def chain() -> list[dict[str, Any]]:
    return [{"identity": {}}, {"pii": {"model": "none", "request": "replace", "entities": ["EMAIL_ADDRESS", "CREDIT_CARD"]}},
            {"budget": {}}, {"routing": {}}, {"usage": {}}]  # fmt: skip


def candidate(policy: Mapping[str, Any]) -> str:
    """The same, but that personal data ends a request."""
    filters = [{"pii": {"model": "none", "request": "block"}} if "pii" in one else one for one in lean_chain()]
    return json.dumps({**policy, "filters": [*filters[:1], {"pii": {"model": "none", "request": "block"}}, *filters[1:]]})


@dataclass
class Seen:
    """What a browser did and said."""

    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def asked(self, request: Request) -> None:
        self.hosts.add(request.url.split("/")[2])


@dataclass
class Watched:
    """The site with its console, and Chromium."""

    site: Site
    browser: Browser
    callers: Mapping[str, Caller]
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.site.stack.admin_url}/console"

    async def token(self, *roles: Role, holder: str = "") -> str:
        """Of a holder named after the role unless another is given."""
        name = holder or roles[0].value
        if name not in self.tokens:
            now = datetime.now(UTC)
            fresh = fresh_token(name, roles, now, now + timedelta(hours=1), "test")
            await self.site.store.enrol(ROSTER, fresh.record.id, fresh.record.packed())
            self.tokens[name] = fresh.secret
        return self.tokens[name]

    @contextlib.asynccontextmanager
    async def page(self, *roles: Role, holder: str = "", **options: Any) -> AsyncIterator[tuple[Page, Seen]]:
        """A page of somebody who is logged in, in a browser context of its own; nobody, where no role is given."""
        context: BrowserContext = await self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(20_000)
        seen = Seen()
        page = await context.new_page()
        page.on("console", seen.said)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", seen.asked)
        try:
            if roles:
                await self.log_in(page, await self.token(*roles, holder=holder))
            yield page, seen
        finally:
            await context.close()

    async def log_in(self, page: Page, token: str) -> None:
        await page.goto(f"{self.url}/login")
        await page.get_by_label("Admin token").fill(token)
        await page.get_by_role("button", name="Log in").click()


@contextlib.asynccontextmanager
async def watched(times: int = 1, **changes: Any) -> AsyncIterator[Watched]:
    """times: how often each kind of request is sent."""
    from tests.e2e.site import policy_of

    members = {"budgets": BUDGETS, "filters": chain(), "candidate": {"file": "next.yaml", "share": 1.0}, **changes}
    next = {name: value for name, value in members.items() if name != "candidate"}
    upstreams = {"standard": "http://127.0.0.1:9001", "large": "http://127.0.0.1:9002"}
    files = {"next.yaml": candidate(policy_of(upstreams, **next))}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            async with running_site(**members, workers=2, files=files) as site:
                callers = {team: await site.caller(team) for team in ("research", "support", HOSTILE)}
                await traffic(site, list(callers.values()), times)
                yield Watched(site, browser, callers)
        finally:
            await browser.close()


async def traffic(site: Site, callers: Sequence[Caller], times: int) -> None:
    """Requests that pass, that are refused, that have personal data, that are markup, and that no pool answers."""
    sent = []
    for number in range(times):
        for caller in callers:
            sent.append(site.post(caller, chat(f"question {number}", max_tokens=40)))
            sent.append(site.post(caller, chat(f"write to ada@example.com about {CARD}", max_tokens=60)))
            sent.append(site.post(caller, chat("hello", model=HOSTILE)))
            sent.append(site.post(caller, chat(f"{HOSTILE} says hello", max_tokens=20)))
            sent.append(site.post(caller, chat("no answer", max_tokens=20), x_simulate="fail=500"))
        sent.append(site.post(callers[0], chat("a long one", max_tokens=4090)))
    answers = await asyncio.gather(*sent)
    exchanges = [answer.headers["x-headrace-exchange"] for answer in answers if answer.status_code == 200]
    await site.settled(exchanges)
