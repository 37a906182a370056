"""The process that runs a model: `python -m headrace.filters.pii.models.worker`. Frames of msgpack on standard input and output.

The first frame names the models; the answer to it their entities, or why they cannot be loaded. Every further frame is a list of
segments; its answer one list of findings for each. It ends with its input. It writes nothing of a text anywhere.
"""

import os
import sys
from typing import BinaryIO

import msgspec

from headrace.ext_proc.engine.memory import give_back
from headrace.filters.pii.models.ensemble import Ensemble, load
from headrace.filters.pii.models.frames import BACKGROUND, Loaded, read_frame, write_frame
from headrace.filters.pii.models.names import Model

# A third of the processor's time beside one process of the usual priority: long texts are read on a busy machine, too.
_NICENESS = 5


def main() -> None:
    if BACKGROUND in sys.argv[1:]:
        os.nice(_NICENESS)
    frames, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not break the frames
    first = read_frame(frames)
    if first is None:
        return
    try:
        ensemble = load(msgspec.msgpack.decode(first, type=list[Model]))
    except Exception as error:  # noqa: BLE001 - whatever third parties raise is told to the parent, which says it to the operator
        write_frame(answers, msgspec.msgpack.encode(Loaded(problem=f"{type(error).__name__}: {error}")))
        return
    give_back()
    write_frame(answers, msgspec.msgpack.encode(Loaded(entities=ensemble.entities)))
    serve(ensemble, frames, answers)


def serve(ensemble: Ensemble, frames: BinaryIO, answers: BinaryIO) -> None:
    """Answers every frame until there is none."""
    while (frame := read_frame(frames)) is not None:
        texts = msgspec.msgpack.decode(frame, type=list[str])
        write_frame(answers, msgspec.msgpack.encode(ensemble.find(texts)))


if __name__ == "__main__":
    main()
