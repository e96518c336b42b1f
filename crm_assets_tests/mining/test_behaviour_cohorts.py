"""Cohorts: a few customers a person can follow."""

from datetime import date
from decimal import Decimal

import ibis
import pyarrow as pa

from crm_assets.contracts.behaviour import BEHAVIOUR_COHORTS
from crm_assets.contracts.model import MONEY
from crm_assets.mining.behaviour_cohorts import cohorts

CONNECTION = ibis.duckdb.connect()
JANUARY, FEBRUARY, MARCH = date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 1)
DAYS = [
    ("ann", date(2023, 12, 31), 0, -5),
    ("ann", date(2024, 1, 1), 1, 10),
    ("ann", date(2024, 1, 31), 2, 20),
    ("ann", date(2024, 3, 1), 1, 30),
    ("bob", date(2024, 1, 15), 1, 40),
    ("bob", date(2024, 2, 2), 0, -40),
    ("cid", date(2024, 2, 29), 1, 50),
]


def found(days, first_day=JANUARY, as_of=date(2024, 3, 15)):
    types = pa.schema({"customer_id": pa.string(), "day": pa.date32(), "orders": pa.int64(), "amount": pa.int64()})
    rows = [dict(zip(types.names, row, strict=True)) for row in days]
    table = ibis.memtable(pa.Table.from_pylist(rows, schema=types)).cast({"amount": MONEY})
    table = cohorts(table, first_day, as_of)
    assert table.schema() == BEHAVIOUR_COHORTS.schema
    return [tuple(row.values()) for row in CONNECTION.to_pyarrow(table).to_pylist()]


def test_a_cohort_is_followed_through_every_month_also_those_without_an_order():
    money = Decimal
    assert found(DAYS) == [
        (JANUARY, 0, True, 2, 2, 1.0, 4, money(70), money(70), 35.0),
        (JANUARY, 1, True, 2, 0, 0.0, 0, money(-40), money(30), 15.0),
        (JANUARY, 2, False, 2, 1, 0.5, 1, money(30), money(60), 30.0),
        (FEBRUARY, 0, True, 1, 1, 1.0, 1, money(50), money(50), 50.0),
        (FEBRUARY, 1, False, 1, 0, 0.0, 0, money(0), money(50), 50.0),
    ]


def test_an_order_after_the_day_is_not_seen():
    assert found(DAYS, as_of=date(2024, 1, 31)) == [
        (JANUARY, 0, True, 2, 2, 1.0, 4, Decimal(70), Decimal(70), 35.0),
    ]


def test_the_month_in_which_the_data_begins_is_complete_from_its_first_day_only():
    assert found(DAYS, first_day=date(2024, 1, 2))[0][2] is False


def test_without_orders_there_is_no_cohort():
    assert found([]) == []
    assert found([("ann", JANUARY, 0, -5)]) == []
