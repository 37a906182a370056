"""A simulated GPU pool: an LLM server without a model, for `headrace demo` and the end-to-end tests.

It speaks OpenAI chat completions, completions, responses and embeddings, and Anthropic messages, JSON and SSE. What it
generates is meaningless, what it counts is exact: prompts by OpenAI's cookbook formula over o200k_base, answers by the
tokens of the text it sent. It keeps books: what arrived (to the byte) and how many tokens were generated for it.

    async with SimulatedPool("standard") as pool:          # a free port of loopback; uds=path for a Unix socket
        ...                                                # client → pool.url
        assert pool.books.entries[-1].completion_tokens == 16

    python -m headrace.ext_proc.cli.simulate --port 9001   # the same as a process; its books at GET /books

A request says how it is to be answered in the header `x-simulate` (see `script.Script`).
"""

from .books import Books, Entry, Outcome
from .script import HEADER, Script, parse
from .server import SimulatedPool

__all__ = ["HEADER", "Books", "Entry", "Outcome", "Script", "SimulatedPool", "parse"]
