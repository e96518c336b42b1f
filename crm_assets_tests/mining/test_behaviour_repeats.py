"""Repeat rates and gaps: published figures, and a few customers a person can follow."""

from datetime import date, timedelta

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm_assets.contracts.behaviour import BEHAVIOUR_GAPS, BEHAVIOUR_REPEATS
from crm_assets.mining.behaviour_repeats import order_gaps, product_limit, repeat_curves

FIRST = date(2024, 1, 1)


def days_table(rows):
    """Customer, day by its number, and orders."""
    types = pa.schema({"customer_id": pa.string(), "day": pa.date32(), "orders": pa.int64()})
    values = [{"customer_id": who, "day": FIRST + timedelta(n), "orders": orders} for who, n, orders in rows]
    return ibis.memtable(pa.Table.from_pylist(values, schema=types))


def curves(rows, as_of, numbers=(2, 3)):
    frame = repeat_curves(days_table(rows), FIRST + timedelta(as_of), numbers)
    assert list(frame.columns) == list(BEHAVIOUR_REPEATS.by_name)
    return {(row.order_number, row.days): row for row in frame.itertuples()}


def test_the_curve_of_freireich_and_others_is_the_published_one():
    """Weeks of remission with 6-MP (1963), as in Kalbfleisch and Prentice; a plus of the paper is a censored time."""
    events = np.bincount([6, 6, 6, 7, 10, 13, 16, 22, 23], minlength=36)
    censored = np.bincount([6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35], minlength=36)
    curve = product_limit(events, censored)
    survival = {week: round(1 - float(curve.share[week]), 4) for week in (6, 7, 10, 13, 16, 22, 23)}
    assert survival == {6: 0.8571, 7: 0.8067, 10: 0.7529, 13: 0.6902, 16: 0.6275, 22: 0.5378, 23: 0.4482}
    assert [curve.at_risk[week] for week in (6, 7, 10, 13, 16, 22, 23)] == [21, 17, 15, 12, 11, 7, 6]
    low, high = 1 - curve.high, 1 - curve.low
    assert [round(float(end), 4) for end in (low[10], high[10])] == [0.5032, 0.8894]


def test_who_was_not_seen_long_enough_counts_as_long_as_seen():
    # Ann's second order comes on the second day after her first; Bob is seen for one day only, Cid for three.
    rows = curves([("ann", 0, 1), ("ann", 2, 1), ("bob", 2, 1), ("cid", 0, 1)], as_of=3)
    assert (rows[2, 1].at_risk, rows[2, 1].ordered, rows[2, 1].share) == (3, 0, 0.0)
    assert (rows[2, 2].at_risk, rows[2, 2].ordered, rows[2, 2].share) == (2, 1, 0.5)
    assert rows[2, 3].share == 0.5
    assert rows[3, 3].share == 0.0


def test_a_later_order_is_never_likelier_than_an_earlier_one():
    # Bob was seen for two days: half are known to have ordered twice, and of Ann alone, on day 3, all three times.
    rows = curves([("ann", 0, 1), ("ann", 1, 1), ("ann", 3, 1), ("bob", 12, 1)], as_of=14)
    assert (rows[3, 3].at_risk, rows[3, 3].ordered) == (1, 1)
    assert [rows[number, 3].share for number in (2, 3)] == [0.5, 0.5]
    assert (rows[3, 3].low, rows[3, 3].high) == (rows[2, 3].low, rows[2, 3].high)


def test_an_order_is_a_day_with_an_order_and_returns_are_none():
    rows = curves([("ann", 0, 1), ("ann", 0, 2), ("ann", 1, 0), ("ann", 2, 3)], as_of=4)
    assert [rows[2, day].share for day in (1, 2, 3)] == [0.0, 1.0, 1.0]
    assert rows[3, 4].share == 0.0


def test_later_orders_are_not_seen():
    days = [("ann", 0, 1), ("ann", 2, 1)]
    assert curves(days, as_of=1)[2, 1].share == 0.0
    assert max(day for _, day in curves(days, as_of=1)) == 1


def test_without_orders_there_is_no_row():
    assert curves([("ann", 0, 0)], as_of=5) == {}
    assert order_gaps(days_table([]), FIRST).empty


def test_gaps_are_counted_by_length_and_open_ones_apart():
    frame = order_gaps(days_table([("ann", 0, 1), ("ann", 2, 1), ("ann", 3, 1), ("bob", 1, 1)]), FIRST + timedelta(4))
    assert list(frame.columns) == list(BEHAVIOUR_GAPS.by_name)
    assert frame[["days", "gaps", "share", "cumulative_share", "open_gaps"]].to_numpy().tolist() == [
        [0, 0, 0.0, 0.0, 0],
        [1, 1, 0.5, 0.5, 1],
        [2, 1, 0.5, 1.0, 0],
        [3, 0, 0.0, 1.0, 1],
    ]
    # Of four orders all could be followed for a day, two for two days.
    assert frame["returned_share"].tolist() == pytest.approx([0, 1 / 4, 1 - 3 / 4 * 1 / 2, 1 - 3 / 4 * 1 / 2])


orders = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12), st.integers(0, 2)), max_size=20)


@settings(max_examples=15, deadline=None)
@example([("a", 0, 1), ("a", 1, 1), ("a", 3, 1), ("b", 12, 1)])
@given(orders)
def test_curves_rise_and_later_orders_lie_below(days):
    rows = curves(days, as_of=14)
    for (number, day), row in rows.items():
        assert 0 <= row.low <= row.share <= row.high <= 1
        assert (number, day - 1) not in rows or rows[number, day - 1].share <= row.share
        assert number == 2 or row.share <= rows[2, day].share + 1e-12
