"""An invoice and the ledger, compared: they agree with themselves, and whatever one has more than the other is found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.engine.usage.grouping import COLUMNS, Report
from headrace.ext_proc.engine.usage.invoice import MEASURES, InvoiceError, Line, read_invoice
from headrace.ext_proc.engine.usage.reconciling import Comparison, Reconciliation, Scope, Tolerance, Verdict, shared_name

FIRST = date(2026, 11, 1)
EXACT = Tolerance(Decimal(0), Decimal(0))


def record(day: int, model: str, *, tokens: int = 10, nano_usd: int | None = 1000, **more: str) -> dict[str, str]:
    """At noon, UTC, of a day of November 2026."""
    at = datetime(2026, 11, day, 12, tzinfo=UTC)
    money = {} if nano_usd is None else {"nano_usd": str(nano_usd)}
    told = {"at_ms": str(int(at.timestamp() * 1000)), "outcome": "settled", "model": model, "input_tokens": str(tokens)}
    return {**told, **money, **more}


def line(number: int, day: int, model: str, **amounts: str) -> Line:
    on = FIRST + timedelta(days=day - 1)
    return Line(number, on, on, model, {name: Decimal(amount) for name, amount in amounts.items()})


def compared(
    lines: Sequence[Line], records: Sequence[Mapping[str, str]], tolerance: Tolerance = EXACT, **scope: object
) -> list[Comparison]:
    found = Reconciliation(replace(Scope(("day", "model"), ("usd",)), **scope))  # type: ignore[arg-type]  # fields by name
    for one in lines:
        found.bill(one)
    for each in records:
        found.book(each)
    return list(found.comparisons(tolerance))


RECORDS = st.lists(
    st.builds(
        record,
        st.integers(1, 4),
        st.sampled_from(["gpt-4o", "claude-haiku-4-5", "llama"]),
        tokens=st.integers(0, 10**6),
        nano_usd=st.integers(0, 10**12),
        output_tokens=st.integers(0, 1000).map(str),
        outcome=st.sampled_from(["settled", "kept", "expired", "released"]),
    ),
    min_size=1,
    max_size=30,
)


def own_report(records: Sequence[Mapping[str, str]]) -> list[Line]:
    """What `headrace usage report --by day,model --format csv` says of them, read as an invoice."""
    report = Report(("day", "model"))
    for each in records:
        report.add(each)
    rows = [["day", "model", *COLUMNS], *report.rows()]
    return list(read_invoice([f"{','.join(row)}\n" for row in rows], UTC).lines)


@given(RECORDS)
def test_a_ledger_agrees_with_its_own_report_to_the_last_nano_dollar(records: list[dict[str, str]]) -> None:
    found = compared(own_report(records), records, measures=MEASURES)
    assert {one.verdict for one in found} == {Verdict.AGREES}


@given(RECORDS, st.data())
def test_one_record_more_or_less_is_found_where_it_is(records: list[dict[str, str]], data: st.DataObject) -> None:
    invoice = own_report(records)
    changed = data.draw(st.sampled_from(records))
    records.remove(changed)
    wrong = [tuple(one.key) for one in compared(invoice, records, measures=MEASURES) if one.verdict is not Verdict.AGREES]
    day = datetime.fromtimestamp(int(changed["at_ms"]) / 1000, UTC).date().isoformat()
    assert wrong == ([] if changed["outcome"] == "released" else [(day, changed["model"])])


@given(RECORDS, st.integers(2, 5))
def test_how_a_provider_splits_its_lines_does_not_matter(records: list[dict[str, str]], parts: int) -> None:
    """By key, by minute, by workspace."""
    whole = own_report(records)
    split = [replace(one, amounts={name: amount / parts for name, amount in one.amounts.items()}) for one in whole] * parts
    near = Tolerance(Decimal("1e-15"), Decimal("1e-15"))  # thirds are not exact
    assert {one.verdict for one in compared(split, records, near, measures=MEASURES)} == {Verdict.AGREES}


def test_what_only_one_side_has_is_told_by_side() -> None:
    found = compared(
        [line(2, 1, "gpt-4o", usd="1"), line(3, 2, "gpt-4o", usd="2"), line(4, 2, "o3", usd="0")],
        [record(1, "gpt-4o", nano_usd=10**9), record(2, "llama", nano_usd=5)],
    )
    assert [(*one.key, one.verdict, one.lines) for one in found] == [
        ("2026-11-01", "gpt-4o", Verdict.AGREES, [2]),
        ("2026-11-02", "gpt-4o", Verdict.UNKNOWN, [3]),
        ("2026-11-02", "llama", Verdict.UNBILLED, []),
        ("2026-11-02", "o3", Verdict.AGREES, [4]),
    ]


@pytest.mark.parametrize(
    ("invoice", "ledger", "verdict"),
    [
        ("100", "101", Verdict.AGREES),
        ("100", "98.999999999", Verdict.DIFFERS),
        ("100", "101.000000001", Verdict.DIFFERS),
        ("0.02", "0.03", Verdict.AGREES),
        ("0.02", "0.030000001", Verdict.DIFFERS),
        ("-1", "0.5", Verdict.DIFFERS),
    ],
)
def test_a_difference_counts_from_one_percent_and_one_cent_on(invoice: str, ledger: str, verdict: Verdict) -> None:
    nano_usd = int(Decimal(ledger) * 10**9)
    (found,) = compared([line(2, 1, "gpt-4o", usd=invoice)], [record(1, "gpt-4o", nano_usd=nano_usd)], Tolerance())
    assert found.verdict is verdict
    assert found.pairs[0].difference == Decimal(ledger) - Decimal(invoice)


def test_cents_are_for_money_alone() -> None:
    (found,) = compared(
        [line(2, 1, "m", requests="0")], [record(1, "m")], Tolerance(Decimal(1), Decimal(5)), measures=("requests",)
    )
    assert found.verdict is Verdict.DIFFERS


def test_what_the_ledger_only_estimates_or_has_no_price_of_is_counted() -> None:
    used = [record(1, "m"), record(1, "m", outcome="kept"), record(1, "m", outcome="expired"), record(1, "m", nano_usd=None)]
    (found,) = compared([], [*used, record(1, "m", outcome="released", nano_usd=None)])
    assert (found.estimated, found.unpriced, found.verdict) == (2, 1, Verdict.UNBILLED)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Claude Sonnet 4.5", "claude-sonnet-4-5-20250929"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("claude-3-5-haiku-latest", "Claude 3.5 Haiku"),
        ("", "(none)"),
    ],
)
def test_names_of_one_model_are_one(one: str, other: str) -> None:
    assert shared_name(one) == shared_name(other)


@pytest.mark.parametrize(
    ("one", "other"), [("gpt-4o", "gpt-4o-mini"), ("mistral-large-2407", "mistral-large"), ("gpt-4.1", "gpt-4"), ("o3", "o1")]
)
def test_names_of_two_models_are_two(one: str, other: str) -> None:
    assert shared_name(one) != shared_name(other)


def test_other_names_are_told() -> None:
    names = {"gpt 4o Inp Tokens": "fast", "gpt 4o Outp Tokens": "Fast"}
    lines = [line(2, 1, "gpt 4o Inp Tokens", usd="1"), line(3, 1, "gpt 4o Outp Tokens", usd="2")]
    (found,) = compared(lines, [record(1, "fast", nano_usd=3 * 10**9)], names=names)
    assert (found.key, found.verdict) == (("2026-11-01", "fast"), Verdict.AGREES)


@pytest.mark.parametrize(("served", "expected"), [("gpt-4o", "gpt-4o"), ("gpt-*", "asked"), ("", "asked")])
def test_the_model_that_served_is_billed(served: str, expected: str) -> None:
    (found,) = compared([], [record(1, "asked", served=served)])
    assert found.key == ("2026-11-01", expected)


def test_days_are_those_of_the_zone() -> None:
    found = Reconciliation(Scope(("day",), ("usd",), ZoneInfo("Asia/Tokyo")))
    found.bill(line(2, 2, "m", usd="0.000001"))
    start, end = found.span or (0, 0)
    assert datetime.fromtimestamp(start / 1000, UTC) == datetime(2026, 11, 1, 15, tzinfo=UTC)
    assert end - start == 86_400_000
    found.book({**record(1, "m"), "at_ms": str(start)})
    (one,) = found.comparisons(EXACT)
    assert one.verdict is Verdict.AGREES


def test_only_the_days_that_are_asked_for_count() -> None:
    lines = [line(2, 1, "m", usd="1"), line(3, 2, "m", usd="1"), line(4, 3, "m", usd="1")]
    (found,) = compared(lines, [], start=date(2026, 11, 2), end=date(2026, 11, 3))
    assert found.lines == [3]


def test_a_line_of_many_days_is_compared_without_days() -> None:
    month = replace(line(7, 1, "m", usd="1"), last=date(2026, 11, 30))
    with pytest.raises(InvoiceError, match="covers 2026-11-01 to 2026-11-30; ask the provider for an export by the day"):
        compared([month], [])
    with pytest.raises(InvoiceError, match="of which only a part is asked for"):
        compared([month], [], by=("model",), start=date(2026, 11, 2))
    (found,) = compared([month], [record(30, "m", nano_usd=10**9)], by=("model",))
    assert (found.key, found.verdict) == (("m",), Verdict.AGREES)


def test_of_many_lines_the_first_are_named() -> None:
    (found,) = compared([line(number, 1, "m", usd="1") for number in range(2, 102)], [])
    assert (found.lines, found.line_count) == ([2, 3, 4, 5, 6], 100)
