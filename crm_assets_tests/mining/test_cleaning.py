"""Clean tables: the newest export wins, values are written one way, outliers are flagged and kept."""

from datetime import date, datetime
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CAMPAIGNS, CUSTOMERS, PRODUCTS, TRANSACTIONS
from crm_assets.mining.cleaning import clean_dimension, clean_events, valid_on

DAY = date(2024, 1, 15)
JANUARY, FEBRUARY, MARCH = date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31)
BEGINNING = date(1990, 1, 1)


@pytest.fixture(scope="module")
def connection():
    return ibis.duckdb.connect()


def validated(contract, rows):
    """Validated rows; a row is `(export_date, line, values)`, and events get their day."""
    schema = layers.validated(contract).schema
    records = [
        {"_file": "f.csv", "_line": line, "_source": "crm", "_export_date": exported, **values}
        for exported, line, values in rows
    ]
    table = pa.Table.from_pylist(
        [{name: record.get(name) for name in schema.names} for record in records], schema.to_pyarrow()
    )
    return ibis.memtable(table)


def sale(order="o", **values):
    return {
        "order_id": order,
        "line_id": "1",
        "customer_id": "c",
        "product_id": "p",
        "ordered_at": datetime(2024, 1, 15, 12),
        "quantity": Decimal(1),
        "amount": Decimal(10),
        **values,
    }


def sales(connection, rows):
    table = validated(TRANSACTIONS, rows)
    clean = clean_events(table.mutate(day=table.ordered_at.date()), TRANSACTIONS, date(2024, 1, 1), date(2024, 1, 31))
    return connection.to_pyarrow(clean.order_by("day", "order_id", "line_id")).to_pylist()


def versions(connection, contract, rows):
    clean = clean_dimension(validated(contract, rows), contract)
    return connection.to_pyarrow(clean.order_by(*contract.key, "valid_from")).to_pylist()


def customer(connection, **values):
    (row,) = versions(connection, CUSTOMERS, [(JANUARY, 1, {"customer_id": "c", **values})])
    return row


def test_columns_are_those_of_the_clean_contract(connection):
    for contract in (TRANSACTIONS, CUSTOMERS, PRODUCTS, CAMPAIGNS):
        rows = validated(contract, [])
        if contract is TRANSACTIONS:
            assert set(clean_events(rows.mutate(day=ibis.date(2024, 1, 1)), contract, DAY, DAY).columns) == set(
                layers.clean(contract).by_name
            )
        else:
            assert set(clean_dimension(rows, contract).columns) == set(layers.clean(contract).by_name)


def test_the_newest_export_of_a_line_wins(connection):
    rows = [(FEBRUARY, 1, sale(amount=Decimal(12))), (JANUARY, 9, sale(amount=Decimal(10)))]
    assert [row["amount"] for row in sales(connection, rows)] == [12]


def test_of_duplicates_within_a_file_the_last_line_wins(connection):
    rows = [(JANUARY, line, sale(amount=Decimal(line))) for line in (1, 3, 2)]
    assert [row["amount"] for row in sales(connection, rows)] == [3]


DELIVERED = [
    (exported, line, sale(order, amount=Decimal(n)))
    for n, (exported, line, order) in enumerate(
        [
            (JANUARY, 1, "a"),
            (JANUARY, 2, "a"),
            (FEBRUARY, 1, "a"),
            (MARCH, 1, "b"),
            (FEBRUARY, 2, "b"),
            (JANUARY, 3, "c"),
        ]
    )
]


@given(rows=st.permutations(DELIVERED))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_deliveries_makes_no_difference(connection, rows):
    found = sales(connection, rows)
    assert [(row["order_id"], row["amount"]) for row in found] == [("a", 2), ("b", 3), ("c", 5)]


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        ({"quantity": -2, "amount": -20}, (True, -2, -20)),
        ({"quantity": 2, "amount": 20, "is_return": True}, (True, -2, -20)),
        ({"quantity": -2, "amount": 20, "is_return": True}, (True, -2, -20)),
        ({"quantity": -2, "amount": 20}, (True, -2, -20)),
        ({"quantity": 2, "amount": 20}, (False, 2, 20)),
        ({"quantity": 0, "amount": 0}, (False, 0, 0)),
        ({"quantity": 1, "amount": -5, "is_return": False}, (False, 1, -5)),
    ],
)
def test_returns_have_negative_quantity_and_amount(connection, given_values, expected):
    values = {name: Decimal(value) if name != "is_return" else value for name, value in given_values.items()}
    (row,) = sales(connection, [(JANUARY, 1, sale(**values))])
    assert (row["is_return"], row["quantity"], row["amount"]) == expected


@pytest.mark.parametrize(
    ("given_values", "price"),
    [
        ({"quantity": 3, "amount": 10}, Decimal("3.3333")),
        ({"quantity": -2, "amount": -9}, Decimal("4.5")),
        ({"quantity": 0, "amount": 10}, None),
        ({"quantity": 2, "amount": 10, "unit_price": 7}, Decimal(7)),
        ({"quantity": Decimal("0.0001"), "amount": 99_999_999_999}, None),
    ],
)
def test_the_price_of_a_unit_follows_from_amount_and_quantity_unless_given(connection, given_values, price):
    (row,) = sales(connection, [(JANUARY, 1, sale(**{name: Decimal(value) for name, value in given_values.items()}))])
    assert row["unit_price"] == price


@pytest.mark.parametrize(
    ("column", "written", "normal"),
    [
        ("full_name", "  Ann \t Lee\n", "Ann Lee"),
        ("full_name", "   ", None),
        ("email", " Ann.Lee@Example.COM ", "ann.lee@example.com"),
        ("email", "ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", "ann@example.com"),
        ("phone", "+44 (0)20-79.46", "+440207946"),
        ("phone", "１３８　００００", "1380000"),
        ("phone", "-", None),
        ("gender", "F", "female"),
        ("gender", "Ｗ", "female"),
        ("gender", "女士", "female"),
        ("gender", "男", "male"),
        ("gender", "MALE", "male"),
        ("gender", "non-binary", "other"),
        ("gender", None, None),
        ("gender", " ", None),
    ],
)
def test_values_are_written_in_one_way(connection, column, written, normal):
    assert customer(connection, **{column: written})[column] == normal


def test_json_attributes_keep_their_blanks(connection):
    rows = [(JANUARY, 1, {"product_id": "p", "attributes": '{"size":  "10  g"}'})]
    (row,) = versions(connection, PRODUCTS, rows)
    assert row["attributes"] == '{"size":  "10  g"}'


def test_a_change_begins_a_version_and_ends_the_one_before(connection):
    rows = [(day, 1, {"customer_id": "c", "city": city}) for day, city in ((JANUARY, "York"), (MARCH, "Leeds"))]
    found = [(row["city"], row["valid_from"], row["valid_to"]) for row in versions(connection, CUSTOMERS, rows)]
    assert found == [("York", BEGINNING, MARCH), ("Leeds", MARCH, None)]


def test_delivering_the_same_values_again_adds_no_version(connection):
    cities = ((JANUARY, "York"), (FEBRUARY, " York "), (MARCH, "York"))
    rows = [(day, 1, {"customer_id": "c", "city": city}) for day, city in cities]
    (row,) = versions(connection, CUSTOMERS, rows)
    assert (row["valid_from"], row["valid_to"]) == (BEGINNING, None)


def test_a_value_that_becomes_empty_and_one_that_comes_back_are_changes(connection):
    cities = ((JANUARY, "York"), (FEBRUARY, None), (MARCH, "York"))
    rows = [(day, 1, {"customer_id": "c", "city": city}) for day, city in cities]
    assert [row["city"] for row in versions(connection, CUSTOMERS, rows)] == ["York", None, "York"]


def test_versions_of_one_customer_do_not_touch_another_s(connection):
    rows = [
        (JANUARY, 1, {"customer_id": "a", "city": "York"}),
        (JANUARY, 2, {"customer_id": "b", "city": "Leeds"}),
        (MARCH, 1, {"customer_id": "a", "city": "Hull"}),
    ]
    found = [(row["customer_id"], row["valid_to"]) for row in versions(connection, CUSTOMERS, rows)]
    assert found == [("a", MARCH), ("a", None), ("b", None)]


def test_duplicates_of_a_key_within_an_export_are_one_version(connection):
    rows = [(JANUARY, line, {"customer_id": "c", "city": city}) for line, city in ((1, "York"), (2, "Leeds"))]
    assert [row["city"] for row in versions(connection, CUSTOMERS, rows)] == ["Leeds"]


@given(
    rows=st.permutations(
        [(day, 1, {"customer_id": "c", "city": day.isoformat()}) for day in (JANUARY, FEBRUARY, MARCH)]
    )
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_versions_do_not_depend_on_the_order_of_deliveries(connection, rows):
    found = versions(connection, CUSTOMERS, rows)
    assert [row["city"] for row in found] == ["2024-01-31", "2024-02-29", "2024-03-31"]


@pytest.mark.parametrize(
    ("day", "city"),
    [
        (date(2000, 1, 1), "York"),
        (date(2024, 3, 30), "York"),
        (MARCH, "Leeds"),
        (date(2030, 1, 1), "Leeds"),
        (None, "Leeds"),
    ],
)
def test_one_version_is_valid_on_each_day(connection, day, city):
    rows = [
        (exported, 1, {"customer_id": "c", "city": name}) for exported, name in ((JANUARY, "York"), (MARCH, "Leeds"))
    ]
    table = valid_on(clean_dimension(validated(CUSTOMERS, rows), CUSTOMERS), day)
    assert connection.to_pyarrow(table)["city"].to_pylist() == [city]


def day_of_sales(amounts, **values):
    return [
        (JANUARY, n, sale(f"o{n:03}", amount=Decimal(amount), unit_price=Decimal(1), **values))
        for n, amount in enumerate(amounts)
    ]


def flagged(connection, rows):
    return [row["amount"] for row in sales(connection, rows) if row["is_outlier"]]


def test_an_outlier_is_flagged_and_kept(connection):
    rows = day_of_sales([*range(10, 50), 1_000_000])
    assert flagged(connection, rows) == [1_000_000]
    assert len(sales(connection, rows)) == 41


def test_a_day_with_few_rows_flags_nothing(connection):
    assert flagged(connection, day_of_sales([*range(10, 30), 1_000_000])) == []


def test_a_day_with_one_usual_value_flags_nothing(connection):
    assert flagged(connection, day_of_sales([10] * 40 + [1_000_000])) == []


def test_only_the_day_s_own_rows_say_what_is_usual(connection):
    other = [
        (
            JANUARY,
            n,
            sale(f"x{n}", amount=Decimal(1_000_000 + n), ordered_at=datetime(2024, 1, 16), unit_price=Decimal(1)),
        )
        for n in range(40)
    ]
    rows = day_of_sales([*range(10, 50), 1_000_000])
    assert flagged(connection, rows + other) == [1_000_000]


def test_a_table_without_rows_is_clean_and_empty(connection):
    assert sales(connection, []) == []
    assert versions(connection, CUSTOMERS, []) == []
