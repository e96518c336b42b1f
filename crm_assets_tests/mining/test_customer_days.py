"""Order lines summed to customer and day."""

from datetime import date, datetime
from decimal import Decimal

import ibis
import pytest

from crm_assets.contracts.features import CUSTOMER_DAYS
from crm_assets.mining.customer_days import customer_days
from crm_assets_tests.mining.feature_tables import line, transactions_table


@pytest.fixture
def connection():
    return ibis.duckdb.connect()


def test_lines_of_a_day_add_up(connection):
    table = transactions_table(
        connection,
        [
            line("a", date(2020, 1, 1), "o1", "p1", "10.00", discount="2.00", hour=9),
            line("a", date(2020, 1, 1), "o1", "p2", "5.50", coupon_discount="0.50", on_display=True, hour=9),
            line("a", date(2020, 1, 1), "o2", "p1", "1.00", hour=20),
        ],
    )
    (row,) = connection.to_pyarrow(customer_days(table)).to_pylist()
    assert (row["orders"], row["lines"], row["products"]) == (2, 3, 2)
    assert (row["amount"], row["list_amount"]) == (Decimal("16.5"), Decimal("19"))
    assert (row["discount_lines"], row["coupon_orders"], row["promoted_amount"]) == (2, 1, Decimal("5.5"))
    assert (row["morning_orders"], row["evening_orders"]) == (1, 1)


def test_returns_net_out_and_are_no_orders(connection):
    table = transactions_table(
        connection, [line("a", date(2020, 1, 2), "o3", "p1", "-4.00", quantity="-1", is_return=True)]
    )
    (row,) = connection.to_pyarrow(customer_days(table)).to_pylist()
    assert (row["orders"], row["lines"], row["return_lines"]) == (0, 0, 1)
    assert (row["amount"], row["bought_amount"], row["return_amount"]) == (Decimal(-4), Decimal(0), Decimal(4))


def test_anonymous_lines_are_left_out(connection):
    table = transactions_table(connection, [line(None, date(2020, 1, 1), "o1", "p1", "1.00")])
    assert connection.to_pyarrow(customer_days(table)).num_rows == 0


def test_the_columns_are_those_of_the_contract(connection):
    table = transactions_table(connection, [line("a", datetime(2020, 1, 1).date(), "o1", "p1", "1.00")])
    assert customer_days(table).schema() == CUSTOMER_DAYS.schema
