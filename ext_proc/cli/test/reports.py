"""Results of test files, for people, for programs, and as JUnit XML for CI."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headrace.ext_proc.cli.test.reached import unreached
from headrace.ext_proc.cli.test.running import CaseResult, FileResult

_NO_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def lines(results: Sequence[FileResult], *, trace: bool) -> Iterator[str]:
    """trace: what each filter said, for every case; without it, for those that failed."""
    for result in results:
        yield from map(str, result.problems)
        for case in result.cases:
            yield f"{'ok  ' if not case.problems else 'FAIL'}  {case.name}"
            yield from (f"      {problem}" for problem in case.problems)
            if trace or case.problems:
                yield from (f"        {line}" for line in _trace(case))
        yield from (f"not reached  {rule}" for rule in rules_left(result))
    yield _sum(results)


def _trace(case: CaseResult) -> Iterator[str]:
    from headrace.ext_proc.telemetry import phrases

    for step in case.record.get("steps", ()):
        if step.get("note") or step["reason"]:
            yield f"{step['filter']:<10} {phrases.step(step)}"


def rules_left(result: FileResult) -> Sequence[str]:
    """Rules of the file's policy that none of its cases reached."""
    return [] if result.policy is None else unreached(result.policy, [case.record for case in result.cases])


def _sum(results: Sequence[FileResult]) -> str:
    cases = [case for result in results for case in result.cases]
    failed = sum(bool(case.problems) for case in cases)
    left = sum(len(rules_left(result)) for result in results)
    unplayed = sum(bool(result.problems) for result in results)
    told = [f"{len(cases) - failed} passed", f"{failed} failed"]
    told += [f"{unplayed} of {len(results)} files could not be played"] if unplayed else []
    told += [f"{left} rules not reached"] if left else []
    return ", ".join(told)


def document(results: Sequence[FileResult]) -> Mapping[str, Any]:
    """What `--json` prints."""
    return {"passed": all(result.passed for result in results), "files": [_file(result) for result in results]}


def _file(result: FileResult) -> Mapping[str, Any]:
    return {
        "file": str(result.path),
        "passed": result.passed,
        "problems": [asdict(problem) for problem in result.problems],
        "cases": [_case(case) for case in result.cases],
        "not_reached": list(rules_left(result)),
    }


def _case(case: CaseResult) -> Mapping[str, Any]:
    problems = [asdict(problem) for problem in case.problems]
    kept = {"line": case.line, "passed": not problems, "problems": problems}
    return {"name": case.name, **kept, "seconds": round(case.seconds, 4), "steps": case.record.get("steps", [])}


def junit(results: Sequence[FileResult]) -> str:
    """As CI systems read it: a suite for each file; a file that cannot be played is a case with an error."""
    root = ElementTree.Element("testsuites", name="headrace test")
    for result in results:
        _suite(root, result)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(root: ElementTree.Element, result: FileResult) -> None:
    counts = {
        "tests": len(result.cases) + bool(result.problems),
        "failures": sum(bool(case.problems) for case in result.cases),
        "errors": int(bool(result.problems)),
    }
    seconds = f"{sum(case.seconds for case in result.cases):.4f}"
    suite = ElementTree.SubElement(root, "testsuite", _texts({"name": str(result.path), **counts, "time": seconds}))
    if result.problems:
        node = ElementTree.SubElement(suite, "testcase", _texts({"classname": result.path, "name": "the files can be used"}))
        _words(ElementTree.SubElement(node, "error", message=str(result.problems[0])), result.problems)
    for case in result.cases:
        given = {"classname": result.path, "name": case.name, "file": result.path, "line": case.line, "time": f"{case.seconds:.4f}"}
        node = ElementTree.SubElement(suite, "testcase", _texts(given))
        if case.problems:
            _words(ElementTree.SubElement(node, "failure", message=_plain(str(case.problems[0]))), case.problems)


def _texts(members: Mapping[str, Any]) -> dict[str, str]:
    return {name: _plain(str(value)) for name, value in members.items()}


def _words(node: ElementTree.Element, told: Sequence[Any]) -> None:
    node.text = _plain("\n".join(map(str, told)))


def _plain(text: str) -> str:
    """Characters that XML does not know are left out."""
    return _NO_XML.sub("", text)
