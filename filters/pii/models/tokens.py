"""The tokenizer of a model in Hugging Face's layout."""

from pathlib import Path

from tokenizers import Tokenizer


def tokenizer_of(directory: Path) -> Tokenizer:
    """One that neither pads nor truncates. Raises what the package raises for a file that is none."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
