"""What a delivery touched: its event days, and rows that came late."""

from datetime import date, datetime

import ibis
import pyarrow as pa
import pytest

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CAMPAIGN_CONTACTS, TRANSACTIONS
from crm_assets.contracts.layers import DELIVERED_DAYS
from crm_assets.mining.deliveries import delivered_days

EXPORTED = date(2024, 1, 31)


@pytest.fixture(scope="module")
def connection():
    return ibis.duckdb.connect()


def days(connection, contract, rows):
    schema = layers.validated(contract).schema
    records = [{"_source": "crm", "_export_date": EXPORTED, **row} for row in rows]
    records = [{name: record.get(name) for name in schema.names} for record in records]
    table = ibis.memtable(pa.Table.from_pylist(records, schema.to_pyarrow()))
    table = table.mutate(day=table[contract.event_time].date())
    counted = delivered_days(table, contract, late_window_days=7)
    assert {*counted.columns, "shared_days"} == set(DELIVERED_DAYS.by_name)
    found = connection.to_pyarrow(counted.order_by("_source", "_export_date", "day")).to_pylist()
    return [(row["_source"], row["_export_date"].day, row["day"].day, row["rows"], row["late_rows"]) for row in found]


def test_days_are_counted_by_delivery(connection):
    rows = [
        {"ordered_at": datetime(2024, 1, 30, 9)},
        {"ordered_at": datetime(2024, 1, 30, 23)},
        {"ordered_at": datetime(2024, 1, 31, 1)},
        {"ordered_at": datetime(2024, 1, 30, 9), "_source": "web"},
        {"ordered_at": datetime(2024, 1, 30, 9), "_export_date": date(2024, 1, 30)},
    ]
    assert days(connection, TRANSACTIONS, rows) == [
        ("crm", 30, 30, 1, 0),
        ("crm", 31, 30, 2, 0),
        ("crm", 31, 31, 1, 0),
        ("web", 31, 30, 1, 0),
    ]


def test_rows_older_than_the_window_are_late(connection):
    times = [datetime(2024, 1, 23, 23, 59), datetime(2024, 1, 24), datetime(2024, 1, 23)]
    found = days(connection, TRANSACTIONS, [{"ordered_at": at} for at in times])
    assert found == [("crm", 31, 23, 2, 2), ("crm", 31, 24, 1, 0)]


def test_an_answer_to_an_old_contact_is_not_late(connection):
    rows = [
        {"contacted_at": datetime(2024, 1, 2), "responded_at": datetime(2024, 1, 30)},
        {"contacted_at": datetime(2024, 1, 2), "responded_at": datetime(2024, 1, 5)},
        {"contacted_at": datetime(2024, 1, 2)},
    ]
    assert days(connection, CAMPAIGN_CONTACTS, rows) == [("crm", 31, 2, 3, 2)]


def test_no_rows_touch_no_days(connection):
    assert days(connection, TRANSACTIONS, []) == []
