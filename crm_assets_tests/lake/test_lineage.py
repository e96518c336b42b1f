"""Lineage read off expressions: values make lineage, conditions do not."""

import ibis
import pytest

from crm_assets.lake.lineage import column_lineage

ORDERS = ibis.table(
    {"order_id": "string", "customer_id": "string", "amount": "decimal(18, 4)", "paid": "float64"}, "orders"
)
CUSTOMERS = ibis.table({"customer_id": "string", "city": "string", "name": "string"}, "customers")

JOINED = ORDERS.left_join(CUSTOMERS, "customer_id")


@pytest.mark.parametrize(
    ("table", "column", "origins"),
    [
        (ORDERS, "amount", [("orders", "amount")]),
        (ORDERS.rename(total="amount"), "total", [("orders", "amount")]),
        (ORDERS.mutate(one=ibis.literal(1)), "one", []),
        (ORDERS.mutate(both=ORDERS.amount + ORDERS.paid), "both", [("orders", "amount"), ("orders", "paid")]),
        (ORDERS.filter(ORDERS.paid > 0), "amount", [("orders", "amount")]),
        (ORDERS.order_by("paid").limit(3).distinct(), "amount", [("orders", "amount")]),
        (ORDERS.group_by("customer_id").agg(total=ORDERS.amount.sum()), "total", [("orders", "amount")]),
        (ORDERS.group_by("customer_id").agg(total=ORDERS.amount.sum()), "customer_id", [("orders", "customer_id")]),
        (ORDERS.group_by("customer_id").agg(n=lambda t: t.count()), "n", []),
        (JOINED, "city", [("customers", "city")]),
        (JOINED, "amount", [("orders", "amount")]),
        (JOINED.mutate(label=JOINED.city + JOINED.order_id), "label", [("customers", "city"), ("orders", "order_id")]),
        (
            ORDERS.select("customer_id").union(CUSTOMERS.select("customer_id")),
            "customer_id",
            [("customers", "customer_id"), ("orders", "customer_id")],
        ),
    ],
)
def test_lineage_of_an_expression(table, column, origins):
    assert column_lineage(table)[column] == origins


def test_every_column_has_an_entry_even_one_made_by_sql(engine):
    table = engine.backend.create_table("lineage_of_sql", schema=ORDERS.schema(), temp=True)
    made = table.alias("o").sql("SELECT order_id, 1 AS one FROM o")
    assert set(column_lineage(made)) == {"order_id", "one"}


def test_lineage_of_a_self_join_is_one_table():
    other = ORDERS.view()
    joined = ORDERS.join(other, ORDERS.order_id == other.order_id).select(ORDERS.order_id, more=other.amount)
    found = column_lineage(joined)
    assert found["order_id"] == [("orders", "order_id")]
    assert [column for _, column in found["more"]] == ["amount"]


def test_lineage_of_a_window_is_what_it_computes_over():
    table = ORDERS.mutate(place=ORDERS.amount.sum().over(group_by="customer_id"))
    assert ("orders", "amount") in column_lineage(table)["place"]


def test_a_column_of_an_unnested_array_keeps_its_origin():
    table = ibis.table({"id": "string", "tags": "array<string>"}, "tagged")
    found = column_lineage(table.select("id", tag=table.tags.unnest()))
    assert found == {"id": [("tagged", "id")], "tag": [("tagged", "tags")]}


def test_a_column_of_a_dropped_and_filled_table_keeps_its_origin():
    table = ORDERS.drop("paid").drop_null("order_id").fill_null({"customer_id": "nobody"})
    found = column_lineage(table)
    assert found["customer_id"] == [("orders", "customer_id")]
    assert found["amount"] == [("orders", "amount")]
