"""Features that need data from after their day are told from those that do not."""

from datetime import date, datetime, timedelta

import ibis
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.mining.churn import CHURN_FEATURES
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.features import customer_features
from crm_assets.mining.look_ahead import known_by, look_ahead_message, looking_ahead
from crm_assets_tests.mining.feature_tables import (
    contacts_table,
    customers_table,
    line,
    products_table,
    transactions_table,
)

AS_OF = date(2020, 3, 31)
KEY = ["as_of", "customer_id"]


def test_nothing_from_after_the_day_is_left():
    contacts = ibis.memtable(
        [
            ("in time", AS_OF, datetime(2020, 3, 31, 23)),
            ("answers later", AS_OF, datetime(2020, 4, 1)),
            ("silent", AS_OF, None),
            ("contacted later", AS_OF + timedelta(1), None),
        ],
        schema={"customer_id": "string", "day": "date", "responded_at": "timestamp"},
    )
    found = known_by(contacts, AS_OF).to_pandas().set_index("customer_id")["responded_at"]
    assert found.notna().to_dict() == {"in time": True, "answers later": False, "silent": False}
    versions = ibis.memtable(
        [(date(1990, 1, 1), AS_OF + timedelta(9)), (AS_OF + timedelta(9), None), (AS_OF, None)],
        schema={"valid_from": "date", "valid_to": "date"},
    )
    assert known_by(versions, AS_OF).to_pandas()["valid_to"].isna().tolist() == [True, True]
    exports = ibis.memtable([(AS_OF, "a"), (AS_OF + timedelta(1), "b")], schema={"_export_date": "date", "x": "string"})
    assert known_by(exports, AS_OF).to_pandas()["x"].tolist() == ["a"]


def test_a_feature_that_differs_for_some_is_named_with_their_share():
    trained = pd.DataFrame(
        {
            "as_of": AS_OF,
            "customer_id": list("abcd"),
            "n": [1.0, 2, 3, None],
            "x": [0.1 + 0.2, 1, 1, 1],
            "t": list("uvwx"),
        }
    )
    known = trained.assign(n=[1.0, 2, 5, None], x=[0.3, 1, 1, 1], t=["u", None, "w", "y"])
    assert looking_ahead(trained, known, KEY, ["n", "x", "t"]) == {"t": 0.5, "n": 0.25}
    assert looking_ahead(trained, known.iloc[:1], KEY, ["n", "x", "t"]) == {}, "who was not known is not compared"
    assert looking_ahead(trained, known.iloc[:0], KEY, ["n", "x", "t"]) == {}
    assert "n (25.0% of rows) of 2020-03-31 needs data from after that day" in look_ahead_message({"n": 0.25}, AS_OF)


def features(lines, contacts, people, day, cut):
    connection = ibis.duckdb.connect(threads=2)
    transactions = transactions_table(connection, lines)
    tables = [
        customer_days(transactions),
        transactions,
        products_table(connection, {"milk": "dairy", "bread": "bakery"}),
        customers_table(connection, people),
        contacts_table(connection, contacts),
    ]
    tables = [known_by(table, cut) if cut else table for table in tables]
    return connection.to_pandas(customer_features(*tables, [day]))


MOMENTS = st.integers(-50, 20).map(lambda days: AS_OF + timedelta(days))
ORDERS = st.tuples(st.sampled_from("abc"), MOMENTS, st.sampled_from(["milk", "bread"]), st.integers(-5, 50))


@given(st.lists(ORDERS, min_size=1, max_size=15), st.lists(st.tuples(MOMENTS, st.integers(0, 30)), max_size=3))
@settings(max_examples=3, deadline=None)
def test_features_of_customers_are_honest_whatever_comes_later(orders, contacts):
    lines = [
        line(customer, day, f"o{number}", product, f"{amount}.00")
        for number, (customer, day, product, amount) in enumerate(orders)
    ]
    contacted = [
        {
            "campaign_id": f"k{number}",
            "customer_id": "a",
            "day": day,
            "responded_at": datetime.combine(day, datetime.min.time()) + timedelta(wait),
        }
        for number, (day, wait) in enumerate(contacts)
    ]
    trained = features(lines, contacted, [{"customer_id": "a", "city": "Leeds"}], AS_OF, None)
    known = features(lines, contacted, [{"customer_id": "a", "city": "Leeds"}], AS_OF, AS_OF)
    names = [name for name in trained.columns if name not in KEY]
    assert set(CHURN_FEATURES) <= set(names)
    assert looking_ahead(trained, known, KEY, names) == {}
