"""What an exchange must have cost, by what its client, the gateway and the upstream know: without a look at how it is settled."""

from http import HTTPStatus
from typing import NamedTuple

from tests.simulation.books import Lease
from tests.simulation.policies import WAYS
from tests.simulation.story import Story

NANO = 1000, 2000
"""Of a dollar, for a token of the prompt and of the answer."""


class Cost(NamedTuple):
    """In tokens, prompt and answer together; nano: in nano-USD, where it is known exactly."""

    least: int
    most: int
    nano: int | None = None


FREE = Cost(0, 0, 0)


def charged_wrongly(story: Story, lease: Lease) -> str:
    """What is wrong with a lease when all is over; empty: nothing."""
    reserved = lease.reserved["tokens"]
    if not lease.closings:
        return (
            ""
            if story.lost or _unheard(story) or _overtaken(story)
            else f"its lease was neither settled nor released; {_told(story)}"
        )
    tokens, nano = lease.of("tokens") or 0, lease.of("nano_usd") or 0
    expected = _expected(story, reserved)
    if any(cost.least <= tokens <= cost.most and cost.nano in (None, nano) for cost in expected):
        return ""
    return f"it cost {tokens} tokens, {nano} nano-USD, of {reserved} reserved; right would be {expected}; {_told(story)}"


def _unheard(story: Story) -> bool:
    """The service handed the request over, and the gateway had given it up before it heard so: nobody can settle that."""
    handed_over = any(decision["outcome"] == "handed_off" for decision in story.decisions)
    return handed_over and story.settle == "" and _given_up(story)


def _given_up(story: Story) -> bool:
    """The gateway did not wait for what the service would say: docs/filters/budget.md."""
    return not story.forwarded and story.client.status in (0, HTTPStatus.GATEWAY_TIMEOUT)


def _overtaken(story: Story) -> bool:
    """It was admitted while the store did not answer, and settled before the store had heard of it: docs/filters/budget.md."""
    return not WAYS[story.label].counted and "unknown_lease" in story.settlements


def _expected(story: Story, reserved: int) -> list[Cost]:
    kept = Cost(reserved, reserved)
    if story.lost:
        return [*_due(story, kept), kept]
    return _due(story, kept)


def _due(story: Story, kept: Cost) -> list[Cost]:
    """By who settles it."""
    if not story.forwarded:
        return [FREE, kept] if _given_up(story) else [FREE]
    return _by_log(story, kept) if story.settle == "access_log" else _by_stream(story, kept)


def _by_log(story: Story, kept: Cost) -> list[Cost]:
    if story.usage_seen:
        return [_used(story)]
    if not story.reached or story.client.status >= 400:
        return [FREE]
    sized = story.plan.stream and len(story.client.body) > 0
    return [Cost(1, kept.most)] if sized else [kept]


def _by_stream(story: Story, kept: Cost) -> list[Cost]:
    """The service sees the answer itself, as far as the gateway has sent it."""
    answered = story.answered
    if answered is None:
        return [FREE, kept]
    ended = [decision["outcome"] for decision in story.decisions]
    if answered.status >= 400:
        return [FREE] if ended == ["completed"] else [FREE, kept]
    if ended == ["completed"] and answered.usage is not None and not answered.dies:
        return [_used(story)]
    counted = Cost(1, kept.most + len(story.client.body) + 200)
    return [counted]


def _used(story: Story) -> Cost:
    assert story.answered is not None and story.answered.usage is not None, "it was reported"
    prompt, answer = story.answered.usage
    return Cost(prompt + answer, prompt + answer, prompt * NANO[0] + answer * NANO[1])


def _told(story: Story) -> str:
    ended = ", ".join(str(decision["outcome"]) for decision in story.decisions) or "undecided"
    sent = "reached its upstream" if story.reached else "sent on" if story.forwarded else "not sent on"
    return f"{ended}, {sent}, settled by {story.settle or 'nobody'}, client {story.client.status}, {story.settlements}"
