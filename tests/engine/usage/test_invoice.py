"""Invoices of every form: what is read, and what is refused with the line and the reason."""

from collections.abc import Mapping
from datetime import UTC, date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.engine.usage.invoice import InvoiceError, Line, form_of, read_invoice

# The columns' names and order are those of exports from the dashboards; the values are made up.
OPENAI_USAGE = """\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,api_key_id,model,\
input_tokens,output_tokens,input_cached_tokens
1793491200,1793577600,2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,,,,,,,
1793577600,1793664000,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,proj_1,3.0,key_1,gpt-4o-2024-08-06,7162,1673,1280
"""
OPENAI_COSTS = """\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,project_id
1793577600,1793664000,2026-11-02T00:00:00,2026-11-03T00:00:00,0.003835980000000000000000000000,usd,,,\
"gpt-4o-2024-08-06, cached input",
1793577600,1793664000,2026-11-02T00:00:00,2026-11-03T00:00:00,-1.5,usd,,,credit,
1793577600,1793664000,2026-11-02T00:00:00,2026-11-03T00:00:00,2,usd,,,"o3, batch, output",
"""
ANTHROPIC_USAGE = """\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,\
usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed
2026-11-02,claude-haiku-4-5-20251001,demo,Default,standard,≤ 200k,1000,200,30,4,500,0,not_available,
"""
ANTHROPIC_COST = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed
2026-11-02,Claude Haiku 4.5,Default,demo,message,≤ 200k,input_no_cache,0.05,0.05,token,not_available,
"""
OWN = """\
day,model,requests,released,input_tokens,cached_tokens,output_tokens,reasoning_tokens,usd
2026-11-02,gpt-4o,2,1,300,0,40,0,0.00115
"""
DAY = date(2026, 11, 2)


def lines(text: str, form: Mapping[str, str] | None = None, zone: str = "UTC") -> list[Line]:
    return list(read_invoice(text.splitlines(keepends=True), ZoneInfo(zone), form_of(form) if form else None).lines)


def amounts(**counts: int | str) -> dict[str, Decimal]:
    return {name: Decimal(count) for name, count in counts.items()}


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (
            OPENAI_USAGE,
            "OpenAI, usage",
            [(3, "gpt-4o-2024-08-06", amounts(requests=3, input_tokens=7162, cached_tokens=1280, output_tokens=1673))],
        ),
        (
            OPENAI_COSTS,
            "OpenAI, costs",
            [(2, "gpt-4o-2024-08-06", amounts(usd="0.00383598")), (3, "credit", amounts(usd="-1.5")), (4, "o3", amounts(usd=2))],
        ),
        (
            ANTHROPIC_USAGE,
            "Anthropic, usage",
            [(2, "claude-haiku-4-5-20251001", amounts(input_tokens=1234, cached_tokens=4, output_tokens=500))],
        ),
        (ANTHROPIC_COST, "Anthropic, cost", [(2, "Claude Haiku 4.5", amounts(usd="0.05"))]),
        (
            OWN,
            "columns named as here",
            [(2, "gpt-4o", amounts(requests=2, input_tokens=300, cached_tokens=0, output_tokens=40, usd="0.00115"))],
        ),
    ],
    ids=["openai usage", "openai costs", "anthropic usage", "anthropic cost", "own"],
)
def test_each_form_is_known_by_its_header(text: str, name: str, expected: list[tuple[int, str, dict[str, Decimal]]]) -> None:
    invoice = read_invoice(text.splitlines(keepends=True), UTC)
    assert invoice.form.name == name
    found = list(invoice.lines)
    assert [(line.number, line.model, dict(line.amounts)) for line in found] == expected
    assert {(line.first, line.last) for line in found} == {(DAY, DAY)}
    assert set(invoice.measures) == set(expected[0][2])


def test_any_other_file_is_read_by_the_columns_that_are_named() -> None:
    text = "ChargePeriodStart,SkuMeter,BilledCost,day\n2026-11-02T23:30:00Z,gpt 4o Inp Tokens,1e-3,ignored\n"
    columns = {"day": "ChargePeriodStart", "model": "SkuMeter", "usd": "BilledCost"}
    assert lines(text, columns) == [Line(2, DAY, DAY, "gpt 4o Inp Tokens", amounts(usd="0.001"))]


@pytest.mark.parametrize(
    ("at", "zone", "expected"),
    [
        ("2026-11-02T23:30:00Z", "Europe/Berlin", "2026-11-03"),
        ("2026-11-02T23:30:00", "Europe/Berlin", "2026-11-02"),
        ("2026-11-02 23:30:00+00:00", "America/New_York", "2026-11-02"),
        ("1793664000", "UTC", "2026-11-03"),
        ("1793664000", "America/New_York", "2026-11-02"),
        ("2026-11-02", "Asia/Tokyo", "2026-11-02"),
    ],
)
def test_a_time_is_of_the_day_that_the_zone_says(at: str, zone: str, expected: str) -> None:
    (line,) = lines(f"day,requests\n{at},1\n", zone=zone)
    assert line.first.isoformat() == expected


def test_a_line_may_cover_many_days() -> None:
    (line,) = lines("start_time,end_time,amount_value\n1793491200,1796083200,7\n")
    assert (line.first, line.last) == (date(2026, 11, 1), date(2026, 11, 30))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "a header of no form that is known"),
        ("foo,bar\n1,2\n", 1, "it has 'foo', 'bar'"),
        ("day,model,usd,usd\n", 1, "two columns are named 'usd'"),
        ("day,model\n2026-11-02,gpt-4o\n", 1, "no column has an amount"),
        ("day,usd\n2026-11-02,1.234,50\n", 2, "3 cells under a header of 2"),
        ("day,usd\n2026-11-02\n", 2, "1 cells under a header of 2"),
        ('day,usd\n2026-11-02,"1.5\n', 2, "not CSV: unexpected end of data"),
        ("day,usd\n2026-11-02,$3\n", 2, "usd: '$3' is no amount such as 1234.50"),
        ("day,usd\n2026-11-02,nan\n", 2, "usd: 'nan' is no amount"),
        ("day,usd\n2026-11-02,1e99\n", 2, "usd: '1e99' is no amount"),
        ("day,usd\n2026-11-02,9e12\n", 2, "usd: '9e12' is no amount"),
        ("day,requests\n2026-11-02,1.5\n", 2, "requests: '1.5' is no count such as 1200"),
        ("day,requests\n2026-11-02,-1\n", 2, "requests: '-1' is no count"),
        ("day,usd\nNovember,1\n", 2, "day: 'November' is no day or time such as 2026-11-01"),
        ("day,usd\n0001-01-01T00:00:00+14:00,1\n", 2, "is no day or time"),
        ("day,usd\n,1\n", 2, "day: '' is no day or time"),
        ("day,model,usd\n2026-11-02,\x1b[31m,1\n", 2, r"model: '\x1b[31m' is no name"),
        (f"day,model,usd\n2026-11-02,{'m' * 201},1\n", 2, "up to 200 printable characters"),
        (OPENAI_COSTS.replace(",usd,", ",eur,"), 2, "amount_currency: 'eur' is not usd"),
        ("start_time,end_time,amount_value\n1793664000,1793577600,7\n", 2, "end_time: ends before it begins, on 2026-11-03"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(InvoiceError) as caught:
        lines(text)
    assert caught.value.line == line
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "said"), [({"cost": "a"}, "'cost' is none of day, model"), ({"usd": "a"}, "which column has the day")]
)
def test_columns_are_named_by_what_they_hold(columns: Mapping[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        form_of(columns)


def test_a_column_that_is_named_and_not_there_is_said() -> None:
    with pytest.raises(InvoiceError, match="there is no column 'Cost'; there are 'Date'"):
        lines("Date\n", {"day": "Date", "usd": "Cost"})


HEADERS = st.sampled_from([text.partition("\n")[0] for text in (OPENAI_USAGE, OPENAI_COSTS, ANTHROPIC_COST, OWN)])
CELLS = st.one_of(st.text(max_size=8), st.sampled_from(["1793577600", "2026-11-02", "usd", "3.0", "1e9", "0.5", "gpt-4o"]))


@given(header=HEADERS, data=st.data())
def test_whatever_the_file_holds_lines_are_bounded_or_it_is_refused(header: str, data: st.DataObject) -> None:
    row = data.draw(st.lists(CELLS, min_size=header.count(","), max_size=header.count(",") + 1))
    try:
        found = lines(f"{header}\n{','.join(row)}\n")
    except InvoiceError as error:
        assert str(error).isprintable()
        return
    for line in found:
        assert line.first <= line.last and line.model.isprintable()
        assert all(amount.is_finite() and abs(amount) < 2**55 for amount in line.amounts.values())
