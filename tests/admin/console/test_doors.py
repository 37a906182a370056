"""Who comes in: login, sessions, forms of other pages, and the headers that every page has."""

from datetime import timedelta

import pytest

from headrace.ext_proc.admin.console.app import CSP
from headrace.ext_proc.admin.console.attempts import OF_ONE, Attempts
from headrace.ext_proc.admin.console.frame import COOKIE
from headrace.ext_proc.admin.console.pages import PAGES
from headrace.ext_proc.admin.console.sessions import IDLE, LASTS, MOST, Sessions
from headrace.ext_proc.admin.tokens import ROSTER, Role, revoked
from tests.admin.console.conftest import Pages, word
from tests.filters.identity.support import NOON

GETS = sorted({page.path.replace("{name}", "user-day").replace("{exchange}", "hx1") for page in PAGES if page.method == "GET"})
POSTS = [page for page in PAGES if page.method == "POST"]


async def test_without_a_token_in_the_store_the_console_is_off(pages: Pages) -> None:
    page = await pages.get("/login")
    assert page.status_code == 404
    assert "headrace admin token create" in page.text


@pytest.mark.parametrize("path", GETS)
async def test_whoever_is_not_logged_in_is_led_to_the_login(pages: Pages, path: str) -> None:
    answer = await pages.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/console/login?next=/console{path}"
    part = await pages.get(path, hx_request="true")
    assert (part.status_code, part.headers["hx-redirect"], part.text) == (401, "/console/login", "")


async def test_a_token_opens_a_session_that_scripts_and_other_sites_cannot_use(pages: Pages) -> None:
    fresh = await pages.token(Role.VIEWER)
    answer = await pages.try_token(f" {fresh.secret}\n")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
    cookie = next(value for value in answer.headers.get_list("set-cookie") if value.startswith(COOKIE))
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert fresh.secret not in answer.headers.get("set-cookie", "")
    assert (await pages.get("/")).status_code == 200


async def test_over_tls_the_cookie_is_for_tls_alone(pages: Pages) -> None:
    pages.around.secure = True
    pages.client.base_url = pages.client.base_url.copy_with(scheme="https")
    answer = await pages.try_token((await pages.token(Role.VIEWER)).secret)
    assert all("Secure" in cookie for cookie in answer.headers.get_list("set-cookie") if cookie.startswith(COOKIE))


@pytest.mark.parametrize("secret", ["", "hra-nonsense", "hra-0123456789ab-" + "a" * 43])
async def test_what_is_no_token_opens_nothing(pages: Pages, secret: str) -> None:
    await pages.token(Role.VIEWER)
    answer = await pages.try_token(secret)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert (await pages.get("/")).status_code == 303


async def test_attempts_are_limited_and_then_the_right_token_waits_too(pages: Pages) -> None:
    fresh = await pages.token(Role.VIEWER)
    assert [(await pages.try_token("wrong")).status_code for _ in range(OF_ONE)] == [401] * OF_ONE
    answer = await pages.try_token(fresh.secret)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    pages.now += timedelta(seconds=60)
    assert (await pages.try_token(fresh.secret)).status_code == 303


@pytest.mark.parametrize("next", ["https://evil.example/console/", "//evil.example", "/console/\\evil", "/metrics", "javascript:1"])
async def test_after_the_login_nobody_is_led_elsewhere(pages: Pages, next: str) -> None:
    answer = await pages.try_token((await pages.token(Role.VIEWER)).secret, next)
    assert answer.headers["location"] == "/console/"


async def test_after_the_login_one_is_where_one_wanted_to_be(pages: Pages) -> None:
    answer = await pages.try_token((await pages.token(Role.VIEWER)).secret, "/console/budgets")
    assert answer.headers["location"] == "/console/budgets"


async def test_a_session_ends_with_the_logout_whatever_the_browser_keeps(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    kept = pages.client.cookies[COOKIE]
    assert (await pages.post("/logout")).status_code == 303
    pages.client.cookies.set(COOKIE, kept, path="/console")
    assert (await pages.get("/")).status_code == 303


async def test_a_revoked_token_ends_its_sessions_at_once(pages: Pages) -> None:
    fresh = await pages.log_in(Role.VIEWER)
    listed = await pages.store.listed(ROSTER, fresh.record.id)
    assert listed
    await pages.store.enrol(ROSTER, fresh.record.id, revoked(fresh.record, NOON, "root").packed(), revision=listed.revision)
    assert (await pages.get("/")).status_code == 303


async def test_a_session_that_nobody_uses_ends_though_its_page_refreshes_itself(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    for _ in range(4):
        assert (await pages.get("/live", hx_request="true")).status_code == 200
        pages.now += IDLE / 4
    assert (await pages.get("/live", hx_request="true")).status_code == 401


async def test_a_session_ends_though_somebody_uses_it_all_the_time() -> None:
    sessions, now = Sessions(), NOON
    secret = sessions.begin("token", now)
    while now < NOON + LASTS:
        assert sessions.of(secret, now, by_person=True)
        now += IDLE / 2
    assert sessions.of(secret, now, by_person=True) is None


async def test_sessions_are_bounded_and_the_one_used_longest_ago_goes() -> None:
    sessions = Sessions()
    first, second = sessions.begin("a", NOON), sessions.begin("b", NOON)
    assert sessions.of(first, NOON, by_person=True)
    for number in range(MOST - 1):
        sessions.begin(str(number), NOON)
    assert sessions.of(first, NOON, by_person=True)
    assert sessions.of(second, NOON, by_person=True) is None


async def test_one_address_that_fails_does_not_lock_out_others() -> None:
    attempts = Attempts()
    for _ in range(OF_ONE):
        attempts.failed("10.0.0.1", NOON)
    assert attempts.wait_s("10.0.0.1", NOON) == 60
    assert attempts.wait_s("10.0.0.2", NOON) == 0


@pytest.mark.parametrize("page", POSTS, ids=lambda page: page.path)
async def test_a_form_without_the_sessions_word_changes_nothing(pages: Pages, page: object) -> None:
    await pages.log_in(Role.OPERATOR, Role.APPROVER)
    path = str(getattr(page, "path")).format(name="user-day", kind="raise", id="adj_1", decision="approve")  # noqa: B009
    for csrf in ("", "0" * 64):
        answer = await pages.send(path, {"csrf": csrf, "amount": "1", "reason": "x"})
        assert answer.status_code == 403
        assert "not made for this session" in answer.text


async def test_the_word_of_another_session_is_no_use(pages: Pages) -> None:
    await pages.log_in(Role.OPERATOR)
    theirs = word(await pages.get("/budgets"))
    pages.client.cookies.clear()
    await pages.log_in(Role.OPERATOR)
    assert (await pages.send("/logout", {"csrf": theirs})).status_code == 403


async def test_a_form_that_another_site_sends_is_refused_though_its_word_is_right(pages: Pages) -> None:
    await pages.log_in(Role.OPERATOR)
    csrf = word(await pages.get("/budgets"))
    assert (await pages.send("/logout", {"csrf": csrf}, sec_fetch_site="cross-site")).status_code == 403
    assert (await pages.send("/login", {"csrf": csrf, "token": "x"}, sec_fetch_site="same-site")).status_code == 403


@pytest.mark.parametrize(
    "content", [b"csrf=%ff", b"a=1&a=2", b"&".join(b"f%d=1" % number for number in range(100)), b"x" * 2_000_000]
)
async def test_forms_that_are_none_are_refused(pages: Pages, content: bytes) -> None:
    await pages.log_in(Role.OPERATOR)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await pages.client.post("/console/logout", content=content, headers=headers)
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize("path", ["/login", "/", "/budgets", "/nothing", "/static/console.css", "/static/htmx-2.0.11.min.js"])
async def test_every_answer_says_what_its_page_may_load(pages: Pages, path: str) -> None:
    await pages.log_in(Role.VIEWER)
    answer = await pages.get(path)
    assert answer.headers["content-security-policy"] == CSP
    assert "'unsafe" not in CSP
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == ("public, max-age=3600" if "static" in path else "no-store")


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e%2fapp.py", "README.md", "htmx-LICENSE"])
async def test_no_other_file_is_served(pages: Pages, name: str) -> None:
    assert (await pages.get(f"/static/{name}")).status_code == 404
