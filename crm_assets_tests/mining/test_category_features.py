"""Distinct products and categories, and favourite categories, as of many days at once."""

from datetime import date, timedelta
from decimal import Decimal

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.features import HABIT_DAYS, WINDOWS
from crm_assets.mining.as_of_days import numbered
from crm_assets.mining.category_features import category_features
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.features import customer_features
from crm_assets_tests.mining.feature_tables import (
    contacts_table,
    customers_table,
    line,
    product_versions_table,
    transactions_table,
)

AS_OF = date(2021, 3, 31)
MILK = {"product_id": "milk", "category": "dairy"}
BREAD = {"product_id": "bread", "category": "bakery"}


def holder(connection):
    """Keeps tables as the engine does for the assets."""
    return lambda table: connection.create_table(ibis.util.gen_name("held"), table, temp=True)


def bought_by_a(lines, days, products=(MILK, BREAD)):
    """Rows of customer a by as_of day, from both tables."""
    connection = ibis.duckdb.connect(threads=2)
    lines = transactions_table(connection, lines)
    versions = product_versions_table(connection, list(products))
    customers = numbered([lines], "customer_id", "customer")
    rows: dict = {}
    for table in category_features(lines, versions, customers, days, holder(connection)):
        for row in connection.to_pyarrow(table).to_pylist():
            rows.setdefault(row["as_of"], {}).update(row)
    return rows


@pytest.mark.parametrize("window", WINDOWS)
def test_a_purchase_counts_up_to_the_last_day_of_the_window(window):
    day = AS_OF - timedelta(window - 1)
    rows = bought_by_a([line("a", day, "o1", "milk", "1.00")], [day, AS_OF, AS_OF + timedelta(1)])
    counts = [rows.get(on, {}).get(f"products_{window}d", 0) for on in (day, AS_OF, AS_OF + timedelta(1))]
    assert counts == [1, 1, 0]
    assert [rows.get(on, {}).get(f"categories_{window}d", 0) for on in (day, AS_OF, AS_OF + timedelta(1))] == [1, 1, 0]


def test_several_purchases_of_a_product_count_once():
    lines = [line("a", AS_OF - timedelta(back), f"o{back}", "milk", "1.00") for back in (20, 10, 10, 3)]
    row = bought_by_a(lines, [AS_OF - timedelta(15), AS_OF - timedelta(5), AS_OF])
    assert [row[AS_OF - timedelta(back)]["products_7d"] for back in (15, 5, 0)] == [1, 1, 1]
    assert [row[AS_OF - timedelta(back)]["products_30d"] for back in (15, 5, 0)] == [1, 1, 1]


def test_spend_before_the_habit_days_counts_for_no_share():
    lines = [
        line("a", AS_OF - timedelta(HABIT_DAYS), "old", "milk", "90.00"),
        line("a", AS_OF - timedelta(1), "new", "bread", "10.00"),
        line("a", AS_OF - timedelta(HABIT_DAYS - 1), "kept", "cheese", "30.00"),
    ]
    row = bought_by_a(lines, [AS_OF], [MILK, BREAD, {"product_id": "cheese", "category": "dairy"}])[AS_OF]
    assert (row["top_category_1"], row["top_category_1_share"]) == ("dairy", 0.75)
    assert (row["top_category_2"], row["top_category_2_share"]) == ("bakery", 0.25)
    assert row["category_concentration"] == 0.625


def test_a_product_that_changes_category_counts_as_it_is_filed_on_each_day():
    change, gone = AS_OF - timedelta(20), AS_OF - timedelta(5)
    versions = [
        {**MILK, "valid_to": change},
        {"product_id": "milk", "category": "drinks", "valid_from": change, "valid_to": gone},
        BREAD,
    ]
    lines = [
        line("a", AS_OF - timedelta(30), "o1", "milk", "8.00"),
        line("a", AS_OF - timedelta(10), "o2", "milk", "4.00"),
        line("a", AS_OF - timedelta(9), "o2", "bread", "1.00"),
    ]
    days = [change - timedelta(1), change, gone - timedelta(1), gone]
    rows = bought_by_a(lines, days, versions)
    assert [rows[day]["top_category_1"] for day in days] == ["dairy", "drinks", "drinks", "bakery"]
    assert [rows[day]["category_concentration"] for day in (days[0], days[1], days[3])] == [1.0, 1.0, 1.0]
    assert [rows[day]["categories_30d"] for day in days] == [1, 1, 2, 1]
    assert [rows[day]["products_30d"] for day in days] == [1, 1, 2, 2]


def test_favourites_of_equal_spend_are_in_the_order_of_their_names():
    products = [{"product_id": name, "category": name} for name in "fbdace"]
    lines = [line("a", AS_OF, "o", product["product_id"], "5.00") for product in products]
    row = bought_by_a(lines, [AS_OF], products)[AS_OF]
    assert [row[f"top_category_{rank}"] for rank in (1, 2, 3)] == ["a", "b", "c"]


def test_favourites_are_the_largest_whatever_the_numbers_of_their_categories():
    products = [{"product_id": name, "category": name} for name in "abcdefghi"]
    spent = dict(zip("abcdefghi", (9, 1, 2, 8, 1, 1, 7, 1, 3), strict=True))
    lines = [line("a", AS_OF, "o", name, f"{amount}.00") for name, amount in spent.items()]
    row = bought_by_a(lines, [AS_OF], products)[AS_OF]
    assert [row[f"top_category_{rank}"] for rank in (1, 2, 3)] == ["a", "d", "g"]


BACK = st.sampled_from([0, 1, 6, 7, 13, 14, 29, 30, 200, 364, 365, 366, 500])
PURCHASE = st.tuples(st.sampled_from("ab"), BACK, st.sampled_from(["p", "q", "r"]), st.integers(-5, 99))
VERSION = st.tuples(
    st.sampled_from(["p", "q", "r"]), st.sampled_from(["x", "y", "z", None]), BACK, st.one_of(st.none(), BACK)
)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(
    st.lists(PURCHASE, min_size=1, max_size=12),
    st.lists(VERSION, max_size=4),
    st.lists(st.integers(0, 400), min_size=2, max_size=4),
)
def test_many_days_at_once_equal_one_at_a_time(purchases, versions, backs):
    connection = ibis.duckdb.connect(threads=2)
    rows = [
        line(customer, AS_OF - timedelta(back), f"o{number}", product, str(Decimal(cents) / 4))
        for number, (customer, back, product, cents) in enumerate(purchases)
    ]
    filed = [
        {
            "product_id": product,
            "category": category,
            "valid_from": AS_OF - timedelta(back),
            "valid_to": None if until is None else AS_OF - timedelta(until),
        }
        for product, category, back, until in versions
    ]
    lines = transactions_table(connection, rows)
    others = (
        product_versions_table(connection, filed),
        customers_table(connection, []),
        contacts_table(connection, []),
    )

    def features(days):
        tables = (customer_days(lines), lines, *others)
        return connection.to_pyarrow(customer_features(*tables, days, holder(connection))).to_pylist()

    days = sorted({AS_OF - timedelta(back) for back in backs})
    assert features(days) == [row for day in days for row in features([day])]
