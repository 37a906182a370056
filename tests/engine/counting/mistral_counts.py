"""Prints chats with the tokens that mistral-common counts of them, one JSON array a line: version, chat, tokens.

    pip install mistral-common==1.13.1 && python -m tests.engine.counting.mistral_counts > tests/engine/counting/mistral.jsonl

mistral-common pins an older numpy than this project, so that it is no dependency of the tests. The tokenizer is the tests' small
tekken.json, or the file that is named on the command line.
"""

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.tokenizer_files import tekken, write

VERSIONS = ("v3", "v7", "v11", "v13", "v15")
WORDS = ["the", " you", "naming", "Straße", " 東京", "🧑‍🚀", "don't", "1234", "<s>", "[INST]", "\n", "\n\n"]
WORDS += ["  ", "\t", '{"name": 1}', " "]
FUNCTIONS: list[dict[str, Any]] = [
    {"name": "weather", "description": "Tells it", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    {"name": "now", "parameters": {}},
    {"name": "x", "description": None, "strict": True, "parameters": {"type": "object"}},
]


class Chats:
    """Random ones, of a seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def chat(self, version: str) -> dict[str, Any]:
        chance = self._chance
        messages = [{"role": "system", "content": self._content()} for _ in range(chance.choice([0, 1, 1, 2]))]
        for _ in range(chance.randint(0, 2)):
            messages += [{"role": "user", "content": self._content()} for _ in range(chance.choice([1, 1, 2]))]
            if chance.random() < 0.4:
                messages += self._called(version)
            messages.append({"role": "assistant", "content": self._text().strip() or "x"})
        messages += [{"role": "user", "content": self._content()} for _ in range(chance.choice([1, 1, 2]))]
        tools = [{"type": "function", "function": function} for function in chance.sample(FUNCTIONS, chance.choice([0, 0, 1, 3]))]
        effort = {"reasoning_effort": "high"} if version == "v15" and chance.random() < 0.5 else {}
        return {"model": "m", "messages": messages, **({"tools": tools} if tools else {}), **effort}

    def _text(self) -> str:
        return "".join(self._chance.choice(WORDS) for _ in range(self._chance.randint(1, 8)))

    def _content(self) -> Any:
        if self._chance.random() < 0.7:
            return self._text()
        return [{"type": "text", "text": self._text()} for _ in range(self._chance.randint(1, 3))]

    def _called(self, version: str) -> list[dict[str, Any]]:
        chance = self._chance
        ids = ["".join(chance.choice("abcXYZ019") for _ in range(9)) for _ in range(chance.randint(1, 2))]
        arguments = ['{"city": "Köln"}', '{"city":"X","n":[1,2.5,null]}', "{}", ""]
        calls = [
            {"id": id, "type": "function", "function": {"name": "weather", "arguments": chance.choice(arguments)}} for id in ids
        ]
        said = "" if version == "v3" or chance.random() < 0.5 else self._text()
        results = ['{"t":21}', "sunny", self._text(), "[1, 2]"]
        return [
            {"role": "assistant", "content": said, "tool_calls": calls},
            *({"role": "tool", "tool_call_id": id, "name": "weather", "content": chance.choice(results)} for id in ids),
        ]


def main() -> None:
    from mistral_common.protocol.instruct.request import ChatCompletionRequest  # type: ignore[import-not-found,unused-ignore]
    from mistral_common.tokens.tokenizers.base import SpecialTokens  # type: ignore[import-not-found,unused-ignore]
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer  # type: ignore[import-not-found,unused-ignore]

    given = json.loads(Path(sys.argv[1]).read_bytes()) if sys.argv[1:] else None
    special = [{"rank": rank, "token_str": token.value, "is_control": True} for rank, token in enumerate(SpecialTokens)]
    chats = Chats(5)
    with tempfile.TemporaryDirectory() as folder:
        for version in VERSIONS:
            file = {**tekken(version), "special_tokens": special}
            if given is not None:
                file |= {"config": {**given["config"], "version": version}, "vocab": given["vocab"]}
            tokenizer = MistralTokenizer.from_file(str(write(Path(folder) / f"tekken_{version}.json", file)))
            for _ in range(30):
                chat = chats.chat(version)
                request = ChatCompletionRequest.from_openai(**json.loads(json.dumps(chat)))
                print(json.dumps([version, chat, len(tokenizer.encode_chat_completion(request).tokens)], ensure_ascii=False))


if __name__ == "__main__":
    main()
