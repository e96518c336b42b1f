"""As_of days as a table, and the calendar of which of them see a date."""

from datetime import date, timedelta

import ibis
import pytest

from crm_assets.mining.as_of_days import as_of_chunks, as_of_table, calendar

FIRST, SECOND = date(2020, 1, 31), date(2020, 2, 29)


def test_chunks_cover_each_day_once():
    days = [FIRST - timedelta(back) for back in range(8)]
    chunks = list(as_of_chunks([*days, *days], 3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 2]
    assert [day for chunk in chunks for day in chunk] == sorted(days)


def test_as_of_days_are_numbered_in_order_and_count_once():
    table = ibis.duckdb.connect().to_pyarrow(as_of_table([SECOND, FIRST, SECOND]).order_by("number"))
    assert table.to_pylist() == [{"as_of": FIRST, "number": 0}, {"as_of": SECOND, "number": 1}]


@pytest.mark.parametrize(
    ("day", "first", "after_week", "after_month"),
    [
        (FIRST - timedelta(7), 0, 0, 1),
        (FIRST - timedelta(6), 0, 1, 1),
        (FIRST, 0, 1, 2),
        (FIRST + timedelta(1), 1, 1, 2),
        (SECOND, 1, 2, 2),
        (SECOND + timedelta(1), 2, 2, 2),
    ],
)
def test_a_calendar_gives_the_as_of_days_that_see_a_date(day, first, after_week, after_month):
    connection = ibis.duckdb.connect()
    dates = connection.create_table("dates", schema={"day": "date"})
    connection.raw_sql(f"INSERT INTO dates VALUES ('{day}')")
    found = connection.to_pyarrow(calendar(dates, as_of_table([FIRST, SECOND]), [7, 30])).to_pylist()
    assert found == [{"day": day, "first": first, "after_7": after_week, "after_30": after_month}]
