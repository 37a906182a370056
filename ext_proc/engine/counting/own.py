"""Tokenizers and templates of the operator's own. The libraries that read them are large, and most policies need none."""

from pathlib import Path

from headrace.ext_proc.engine.counting.counter import Counter
from headrace.ext_proc.engine.counting.templates import Template
from headrace.ext_proc.engine.policy.models import TemplateFile, TokenizerFile


def tokenizer_of(base: Path, named: TokenizerFile) -> Counter:
    """base: what its path is relative to. Raises OSError or ValueError, which says what is wrong with the file."""
    from headrace.ext_proc.engine.counting.files import from_file

    return from_file(base / named.file)


def template_of(base: Path, named: TemplateFile) -> Template:
    """base: what its paths are relative to. Raises OSError or ValueError, which says what is wrong with a file."""
    from headrace.ext_proc.engine.counting.jinja import template_from

    return template_from(base / named.file, base / named.config if named.config else None)
