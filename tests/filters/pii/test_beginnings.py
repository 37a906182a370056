"""Words that a stream gives out at once: no finding begins in them, whatever comes behind."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from string import ascii_letters

import pytest
import re2
import regex  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.filters.pii import beginnings
from headrace.filters.pii.beginnings import BEYOND, Beginnings
from headrace.filters.pii.custom import BadPattern, LinearPattern, LinearRecognizer, compiled
from headrace.filters.pii.cutter import windows
from headrace.filters.pii.detector import PatternDetector, best_scores
from headrace.filters.pii.plan import Plan, detector_for
from headrace.filters.pii.presidio import countries, finders, languages
from headrace.filters.pii.recognizers import Finder
from headrace.filters.pii.rewriting import substituted
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.secrets import CARD_IN_CONTEXT, SECRETS
from headrace.filters.pii.segments import Scrubber
from headrace.filters.pii.spans import Span
from headrace.filters.pii.treatment import Treatment
from headrace.filters.pii.views import views

from .driver import delta, event, policy
from .streaming import OTHER, asked
from .texts import generate, official

EVERY: Sequence[Finder] = [*finders(languages(), countries()), *SECRETS, CARD_IN_CONTEXT]
TREATMENT = Treatment("redact", "off")
PROSE_BEYOND = (
    "Le comité s’est réuni mardi « dans l’ancienne bibliothèque », n'est-ce pas\u202f? "
    "Die „Grundstücksverkehrsgenehmigungszuständigkeit“ ärgert alle\u00a0- ¿verdad, señor Núñez? "
    "Η επιτροπή συμφώνησε — «Комитет согласился», bądź co bądź. "
    "오늘 회의에서는 새로운 예산을 논의했습니다. "
    "ناقش الاجتماع اليوم خطة الميزانية، واتفق الجميع. היום דנו בישיבה בתוכנית. आज की बैठक में चर्चा हुई। "
)
PROSE_WITHOUT_BLANKS = (
    "今天的会议讨论了新的预算计划，大家一致认为“应该先完成第一阶段的工作”，然后再考虑后续的安排！世界卫生组织（WHO）表示：需要更多的时间。"
    "本日の会議では、新しい「予算計画」について話し合いました。コンピューターのシステムは、もう少し時間が必要だと述べています…"
)
MARKED_UP = (
    "## Summary\n\n- **Bold** and `code` – _some_ text 🎉 ⚠️ (really)\n| a | b |\n> quoted → and/or function(s)\n"
    "The plan—which was old—is [here] {and} <there> #tag = ~most~ of “it” ✅\n"
)
PROSE = "The committee met on Tuesday - “in the old library”, as it's called - and well-read members agreed that more was needed. "


def _of(*found: Finder) -> Beginnings:
    made = beginnings.of(each.beginnings for each in found)
    assert made is not None, [each.name for each in found]
    return made


def _own(pattern: str, words: tuple[str, ...] = ()) -> LinearRecognizer:
    patterns = (LinearPattern(pattern, 0.9),) if pattern else ()
    return LinearRecognizer("own", "CODE_NAME", patterns, words)


def _redact(span: Span, _: str) -> str:
    return f"<{span.entity}>"


# --- no finding begins in what is clear ------------------------------------------------------------------------------------------

KNOWN = [(each, made) for each in EVERY if (made := beginnings.of([each.beginnings])) is not None]


@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_no_recognizer_finds_anything_that_begins_in_what_is_clear(start: int) -> None:
    texts = (f"{generate(seed)} {official(seed)}" for seed in range(start, start + 100))
    assert sum(map(_found_behind_what_is_clear, texts)) > 1000


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_none_that_begins_in_letters_beyond_ascii_either(start: int) -> None:
    texts = (_beyond(f"{generate(seed)} {official(seed)}", random.Random(seed)) for seed in range(start, start + 50))
    assert sum(map(_found_behind_what_is_clear, texts)) > 150


def _found_behind_what_is_clear(text: str) -> int:
    """How much each recognizer finds, all together, as it is written and as it is meant; none of it begins in what is clear to that
    recognizer."""
    found = 0
    for window in windows(text):
        meant = list(views(window))
        for each, made in KNOWN:
            spans = [*each.find(window), *(view.original(span) for view in meant for span in each.find(view.text))]
            clear, _ = made.clear(window, 0) if spans else (0, False)
            assert all(clear <= span.start for span in spans), f"{each.name}: {window!r}"
            found += len(spans)
    return found


def _beyond(text: str, chance: random.Random) -> str:
    """The text with some of its letters, blanks and marks replaced, some of them by what is read as the same."""
    letters = [*sorted(each for each in BEYOND if each < "\u1000"), *chance.sample(sorted(BEYOND), 500), "🎉"]
    ends = [*"\u00a0\u202f\u3000", *beginnings._ENDS, *"，！？（：#|", "：（", "\ufe0f"]
    others = {" ": ends, **dict.fromkeys(ascii_letters, letters)}
    others |= {wide.translate(beginnings._FOLDED): [wide] for wide in "，；：！？（）"}
    return "".join(chance.choice(others[each]) if each in others and chance.random() < 0.1 else each for each in text)


def test_what_re2_takes_for_a_capital_of_a_letter_beyond_ascii_regex_does_too() -> None:
    """Every letter that is asked about, with all that some mapping of Unicode has in common with it."""
    kin: dict[str, set[str]] = {}
    for letter in filter(str.isalpha, map(chr, range(0x10000))):
        for other in {letter.casefold(), letter.lower(), letter.upper(), letter.upper().lower()}:
            kin.setdefault(other, set()).add(letter)
    pairs = {(a, b) for every in kin.values() for a in every if a in BEYOND for b in every}
    assert len(pairs) > 1500
    alike = {(a, b) for a, b in pairs if re2.fullmatch(f"(?i){b}", a)}
    assert len(alike) > 1400
    assert alike <= {(a, b) for a, b in pairs if regex.fullmatch(b, a, regex.IGNORECASE)}


def test_nothing_is_known_of_recognizers_that_are_run_as_they_are() -> None:
    unknown = {each.name for each in EVERY} - {each.name for each, _ in KNOWN}
    assert unknown == {"ZaMobileNumberRecognizer", "ZaTelephoneNumberRecognizer"}


PLACES = {
    r"^a\b$": "a",
    r"(?<=\b(?:x|(y)\)) )a(?!\d)": "a",
    r"(?:^|[^\w$^)-])(?P<key>a)(?=[)]|$)b": r"(?:|[^\w$^)-])(?P<key>a)b",
    r"\^\$\(?(a(?<!x(?=y)))\)": r"\^\$\(?(a)\)",
}


@pytest.mark.parametrize("pattern", PLACES)
def test_what_a_pattern_asks_of_the_text_around_is_left_out(pattern: str) -> None:
    assert beginnings.anywhere(pattern) == PLACES[pattern]


_ATOMS = ("a", "b", "ab", "[ab]", "[^a]", "a+", "b?", "(?:a|b1)", " ", ".", "1", ",")
PIECES = [*_ATOMS, r"\s", r"\s+", r"\s{2}", r"\b", "^", "$", r"\W", r"\d+"]
PIECES_BEYOND = [
    *PIECES,
    r"\w+",
    r"\S",
    r"[^\s]",
    r"\D",
    "é",
    "É+",
    "[à-ü]",
    "σ",
    "\u00a0",
    "[^é]",
    "你",
    "[一-龥]+",
    "，",
    ":",
    "！",
    "#",
]


_PATTERNS = st.one_of([st.lists(st.sampled_from(each), min_size=1, max_size=6).map("".join) for each in (PIECES, PIECES_BEYOND)])


@given(_PATTERNS, st.text("ab1 \n,-\u00a0\u202féÉüΣς你好，。！：#|（\ufe0f", max_size=24))
@example(r"\s{2}a", "b  a b")
@example(r"É\W a", "éü a")
@example(r"\S a", "b\u00a0 a")
@example("É a", "é a b")
@example("\u00a0a b", "b\u00a0a b")
@example(r"a$", "a\nb")
@example(r"b[^a]\b", "b 1")
@example(r"\b\W", "a- ")
@example("好，a", "你好，a b")
@example("b:a", "b：a b")
@example(",b", "你，b a")
@example("b 1", "b\u00a01 a")
@settings(max_examples=2000, deadline=None)
def test_no_match_of_a_pattern_begins_in_what_is_clear(pattern: str, text: str) -> None:
    try:
        matches = [match.start() for match in compiled(pattern).finditer(text)]
    except BadPattern:
        return
    for view in views(text):
        spans = (Span(match.start(), match.end(), "CODE_NAME", 0.9) for match in compiled(pattern).finditer(view.text) if match[0])
        matches += [view.original(span).start for span in spans]
    clear, _ = _of(_own(pattern)).clear(text, 0)
    assert all(clear <= start for start in matches)


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join), st.text("ab1 \n,", max_size=16), st.data())
@settings(max_examples=500, deadline=None)
def test_what_is_clear_does_not_depend_on_how_the_text_comes(pattern: str, text: str, data: st.DataObject) -> None:
    try:
        compiled(pattern)
    except BadPattern:
        return
    made, clear, may = _of(_own(pattern)), 0, False
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {len(text)})
    for end in cuts:
        if not may:
            clear, may = made.clear(text[:end], clear)
    assert (clear, may) == made.clear(text, 0)


@pytest.mark.parametrize("pattern", ["(?:a|aa)+c", "(a|a)*c", r"(?:\w|\w\w|\w\w\w)+!"])
def test_a_pattern_that_takes_regex_too_long_may_begin_anywhere(pattern: str) -> None:
    """RE2 takes it in linear time. Without a limit these take from seconds to years."""
    assert _of(_own(pattern)).clear(f"{'a' * beginnings.LONGEST} b ", 0) == (0, True)


# --- in a stream -----------------------------------------------------------------------------------------------------------------

CODE_NAMES = [
    (_own(r"project\s+falcon\s+\d+"), "We call it project falcon 77 here."),
    (_own(r"the (falcon) code"), "This is the falcon code for it."),
    (_own(r"\s{2}falcon"), "Two blanks  falcon there."),
    (_own("", ("Falcon Heavy Nine",)), "We have falcon heavy nine here."),
    (_own(r"(?:^|\W)red green blue"), "It is red green blue today."),
]


@pytest.mark.parametrize(("own", "text"), CODE_NAMES)
def test_a_finding_of_several_words_is_held_from_its_first_word_on(own: LinearRecognizer, text: str) -> None:
    detector = PatternDetector({"CODE_NAME": 0.5}, [own])
    out = _letter_by_letter(Scrubber(Searcher(detector, TREATMENT), _redact), text)  # type: ignore[arg-type]  # without a memory
    assert out == substituted(text, list(detector.detect(text)), _redact) != text


def _letter_by_letter(scrubber: Scrubber, text: str) -> str:
    return "".join(map(scrubber.feed, text)) + scrubber.flush()


EVERYTHING = Plan(tuple((entity, 0.4) for entity in sorted(best_scores())), layers=frozenset({"context", "code", "decode"}))


@pytest.mark.parametrize(
    "prose", [PROSE, PROSE_BEYOND, PROSE_WITHOUT_BLANKS, MARKED_UP], ids=["ASCII", "beyond", "without blanks", "marked up"]
)
@pytest.mark.parametrize("start", range(0, 120, 40))
def test_a_stream_is_scrubbed_as_the_whole_text_is(start: int, prose: str) -> None:
    everything = detector_for(EVERYTHING)
    for seed in range(start, start + 40):
        text = f"{prose}{generate(seed)}{prose}{generate(seed + 1000)}"
        whole = substituted(text, TREATMENT.apart(everything.detect(text)), _redact)
        assert _letter_by_letter(Scrubber(Searcher(everything, TREATMENT), _redact), text) == whole, f"seed {seed}"


LATE = re.compile(rf"[\s{beginnings._ENDS}]*+")


@pytest.mark.parametrize("prose", [PROSE, PROSE_BEYOND, MARKED_UP], ids=["ASCII", "beyond", "marked up"])
def test_prose_passes_word_by_word(prose: str) -> None:
    held = _held(prose * 5, re.findall(r"\S+\s+", prose * 5))
    assert all(LATE.fullmatch(each) for each in held), held


def test_prose_without_blanks_passes_from_mark_to_mark() -> None:
    held = _held(PROSE_WITHOUT_BLANKS * 5, re.findall(r".+?[，。“”「」、…]+", PROSE_WITHOUT_BLANKS * 5))
    assert all(LATE.fullmatch(each) for each in held), held


def _held(text: str, pieces: Sequence[str]) -> Sequence[str]:
    """What is held back after each piece of the text."""
    scrubber, fed, given, held = Scrubber(Searcher(detector_for(EVERYTHING), TREATMENT), _redact), "", "", []
    for piece in pieces:
        fed, given = fed + piece, given + scrubber.feed(piece)
        held.append(fed.removeprefix(given))
    assert fed == text
    return held


UNKNOWN = (r"\Qproject falcon\E", "[[:alpha:]]+ falcon", "(?i)project falcon", r"\pL+ falcon", r"\Balcon heavy", r"(?-s)a b")


@pytest.mark.parametrize("pattern", UNKNOWN)
def test_of_a_pattern_that_may_be_read_differently_nothing_is_known(pattern: str) -> None:
    assert beginnings.of([_own(pattern).beginnings]) is None
    detector = PatternDetector({"CODE_NAME": 0.5}, [_own(pattern)])
    assert Scrubber(Searcher(detector, TREATMENT), _redact).feed(PROSE[:60]) == ""  # type: ignore[arg-type]


def test_of_a_segment_that_is_blocked_nothing_is_given_out(tmp_path: Path) -> None:
    talk, _ = asked(policy(tmp_path, "response: block"))
    raw = talk.stream([event(delta(content=f"{word} ")) for word in f"Well, the address is {OTHER} as you know".split()])
    assert b"Well" not in raw
    assert b"pii.answer_blocked" in raw


def test_words_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginnings, "REMEMBERED", 8)
    made = _of(_own("falcon heavy"))
    for number in range(100):
        assert made.clear(f"word{'a' * (number % 15)} falcon x", 0)[1]
        assert len(made._known) <= 8
