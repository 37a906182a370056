"""What must be true: looked at whenever something it speaks of has happened, and once more when all is over."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from headrace.ext_proc.core.effects import Record
from tests.simulation.charges import charged_wrongly
from tests.simulation.plan import REFUSED
from tests.simulation.policies import LABELS, WAYS
from tests.simulation.reading import code_of, personal, text_of
from tests.simulation.story import Answered, Story

if TYPE_CHECKING:
    from tests.simulation.world import World

CODES = {
    "auth.invalid": 401,
    "auth.missing": 401,
    "body.not_json": 400,
    "body.not_object": 400,
    "body.invalid": 400,
    "budget.exhausted": 429,
    "budget.unavailable": 503,
    "model.not_allowed": 403,
    "first.failed": 503,
    "identity.failed": 503,
    "saboteur.failed": 503,
    "pii.failed": 503,
    "budget.failed": 503,
    "routing.failed": 503,
    "sim.denied": 403,
    "pii.unreadable_answer": 502,
    "pii.unknown_event": 502,
    "response.unreadable": 502,
}
"""Every code that a caller may read here, and the status it comes with."""

CLOSED = ("settled", "kept", "released")


def _came_up(answered: Answered) -> set[str]:
    """What the upstream itself says, which may be a part of what it meant to say, where it talks nonsense."""
    said = b"".join(answered.chunks)
    return {answered.finding, *personal(text_of(said, is_stream=answered.is_stream)[0], said)}


class Truth:
    """violated: told of whatever is not true."""

    def __init__(self, world: "World", violated: Callable[[str], None]) -> None:
        self._world, self._violated = world, violated

    def observe(self, record: Record) -> None:
        """A worker's records. Raises nothing: whoever records would catch it."""
        story = self._world.stories.get(record.members.get("exchange", ""))
        if story is None:
            return
        if record.kind == "decision":
            story.decisions.append(dict(record.members))
        elif record.kind == "settlement":
            story.settlements.append(record.members["outcome"])
        if len(story.decisions) > 1:
            self._wrong(story, f"{len(story.decisions)} decisions were recorded")
        if sum(outcome in CLOSED for outcome in story.settlements) > 1:
            self._wrong(story, f"it was settled more than once: {', '.join(story.settlements)}")

    def _wrong(self, story: Story, what: str) -> None:
        self._violated(f"x{story.number} ({story.plan.kind}, {story.label or 'no policy'}): {what}")

    # --- towards the upstream ----------------------------------------------------------------------------------------------

    def forwarded(self, story: Story, headers: Mapping[str, str], body: bytes) -> None:
        """The gateway sends the request on."""
        if story.plan.kind == "other":
            return
        if story.doomed:
            self._wrong(story, f"it was sent on although {story.doomed}")
        if story.plan.trouble in REFUSED:
            self._wrong(story, f"it was sent on although it is {story.plan.trouble}")
        if missing := [name for name in ("first", "last") if story.hooks[name, "request"] != 1]:
            self._wrong(story, f"it was sent on without the verdict of {' and '.join(missing)}")
        if leaks := [secret for secret in story.plan.secrets if secret.encode() in body]:
            self._wrong(story, f"the upstream reads {leaks}")
        if WAYS[story.label].counted and (story.plan.organisation, story.id) not in self._world.server.books.leases:
            self._wrong(story, "it was sent on and no budget holds it")

    # --- towards the client ------------------------------------------------------------------------------------------------

    def ended(self, story: Story) -> None:
        """The client has all that it is going to get."""
        client = story.client
        if client.ours:
            self._refused(story)
        elif client.status == 200 and story.answered is not None and story.plan.kind != "other":
            self._served(story)
        if client.status >= 500 and self._world.weather.is_calm:
            self._wrong(story, f"status {client.status}, and nothing has gone wrong")

    def _refused(self, story: Story) -> None:
        client = story.client
        try:
            code = code_of(json.loads(bytes(client.body)), anthropic=story.plan.kind == "messages")
        except (ValueError, KeyError, TypeError):
            self._wrong(story, f"refused in no dialect: {bytes(client.body)[:200]!r}")
            return
        if CODES.get(code) != client.status or client.headers.get("x-headrace-reason") != code:
            self._wrong(story, f"refused with {client.status} {code!r}, {client.headers.get('x-headrace-reason')!r} in its header")
        if story.plan.trouble in REFUSED and not self._world.weather.filters and not code.startswith(REFUSED[story.plan.trouble]):
            self._wrong(story, f"refused with {code!r}, and is {story.plan.trouble}")

    def _served(self, story: Story) -> None:
        answered, client, way = story.answered, story.client, WAYS[story.label or "passing"]
        assert answered is not None, "somebody answered"
        text, code = text_of(bytes(client.body), is_stream=answered.is_stream)
        leaks = personal(text, bytes(client.body)) - {*(story.plan.secrets if way.restores else ())}
        if leaks and (leaks := leaks - (set() if way.scrubs else _came_up(answered))):
            self._wrong(story, f"the client reads {sorted(leaks)}")
        if code and CODES.get(code) is None:
            self._wrong(story, f"its stream was ended with {code!r}")
        if not client.complete or code:
            return
        read, _ = text_of(bytes(client.body), is_stream=answered.is_stream, defined=True)
        if way.restores and (left := [token for token in answered.tokens if token in read]):
            self._wrong(story, f"the client reads {left}, which stand for what it said")
        if not story.read_here and bytes(client.body) != b"".join(answered.chunks):
            self._wrong(story, "an answer that nobody reads was changed")

    # --- when all is over --------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        for story in self._world.stories.values():
            if story.label:
                self._recorded(story)
            lease = self._world.server.books.leases.get((story.plan.organisation, story.id))
            if lease is not None and (wrong := charged_wrongly(story, lease)):
                self._wrong(story, wrong)
            if lease is not None and lease.closings:
                self._told(story)

        for organisation, name in self._world.server.books.leases:
            if name not in self._world.stories:
                self._violated(f"lease {name} of {organisation} belongs to no exchange")

    def _told(self, story: Story) -> None:
        """Of a lease that the store may hear of late, the end may come before the beginning: docs/filters/budget.md."""
        if WAYS[story.label].counted and not story.lost and set(story.settlements) == {"unknown_lease"}:
            self._wrong(story, "its lease was closed, and the records say that nobody knew it")

    def _recorded(self, story: Story) -> None:
        if not story.decisions and not story.orphaned:
            self._wrong(story, "no decision was recorded")
        for decision in story.decisions:
            if LABELS[decision["revision"]] != story.label:
                self._wrong(story, f"its record names {LABELS[decision['revision']]}")
        if story.labels - {story.label}:
            self._wrong(story, f"filters of {sorted(story.labels)} were asked")
        for name in ("first", "last"):
            opened, closed = story.hooks[name, "open"], story.hooks[name, "close"]
            if closed > opened or (closed < opened and not story.orphaned):
                self._wrong(story, f"{name} was opened {opened} times and closed {closed} times")
