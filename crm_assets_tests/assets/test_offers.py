"""Next best actions in a finished workspace, beside the marts they rest on; up-sell offers of a few order lines."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import ibis
import pandas as pd
import pytest

from crm_assets.assets.offers import up_sell_offers
from crm_assets.contracts.offers import UP_SELL_LEADERBOARD, UP_SELL_OFFERS
from crm_assets.contracts.registry import contract_of
from crm_assets.settings import Settings
from crm_assets_tests import shop


@pytest.fixture
def warehouse(finished: Path):
    with duckdb.connect(str(finished / "warehouse.duckdb"), read_only=True) as connection:
        yield connection


def test_each_customer_has_one_action_and_those_held_out_of_retention_none(warehouse):
    everyone = "SELECT count(*) FROM profile.customers_current"
    actions = "SELECT count(*), count(DISTINCT customer_id), min(as_of) FROM marts.next_best_action"
    customers = warehouse.execute(everyone).fetchone()[0]
    assert warehouse.execute(actions).fetchone() == (customers, customers, shop.LAST_DAY)
    kept = """
        SELECT q.is_holdout, n.action, count(*) FROM marts.retention_queue AS q
        JOIN marts.next_best_action AS n USING (as_of, customer_id) GROUP BY ALL
    """
    found = {(held_out, action) for held_out, action, _ in warehouse.execute(kept).fetchall()}
    assert {action for held_out, action in found if held_out} <= {"leave_alone"}
    assert "leave_alone" not in {action for held_out, action in found if not held_out}


def test_where_all_products_cost_the_same_there_are_no_steps_up(warehouse):
    for table in ("marts.up_sell_offers", "quality.leaderboard_up_sell"):
        assert warehouse.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def clean(lake, name, rows):
    """A clean table as an asset reads it."""
    schema = contract_of("clean", name).schema
    nullable = {column: dtype.copy(nullable=True) for column, dtype in schema.items()}
    given = ibis.memtable(pd.DataFrame(rows, columns=list(schema)).astype("object"), schema=nullable)
    return lake.engine.backend.create_table(f"given_{name}", given, temp=True, overwrite=True)


@pytest.mark.parametrize("is_sold", [True, False])
def test_up_sell_offers_are_of_persons_as_of_the_newest_day(lake, is_sold):
    """The second record of Ann bought what makes her stand on the lowest step; the first one bought nothing."""
    newest, since = date(2024, 6, 30), date(1990, 1, 1)
    bought = [(None, n % 3 + 1, 45, 10) for n in range(15)] + [("ann2", 1, 70, 1), ("bob", 3, 0, 1)]
    lines = [
        {"customer_id": who, "product_id": f"p{n}", "day": newest - timedelta(days=ago), "quantity": units}
        | {"amount": (n + 1) * units}
        for who, n, ago, units in bought
    ]
    goods = [{"product_id": f"p{n}", "subcategory": "coffee", "valid_from": since} for n in (1, 2, 3)]
    schema = dict(contract_of("profile", "identity_members").schema.items())
    person = {"customer_id": "ann2", "person_id": "ann", "valid_from": since}
    members = ibis.memtable(pd.DataFrame([person], columns=list(schema)).astype("object"), schema=schema)
    outputs = up_sell_offers(
        dg.build_asset_context(),
        transactions=clean(lake, "transactions", lines if is_sold else []),
        products=clean(lake, "products", goods),
        identity_members=members,
        lake=lake,
        settings=Settings(home=lake.root),
    )
    # What is held in the engine is there until the next output is asked for.
    found = {output.output_name: _frame(output.value) for output in outputs}
    assert list(found["offers"]) == list(UP_SELL_OFFERS.by_name)
    assert list(found["leaderboard"]) == list(UP_SELL_LEADERBOARD.by_name)
    said = found["offers"][["as_of", "customer_id", "from_product_id", "product_id", "probability"]].astype("object")
    # Of the one customer on a step nobody moved, 0.5 of 2 as a rule; the ladder has one more such case to 20 as a rule.
    expected = [[pd.Timestamp(newest), "ann", "p1", "p2", pytest.approx(20 * 0.25 / 21)]] if is_sold else []
    assert said.to_numpy().tolist() == expected


def _frame(value):
    return value if isinstance(value, pd.DataFrame) else value.to_pandas()
