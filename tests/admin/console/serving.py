"""The console with everybody who may and may not ask it, and what they change."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from starlette.routing import Route

from headrace.ext_proc.admin.console.app import application
from headrace.ext_proc.admin.console.bench import Bench
from headrace.ext_proc.admin.console.forms import CSRF
from headrace.ext_proc.admin.console.frame import CALLER, COOKIE, Console
from headrace.ext_proc.admin.console.pages import PAGES
from headrace.ext_proc.admin.console.workshop import Workshop
from headrace.ext_proc.admin.operation import Site
from headrace.ext_proc.admin.tokens import ROSTER, Role, fresh_token, revoked
from headrace.ext_proc.engine.budgets.adjustments import ROSTER as ADJUSTMENTS
from tests.admin.console.browsing import Answered, Asked, answer_of
from tests.admin.console.conftest import Pages, decision
from tests.admin.console.making import EVERY_ROLE, PROBE, SOON, TOKEN, TYPE, Fields, Made, form_of

HUNG_S = 60
ENDED = ("expired token", "revoked token")


class Here(Workshop):
    """The playground's work in this process, so that what fails in it fails here."""

    def __init__(self) -> None:
        super().__init__()
        self._bench = Bench()

    async def ask(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await asyncio.to_thread(self._bench.do, json.loads(json.dumps(job)))
        told: Mapping[str, Any] = json.loads(json.dumps(answer))
        return told


class Served:
    """The console, everybody who may and may not ask it, and what has been changed."""

    def __init__(self, pages: Pages) -> None:
        self.pages, self.store = pages, pages.store
        self.deeds: list[Mapping[str, str]] = []
        pages.around.site = Site(self.store, pages.policy, lambda: pages.now, self._told)
        known = pages.console
        self.console = Console(known.around, known.counts, known.revisions, Here(), known.words)
        self.app = application(self.console)
        self.met: Counter[int] = Counter()
        self.changes = 0
        self._tokens: dict[str, str] = {}
        self._secrets: dict[str, str] = {}

    async def _told(self, deed: Mapping[str, str]) -> None:
        self.deeds.append(deed)

    async def enrol(self) -> None:
        """A token for everybody who has one."""
        roles = {role.value: [role] for role in Role} | {one: [*Role] for one in (EVERY_ROLE, *ENDED)}
        for who, named in roles.items():
            expires = self.pages.now + timedelta(days=-1 if who == "expired token" else 36_500)
            fresh = fresh_token(who, named, self.pages.now - timedelta(days=2), expires, "root")
            token, self._secrets[who] = fresh.record, fresh.secret
            token = revoked(token, self.pages.now, "root") if who == "revoked token" else token
            await self.store.enrol(ROSTER, token.id, token.packed())
            self._tokens[who] = token.id
        self.pages.decided(decision("hx1"), decision("hx2", model=f"<{PROBE}>"))
        await self._raised(needs_approval=b"")

    async def _raised(self, *, needs_approval: bytes) -> None:
        """A change of a budget that somebody may decide about, or end."""
        cookie = self.session(Role.OPERATOR.value)
        until = (self.pages.now + timedelta(hours=1)).isoformat().encode()
        fields = {b"amount": b"5", b"reason": b"x", b"team": b"a", b"user": b"b", b"until": until} | {
            b"needs_approval": needs_approval
        }
        form = form_of(((CSRF.encode(), self.console.words.of(cookie).encode()), *fields.items()))
        headers = [(b"cookie", f"{COOKIE}={cookie}".encode()), (b"content-type", TYPE)]
        answer = await answer_of(self.app, Asked("POST", b"/budgets/user-day/raise", b"", headers, [form]))
        assert answer.status == 303, answer.body

    def session(self, who: str) -> str:
        """The cookie of somebody; that of nobody is empty."""
        if who in ("nobody", "stranger"):
            return "" if who == "nobody" else "s" * 43
        begun = self.pages.now - (timedelta(hours=9) if who == "expired session" else timedelta())
        return self.console.sessions.begin(self._tokens.get(who, self._tokens[EVERY_ROLE]), begun)

    def state(self) -> object:
        """All that a request may change."""
        rosters = {name: tuple(roster.records) for name, roster in self.store._rosters.items()}
        revisions = {name: roster._revision for name, roster in self.store._rosters.items()}
        return rosters, revisions, repr(self.store._sums), repr(self.store._ledger), len(self.deeds)

    async def ask(self, made: Made, route: Route) -> Answered:
        self.pages.now += timedelta(seconds=61)  # attempts to log in are limited
        if b"/known/" in made.path:
            await self._raised(needs_approval=b"" if route.path.endswith("end") else b"true")
        cookie = self.session(made.who)
        before, sessions = self.state(), set(self.console.sessions._known)
        async with asyncio.timeout(HUNG_S):
            answer = await answer_of(self.app, self._asked(made, route, cookie))
        assert self.state() == before or _may_change(made, route), "it was changed"
        assert self.console.sessions._known.keys() <= sessions or _may_log_in(made, route), "somebody is logged in"
        self.met[answer.status] += 1
        self.changes += self.state() != before
        return answer

    def _asked(self, made: Made, route: Route, cookie: str) -> Asked:
        name = CALLER if route.path == "/login" else COOKIE
        headers = [(b"cookie", f"{name}={cookie}".encode())] if cookie else []
        for header, value in ((b"content-type", made.type), (b"sec-fetch-site", made.site)):
            headers += [(header, value)] if value is not None else []
        headers += [(b"hx-request", b"true"), (b"hx-target", made.part)] if made.part is not None else []
        body = made.raw if made.raw is not None else form_of((*self._words(made, cookie), *self._meant(made)))
        path = made.path.replace(b"/known/", f"/{self.adjustments()[-1]}/".encode())
        return Asked(made.method, path, made.query, headers, [body[:7], body[7:]])

    def _meant(self, made: Made) -> Fields:
        """The form, with a moment that is to come, and with the token of whoever asks."""
        soon = (self.pages.now + timedelta(hours=1)).isoformat().encode()
        known = {SOON: soon, TOKEN: self._secrets.get(made.who, "hra-nonsense").encode()}
        return tuple((name, known.get(value, value)) for name, value in made.form)

    def _words(self, made: Made, cookie: str) -> Fields:
        """What says that the form is of the session's."""
        right = self.console.words.of(cookie).encode()
        foreign = self.console.words.of("of another").encode()
        given = {"right": [right], "missing": [], "foreign": [foreign], "wrong": [b"\xff\0"], "twice": [right, right]}
        return tuple((CSRF.encode(), word) for word in given[made.word])

    def adjustments(self) -> list[str]:
        """The ids of changes of budgets, the last one at the end."""
        return list(self.store._rosters[ADJUSTMENTS].records)


def _may_change(made: Made, route: Route) -> bool:
    """Whether it comes from somebody whose role is the page's."""
    roles = {page.role.value for page in PAGES if (page.path, page.method) == (route.path, made.method)}
    return made.may_change and made.who in {*roles, EVERY_ROLE}


def _may_log_in(made: Made, route: Route) -> bool:
    return made.may_change and route.path == "/login" and (b"token", TOKEN) in made.form
