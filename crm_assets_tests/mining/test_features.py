"""Customer features as of a day."""

from datetime import date, datetime, time, timedelta

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.features import CUSTOMER_FEATURES, FEATURE_LABELS
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.features import customer_features
from crm_assets_tests.mining.feature_tables import (
    contacts_table,
    customers_table,
    line,
    products_table,
    transactions_table,
)

AS_OF = date(2020, 3, 31)
CONTACT = {"campaign_id": "k", "customer_id": "c", "day": date(2020, 3, 30)}
LINES = [
    line("a", AS_OF - timedelta(40), "o1", "milk", "10.00"),
    line("a", AS_OF - timedelta(10), "o2", "milk", "20.00"),
    line("a", AS_OF - timedelta(10), "o2", "bread", "5.00", discount="5.00"),
    line("a", AS_OF, "o3", "milk", "5.00"),
    line("b", AS_OF - timedelta(3), "o4", "bread", "7.00"),
]


def features_of(lines, days, threads=2, contacts=(CONTACT,), people=()):
    connection = ibis.duckdb.connect(threads=threads)
    lines = transactions_table(connection, lines)
    table = customer_features(
        customer_days(lines),
        lines,
        products_table(connection, {"milk": "dairy", "bread": "bakery"}),
        customers_table(connection, list(people)),
        contacts_table(connection, list(contacts)),
        days,
    )
    return connection.to_pyarrow(table)


def row_of(table, customer):
    return next(row for row in table.to_pylist() if row["customer_id"] == customer)


def test_windows_end_with_the_as_of_day():
    row = row_of(features_of(LINES, [AS_OF]), "a")
    assert [row[f"orders_{days}d"] for days in (7, 14, 30, 60)] == [1, 2, 2, 3]
    assert [row[f"amount_{days}d"] for days in (7, 14, 60)] == [5.0, 30.0, 40.0]
    assert [row[f"products_{days}d"] for days in (7, 14, 60)] == [1, 2, 2]
    assert (row["recency_days"], row["tenure_days"], row["orders"]) == (0, 40, 3)
    assert row["discount_share_60d"] == pytest.approx(5 / 45)


def test_gaps_between_orders():
    row = row_of(features_of(LINES, [AS_OF]), "a")
    assert (row["gap_mean"], row["gap_median"], row["gap_deviation"], row["gap_last"]) == (20.0, 20.0, 10.0, 10)
    assert (row["gap_longest"], row["gaps_over_20"], row["gaps_over_30"]) == (30, 1, 0)


def test_favourite_categories_and_their_shares():
    row = row_of(features_of(LINES, [AS_OF]), "a")
    assert (row["top_category_1"], row["top_category_1_share"]) == ("dairy", 0.875)
    assert (row["top_category_2"], row["top_category_3"]) == ("bakery", None)
    assert row["category_concentration"] == pytest.approx(0.875**2 + 0.125**2)


def test_habits_are_shares_of_the_orders_on_any_weekday():
    # 2020-03-31 is a Tuesday; the other orders were on a Saturday and a Thursday, all at noon.
    row = row_of(features_of(LINES, [AS_OF]), "a")
    assert (row["favourite_weekday"], row["favourite_weekday_share"]) == ("tuesday", pytest.approx(1 / 3))
    assert (row["weekend_share"], row["afternoon_share"]) == (pytest.approx(1 / 3), 1.0)
    row = row_of(features_of(LINES, [AS_OF]), "b")
    assert (row["favourite_weekday"], row["favourite_weekday_share"], row["weekend_share"]) == ("saturday", 1.0, 1.0)


def test_who_bought_before_the_last_30_days_spends_nothing_now_and_who_never_did_has_no_trend():
    table = features_of([line("a", AS_OF - timedelta(40), "o1", "milk", "10.00")], [AS_OF])
    assert (row_of(table, "a")["amount_change"], row_of(table, "a")["orders_change"]) == (0.0, 0.0)
    assert (row_of(table, "c")["amount_change"], row_of(table, "c")["orders_change"]) == (None, None)


def test_a_contacted_customer_is_known_without_an_order():
    row = row_of(features_of(LINES, [AS_OF]), "c")
    assert (row["contacts_7d"], row["orders"], row["recency_days"]) == (1, 0, None)


def test_demographics_are_those_valid_on_the_day():
    change = date(2020, 3, 1)
    people = [
        {"customer_id": "a", "age_band": "20-29", "valid_to": change},
        {"customer_id": "a", "age_band": "30-39", "valid_from": change},
    ]
    table = features_of(LINES, [change - timedelta(1), change], people=people)
    assert [row["age_band"] for row in table.to_pylist() if row["customer_id"] == "a"] == ["20-29", "30-39"]


def test_a_sign_up_after_the_day_is_not_known_by_it():
    people = [{"customer_id": "a", "signup_at": datetime.combine(AS_OF, time(23))}]
    table = features_of(LINES, [AS_OF - timedelta(1), AS_OF, AS_OF + timedelta(2)], people=people)
    assert [row["signup_days"] for row in table.to_pylist() if row["customer_id"] == "a"] == [None, 0, 2]


def test_nothing_at_all_gives_an_empty_table_of_the_contract():
    table = features_of([], [AS_OF], contacts=())
    assert (table.num_rows, table.column_names) == (0, list(CUSTOMER_FEATURES.schema))


def test_no_as_of_day_is_refused():
    with pytest.raises(ValueError, match="at least one as_of day"):
        features_of(LINES, [])


def test_every_feature_has_words():
    assert set(CUSTOMER_FEATURES.schema) - {"as_of", "customer_id"} == set(FEATURE_LABELS)


def test_many_days_at_once_equal_one_at_a_time_whatever_the_threads():
    days = [AS_OF - timedelta(back) for back in (45, 12, 5, 0)]
    alone = [row for day in sorted(days) for row in features_of(LINES, [day], threads=1).to_pylist()]
    assert features_of(LINES, days).to_pylist() == alone


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 90), st.sampled_from(["a", "b", "new"]), st.decimals(1, 99, places=2))
def test_an_event_after_the_as_of_day_changes_nothing(ahead, customer, amount):
    later = line(customer, AS_OF + timedelta(ahead), "later", "milk", str(amount))
    contact = {**CONTACT, "campaign_id": "later", "customer_id": customer, "day": AS_OF + timedelta(ahead)}
    assert features_of([*LINES, later], [AS_OF], contacts=(CONTACT, contact)).equals(features_of(LINES, [AS_OF]))
