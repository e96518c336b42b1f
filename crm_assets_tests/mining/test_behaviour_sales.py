"""Sales by period and dimension: a few lines a person can follow, and what holds for any lines."""

from datetime import date, timedelta
from decimal import Decimal

import ibis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crm_assets.contracts.behaviour import BEHAVIOUR_SALES
from crm_assets.mining.behaviour_sales import Earlier, newest_categories, sales
from crm_assets.mining.customer_days import customer_days
from crm_assets_tests.mining.feature_tables import (
    customers_table,
    line,
    product_versions_table,
    products_table,
    transactions_table,
)

CONNECTION = ibis.duckdb.connect()
MONDAY = date(2024, 1, 29)
"""Its week has days of January and of February."""

JAN_30, JAN_31, FEB_1, FEB_5 = date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 5)


def sold(*values, channel=None, **more):
    """An order line with its channel."""
    return line(*values, **more) | {"channel": channel}


LINES = [
    sold("ann", JAN_30, "o1", "tea", "10", "2", channel="web"),
    sold("ann", JAN_30, "o1", "soap", "5", channel="web"),
    sold("bob", JAN_31, "o2", "tea", "7", channel="shop"),
    sold(None, JAN_31, "o3", "pens", "1", channel="shop"),
    sold("ann", FEB_1, "o4", "tea", "4", channel="shop"),
    sold("ann", FEB_1, "o5", "tea", "-10", "-2", channel="web", is_return=True),
    sold("cid", FEB_5, "o6", "soap", "8"),
]


def added_up(lines, as_of, first_day=JAN_30, categories=None, regions=None, earlier=None):
    """The mart as a table."""
    transactions = transactions_table(CONNECTION, lines)
    people = [{"customer_id": who, "region": region} for who, region in (regions or {"ann": "North"}).items()]
    return sales(
        transactions,
        customer_days(transactions),
        products_table(CONNECTION, categories or {"tea": "food", "soap": "home"}),
        customers_table(CONNECTION, people),
        first_day,
        as_of,
        lambda rows: rows.cache(),
        earlier,
    )


def found(lines, as_of=FEB_5, **given):
    """Rows of the mart by period, dimension, value and first day."""
    table = added_up(lines, as_of, **given)
    assert table.schema() == BEHAVIOUR_SALES.schema
    rows = table.to_pyarrow().to_pylist()
    keys = [tuple(row[name] for name in BEHAVIOUR_SALES.key) for row in rows]
    assert keys == sorted(keys)
    return dict(zip(keys, rows, strict=True))


def measures(row, *names):
    return [row[name] for name in names]


def test_a_week_counts_its_orders_and_its_new_and_returning_customers():
    rows = found(LINES)
    first, second = rows["week", "total", "all", MONDAY], rows["week", "total", "all", FEB_5]
    assert measures(first, "orders", "lines", "units", "revenue", "returned") == [4, 5, 4, 17, 10]
    assert measures(first, "anonymous_orders", "customers", "new_customers", "returning_customers") == [1, 2, 2, 0]
    assert measures(first, "new_customer_revenue", "order_value", "basket_lines", "orders_per_customer") == [
        16, 17 / 4, 5 / 4, 3 / 2,
    ]  # fmt: skip
    assert measures(second, "orders", "customers", "new_customers") == [1, 1, 1]


def test_who_ordered_the_month_before_is_a_returning_customer():
    february = found(LINES)["month", "total", "all", FEB_1]
    assert measures(february, "customers", "new_customers", "returning_customers") == [2, 1, 1]
    assert measures(february, "revenue", "returned", "new_customer_revenue") == [2, 10, 8]


def test_a_day_has_orders_of_the_day_only():
    rows = found(LINES)
    assert measures(rows["day", "total", "all", FEB_1], "orders", "revenue", "customers") == [1, -6, 1]
    assert ("day", "total", "all", date(2024, 2, 2)) not in rows


def test_an_order_counts_once_in_each_category_and_once_in_total():
    rows = found(LINES)
    day = {value: row["orders"] for (_, _, value, day), row in rows.items() if day == JAN_30 and row["period"] == "day"}
    assert day == {"all": 1, "food": 1, "home": 1, "web": 1, "North": 1}


def test_what_has_no_channel_category_or_region_is_unknown():
    rows = found(LINES)
    month = {
        (dimension, value): row["revenue"]
        for (period, dimension, value, _), row in rows.items()
        if period == "month" and row["starts_on"] == FEB_1
    }
    assert month["channel", "unknown"] == 8
    assert month["region", "unknown"] == 8
    assert month["region", "North"] == -6
    january = rows["month", "category", "unknown", date(2024, 1, 1)]
    assert measures(january, "revenue", "anonymous_orders", "customers") == [1, 1, 0]
    assert january["orders_per_customer"] is None


def test_periods_are_complete_where_all_their_days_are_in_the_data():
    complete = {key[0::3]: row["is_complete"] for key, row in found(LINES, as_of=date(2024, 2, 4)).items()}
    assert complete["day", JAN_30]
    assert complete["day", FEB_1]
    assert not complete["week", MONDAY]
    assert not complete["month", date(2024, 1, 1)]
    assert not complete["month", FEB_1]
    leap_day = found(LINES, as_of=date(2024, 2, 29), first_day=MONDAY)
    assert leap_day["month", "total", "all", FEB_1]["is_complete"]
    assert leap_day["week", "total", "all", MONDAY]["is_complete"]


def test_a_line_after_the_day_is_not_seen():
    assert all(key[3] <= JAN_31 for key in found(LINES, as_of=JAN_31) if key[0] == "day")
    assert found([*LINES, sold("ann", date(2024, 2, 6), "o9", "tea", "99")]) == found(LINES)


def test_no_lines_give_no_rows():
    assert found([]) == {}


def test_who_only_returned_is_no_customer_and_the_money_counts():
    row = found([sold("ann", FEB_1, "o1", "tea", "-3", "-1", is_return=True)])["month", "total", "all", FEB_1]
    assert measures(row, "orders", "customers", "anonymous_orders", "revenue", "order_value") == [0, 0, 0, -3, None]


def test_the_newest_version_names_the_category_also_of_a_product_that_is_gone():
    versions = [
        {"product_id": "tea", "category": "drinks", "valid_from": date(2024, 1, 1), "valid_to": date(2024, 2, 1)},
        {"product_id": "tea", "category": "茶", "valid_from": date(2024, 2, 1), "valid_to": date(2024, 3, 1)},
    ]
    rows = newest_categories(product_versions_table(CONNECTION, versions)).to_pyarrow().to_pylist()
    assert rows == [{"product_id": "tea", "category": "茶"}]


some_lines = st.lists(
    st.builds(
        lambda who, offset, order, product, amount, channel, back: sold(
            who,
            date(2024, 1, 26) + timedelta(offset),
            order,
            product,
            str(-amount if back else amount),
            channel=channel,
            is_return=back or None,
        ),
        st.sampled_from([None, "ann", "bob", "cid"]),
        st.integers(0, 13),
        st.sampled_from(["o1", "o2", "o3"]),
        st.sampled_from(["tea", "soap", "pens"]),
        st.integers(0, 9),
        st.sampled_from([None, "web", "shop"]),
        st.booleans(),
    ),
    max_size=14,
)


@settings(max_examples=12, deadline=None)
@given(some_lines)
def test_every_figure_is_what_counting_by_hand_gives(lines):
    rows = found(lines, as_of=date(2024, 2, 20))
    bought = [row for row in lines if not row.get("is_return")]
    first = {}
    for row in sorted(bought, key=lambda row: row["day"]):
        first.setdefault(row["customer_id"], row["day"])
    values = {
        "total": lambda row: "all",
        "channel": lambda row: row.get("channel") or "unknown",
        "category": lambda row: {"tea": "food", "soap": "home"}.get(row["product_id"], "unknown"),
        "region": lambda row: "North" if row["customer_id"] == "ann" and "ann" in first else "unknown",
    }
    starts = {
        "day": lambda day: day,
        "week": lambda day: day - timedelta(day.weekday()),
        "month": lambda day: day.replace(day=1),
    }
    expected = {(p, d, values[d](row), starts[p](row["day"])) for row in lines for p in starts for d in values}
    assert set(rows) == expected
    for (period, dimension, value, starts_on), row in rows.items():
        mine = [r for r in lines if values[dimension](r) == value and starts[period](r["day"]) == starts_on]
        paid = [r for r in mine if not r.get("is_return")]
        buyers = {r["customer_id"] for r in paid} - {None}
        new = {who for who, day in first.items() if who and starts[period](day) == starts_on}
        orders = {(r["order_id"], r["day"], r["customer_id"]) for r in paid}
        assert row["orders"] == len(orders)
        assert row["anonymous_orders"] == len({order for order in orders if order[2] is None})
        assert row["lines"] == len(paid)
        assert row["revenue"] == sum((r["amount"] for r in mine), Decimal(0))
        assert (row["customers"], row["new_customers"]) == (len(buyers), len(buyers & new))
        of_new = [r["amount"] for r in mine if r["customer_id"] in new]
        assert row["new_customer_revenue"] == sum(of_new, Decimal(0))


@settings(max_examples=12, deadline=None)
@given(some_lines, some_lines)
@example(
    [sold("ann", JAN_30 - timedelta(4), "o1", "tea", "-7", is_return=True)],
    [sold("ann", date(2024, 2, 8), "o1", "tea", "9")],
)
def test_months_that_nothing_touched_stay_and_the_rest_is_as_if_all_were_added_up(lines, more):
    """January stays, of which the week of February 1 holds three days."""
    later = [row for row in more if row["day"] >= FEB_1]
    before = added_up(lines, date(2024, 2, 20)).cache()
    # Where a customer lives is told anew, and January is no longer whole.
    given_now = {"as_of": date(2024, 2, 21), "first_day": JAN_31, "regions": {"bob": "South"}}
    anew = found([*lines, *later], **given_now)
    assert found([*lines, *later], **given_now, earlier=Earlier(before, FEB_1)) == anew
    # Of January, orders by channel and category are not looked at: without them, the rows are the same.
    of_january = [row for row in lines if row["day"] < MONDAY]
    rest = [row for row in [*lines, *later] if row not in of_january]
    kept = found(rest, **given_now, earlier=Earlier(before, FEB_1))
    assert {key: row["revenue"] for key, row in kept.items() if key[1] in ("channel", "category")} == {
        key: row["revenue"] for key, row in anew.items() if key[1] in ("channel", "category")
    }


def test_sums_over_a_dimension_are_the_total():
    rows = found(LINES)
    for period in ("day", "week", "month"):
        totals = {}
        for (length, dimension, _, _), row in rows.items():
            if length == period:
                totals.setdefault(dimension, []).append(row["revenue"])
        assert {sum(parts) for parts in totals.values()} == {Decimal(25)}
