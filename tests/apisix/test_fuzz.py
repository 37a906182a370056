"""Random frames, and good answers with something wrong in them: a call ends, the same way however its bytes are cut, and no worker
hangs, crashes or raises. HEADRACE_LONG=1 runs 10,000 of each kind.
"""

import asyncio
import itertools
import os
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.messages import framed
from tests.apisix.faulty import Stand
from tests.apisix.http2_faults import FAULTS, ODD
from tests.apisix.nginx import missing
from tests.apisix.probe import Probe
from tests.apisix.raw_peer import GREETING, Script, Wire, data, head, trailers
from tests.transcripts.site import WAIT

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

LONG = bool(os.environ.get("HEADRACE_LONG"))
CASES = settings(max_examples=10_000 if LONG else 80, deadline=None)
WORKER_CASES = 5_000 if LONG else 100

KINDS = st.integers(0, 10) | st.integers(0, 255)
FLAGS = st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 32, 36]) | st.integers(0, 255)
STREAMS = st.sampled_from([1, 1, 1, 0, 3, 2]) | st.integers(0, 2**31 - 1)
PAYLOADS = st.binary(max_size=40) | st.sampled_from(
    [b"", b"\0" * 4, b"\0" * 8, framed(b"x"), framed(b"x" * 100), trailers()[9:], head()[9:]]
)
FRAMES = st.builds(frames.frame, KINDS, FLAGS, STREAMS, PAYLOADS)

MESSAGES = st.lists(st.binary(max_size=30), max_size=3)
GOOD = MESSAGES.map(lambda said: [GREETING, head(), *[data(framed(one)) for one in said], trailers()])


def pieces(said: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`said` cut at those places."""
    places = [0, *sorted({cut % (len(said) + 1) for cut in cuts}), len(said)]
    return [said[start:end] for start, end in itertools.pairwise(places) if start != end]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


def ends_alike(probe: Probe, said: bytes, cuts: Sequence[int]) -> dict[str, object]:
    """How the call ends; it must not depend on where its bytes are cut."""
    whole, cut, single = probe.calls([("call", [one]) for one in ([said], pieces(said, cuts), [bytes([byte]) for byte in said])])
    assert whole == cut == single
    return {"messages": whole["messages"] or [], "ending": whole["ending"]}


@CASES
@given(MESSAGES, CUTS)
def test_a_good_answer_is_heard_however_it_is_cut(probe: Probe, messages: list[bytes], cuts: list[int]) -> None:
    said = b"".join([GREETING, head(), *[data(framed(one)) for one in messages], trailers()])
    assert ends_alike(probe, said, cuts) == {"messages": messages, "ending": b"clean"}


@CASES
@given(st.lists(FRAMES, max_size=12), CUTS, st.booleans())
def test_random_frames_end_a_call(probe: Probe, said: list[bytes], cuts: list[int], greets: bool) -> None:
    ends_alike(probe, b"".join([GREETING, head(), *said] if greets else said), cuts)


@CASES
@given(GOOD, st.lists(st.tuples(st.integers(0, 20), FRAMES), min_size=1, max_size=3), CUTS)
def test_frames_that_do_not_belong_end_a_call_or_are_passed_over(
    probe: Probe, good: list[bytes], extra: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    for at, frame in extra:
        good.insert(at % (len(good) + 1), frame)
    ends_alike(probe, b"".join(good), cuts)


@CASES
@given(GOOD, st.data(), CUTS)
def test_wrong_and_missing_bytes_end_a_call(probe: Probe, good: list[bytes], draw: st.DataObject, cuts: list[int]) -> None:
    said = b"".join(good)
    at = draw.draw(st.integers(0, len(said) - 1))
    broken = said[:at] + draw.draw(st.binary(max_size=4)) + said[at + draw.draw(st.integers(0, 4)) :]
    ends_alike(probe, broken, cuts)


@CASES
@given(GOOD, st.data())
def test_an_answer_that_breaks_off_never_ends_cleanly(probe: Probe, good: list[bytes], draw: st.DataObject) -> None:
    """A clean end lets a request go on: it takes the last byte of the trailers."""
    said = b"".join(good)
    cut = said[: draw.draw(st.integers(0, len(said) - 1))]
    assert ends_alike(probe, cut, ())["ending"] == b"closed"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_survives_whatever_comes(faulty: Stand) -> None:
    """Frames of every fault and oddity in a random order, with random bytes flipped, through real connections."""
    chance = random.Random(20_26)
    scripts = [*[script for script, _ in FAULTS.values()], *ODD.values()]
    parts = [
        part
        for script in scripts
        for part in (script.greeting, script.head, script.first, script.second, script.end)
        if len(part) < 9999
    ]

    async def babble(wire: Wire) -> None:
        await wire.message()
        said = bytearray(b"".join([GREETING, *chance.choices(parts, k=chance.randint(1, 8))]))
        for _ in range(chance.choice([0, 0, 1, 5])):
            said[chance.randrange(len(said))] = chance.randrange(256)
        wire.say(bytes(said))

    faulty.peer.play = babble
    for _ in range(WORKER_CASES):
        async with asyncio.timeout(WAIT):
            assert (await faulty.post()).status_code in (200, 503)
    said = faulty.logged()
    assert said.count("the service has not answered") == said.count("[error] ") - said.count("failed (") > 0
    assert "[alert]" not in said
    faulty.peer.play = Script()
    assert (await faulty.post()).status_code == 200
