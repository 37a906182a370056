"""A reconciliation as a table for people, as CSV, as JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from headrace.ext_proc.cli.usage.printing import aligned
from headrace.ext_proc.engine.usage.reconciling import Comparison, Pair, Scope, Verdict

Print = Callable[[Scope, Sequence[Comparison], Comparison, bool], str]

_NUMBERS = ("invoice", "ledger", "difference")


def table(scope: Scope, comparisons: Sequence[Comparison], total: Comparison, every: bool) -> str:
    """What differs, or with `every` all of it; then the totals, and a sentence."""
    head = [*scope.by, "lines", "verdict", "what", *_NUMBERS, "%", "estimated"]
    shown = [(one, pair) for one in comparisons for pair in one.pairs if every or not pair.agrees]
    body = [_row(one, pair, _lines(one), one.verdict) for one, pair in shown]
    totals = [_row(total, pair, "", "") for pair in total.pairs]
    return aligned([head, *body, *totals], len(scope.by) + 3) + "".join(f"{line}\n" for line in _said(comparisons, total))


def _row(one: Comparison, pair: Pair, lines: str, verdict: str) -> Sequence[str]:
    return [*one.key, lines, verdict, pair.measure, *map(_grouped, _numbers(pair)), _percent(pair), f"{one.estimated:,}"]


def _said(comparisons: Sequence[Comparison], total: Comparison) -> Iterator[str]:
    agreeing = sum(one.verdict is Verdict.AGREES for one in comparisons)
    yield f"{agreeing} of {len(comparisons)} agree"
    if total.estimated:
        yield f"estimated: {total.estimated:,} of {total.requests:,} requests are in the ledger as reserved, without reported usage"
    if total.unpriced:
        yield f"unpriced: {total.unpriced:,} of {total.requests:,} requests have no price in the ledger"


def _lines(one: Comparison) -> str:
    more = one.line_count - len(one.lines)
    return ",".join(map(str, one.lines)) + (f" and {more} more" if more else "")


def _numbers(pair: Pair) -> Sequence[Decimal]:
    return (pair.invoice, pair.ledger, pair.difference)


def _grouped(number: Decimal) -> str:
    return f"{_short(number):,f}"


def _short(number: Decimal) -> Decimal:
    """Without zeros at the end."""
    return number.quantize(Decimal(1)) if number == number.to_integral_value() else number.normalize()


def _percent(pair: Pair) -> str:
    """Of the invoice."""
    return f"{pair.difference / pair.invoice * 100:+.2f}" if pair.invoice else ""


def as_csv(scope: Scope, comparisons: Sequence[Comparison], total: Comparison, every: bool) -> str:
    """All of it, one line for each measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*scope.by, "verdict", "what", *_NUMBERS, "agrees", "estimated", "unpriced", "lines"])
    for one in comparisons:
        for pair in one.pairs:
            numbers = [f"{_short(number):f}" for number in _numbers(pair)]
            told = [str(pair.agrees).lower(), one.estimated, one.unpriced, _lines(one)]
            writer.writerow([*one.key, one.verdict, pair.measure, *numbers, *told])
    return out.getvalue()


def as_json(scope: Scope, comparisons: Sequence[Comparison], total: Comparison, every: bool) -> str:
    """All of it; counts as numbers, money as decimal strings."""
    groups = [{**dict(zip(scope.by, one.key, strict=True)), **_document(one)} for one in comparisons]
    return json.dumps({"by": list(scope.by), "groups": groups, "total": _document(total)}, indent=2) + "\n"


def _document(one: Comparison) -> Mapping[str, object]:
    return {
        "verdict": one.verdict,
        "lines": list(one.lines),
        "line_count": one.line_count,
        "estimated": one.estimated,
        "unpriced": one.unpriced,
        **{pair.measure: _members(pair) for pair in one.pairs},
    }


def _members(pair: Pair) -> Mapping[str, object]:
    spelled = [f"{_short(number):f}" if pair.measure == "usd" else int(number) for number in _numbers(pair)]
    return {**dict(zip(_NUMBERS, spelled, strict=True)), "agrees": pair.agrees}


PRINTED: Mapping[str, Print] = {"table": table, "csv": as_csv, "json": as_json}
