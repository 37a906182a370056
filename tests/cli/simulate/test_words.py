"""The pool's words and its prompt counts, against tiktoken-independent facts and the published formula."""

import toktok
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.cli.simulate import prompt, words


def test_every_word_is_one_token_at_the_start_and_after_a_blank() -> None:
    texts = [form for word in words.VOCABULARY for form in (word, f" {word}")]
    for encoding in ("o200k_base", "cl100k_base"):
        assert set(toktok.batch_count(texts, encoding)) == {1}


@given(st.integers(0, 300), st.integers(0, 40))
def test_the_streamed_text_counts_as_many_tokens_as_were_said(tokens: int, start: int) -> None:
    said = words.babble(tokens, start)
    assert words.count(words.join(said)) == words.total(said) == tokens


@given(st.text(st.characters(codec="utf-8")))
def test_spelling_keeps_the_text_and_its_count(text: str) -> None:
    pieces = words.spell(text)
    assert words.join(pieces) == text
    assert words.total(pieces) == words.count(text)


def test_a_character_of_several_tokens_is_one_piece() -> None:
    pieces = words.spell("a 🪨")
    assert pieces[0].text == "a"
    assert words.total(pieces) > len(pieces)


def test_a_cut_never_exceeds_the_cap() -> None:
    pieces = words.spell("🪨🪨")
    assert words.total(words.cut(pieces, 4)) <= 4
    assert words.cut(pieces, None) == pieces


def test_the_cookbooks_example_has_the_cookbooks_count() -> None:
    """The example of "How to count tokens with tiktoken": 124 prompt tokens for gpt-4o, as its API confirmed."""
    example = [
        ("system", None, "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."),
        ("system", "example_user", "New synergies will help drive top-line growth."),
        ("system", "example_assistant", "Things working well together will increase revenue."),
        (
            "system",
            "example_user",
            "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        ),
        ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
        ("user", None, "This late pivot means we don't have time to boil the ocean for the client deliverable."),
    ]
    assert sum(prompt.message(role, text, name) for role, name, text in example) + prompt.PRIMER == 124


def test_the_cookbooks_function_example_has_the_cookbooks_count() -> None:
    """Its weather example: 101 prompt tokens for gpt-4o."""
    schema = {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {"type": "string", "description": "The unit of temperature to return", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["location"],
    }
    messages = [
        prompt.message("system", "You are a helpful assistant that can answer to questions about the weather."),
        prompt.message("user", "What's the weather like in San Francisco?"),
    ]
    offered = [("get_current_weather", "Get the current weather in a given location", schema)]
    assert sum(messages) + prompt.PRIMER + prompt.functions(offered) == 101
