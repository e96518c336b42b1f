"""Next best actions in a finished workspace, beside the marts they rest on; up-sell offers of a few order lines."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import ibis
import pandas as pd
import pytest

from crm_assets.assets.offers import cross_sell_offers, next_best_action, up_sell_offers
from crm_assets.contracts.basket import CROSS_SELL_RULES, SEQUENTIAL_RULES
from crm_assets.contracts.offers import CROSS_SELL_OFFERS, UP_SELL_LEADERBOARD, UP_SELL_OFFERS
from crm_assets.contracts.purchases import BEHAVIOUR_PREDICTIONS
from crm_assets.contracts.recommendations import RECOMMENDATIONS
from crm_assets.contracts.registry import contract_of
from crm_assets.contracts.response import RESPONSE_SCORES
from crm_assets.contracts.retention import RETENTION_QUEUE
from crm_assets.contracts.value import CUSTOMER_VALUE
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


def table(rows, contract):
    """A mart as an asset reads it."""
    nullable = {column: dtype.copy(nullable=True) for column, dtype in contract.schema.items()}
    return ibis.memtable(pd.DataFrame(rows, columns=list(nullable)).astype("object"), schema=nullable)


def clean(lake, name, rows):
    """A clean table as an asset reads it."""
    given = table(rows, contract_of("clean", name))
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
    outputs = up_sell_offers(
        dg.build_asset_context(),
        transactions=clean(lake, "transactions", lines if is_sold else []),
        products=clean(lake, "products", goods),
        identity_members=members("ann2", "ann"),
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


@pytest.mark.parametrize("is_sold", [True, False])
def test_what_follows_is_offered_where_no_basket_makes_a_rule(lake, is_sold):
    """The second record of Ann bought tea, the first one bread; Bob bought both."""
    newest, since = date(2024, 6, 30), date(1990, 1, 1)
    bought = [("ann2", "p1", 3), ("ann", "p3", 3), ("bob", "p1", 0), ("bob", "p2", 0)]
    lines = [
        {"customer_id": who, "product_id": what, "day": newest - timedelta(days=ago), "quantity": 1, "amount": 10}
        for who, what, ago in bought
    ]
    goods = [
        {"product_id": f"p{n}", "category": kind, "valid_from": since}
        for n, kind in enumerate(("tea", "honey", "bread"), 1)
    ]
    sequence = {"level": "category", "antecedent": "tea", "consequent": "honey", "within_days": 30, "confidence": 0.4}
    outputs = cross_sell_offers(
        dg.build_asset_context(),
        rules=table([], CROSS_SELL_RULES),
        sequences=table([sequence | {"lift": 2.0, "q_value": 0.01, "expected_value": 2.0}], SEQUENTIAL_RULES),
        transactions=clean(lake, "transactions", lines if is_sold else []),
        products=clean(lake, "products", goods),
        identity_members=members("ann2", "ann"),
        lake=lake,
        settings=Settings(home=lake.root),
    )
    found = next(outputs).value.to_pandas()
    assert list(found) == list(CROSS_SELL_OFFERS.by_name)
    said = found[["as_of", "customer_id", "item", "kind", "expected_value"]].to_numpy().tolist()
    assert said == ([[pd.Timestamp(newest), "ann", "honey", "next purchase", 2.0]] if is_sold else [])


@pytest.mark.parametrize("valued", [True, False])
def test_campaigns_are_of_the_day_of_the_other_marts_or_else_of_the_newest_scores(lake, valued):
    """Ann's records are one person, whom the second one's contact spares; Dan has not bought yet."""
    day, later = date(2024, 6, 29), date(2024, 6, 30)
    scores = [("ann", day, 0.5), ("bob", day, 0.5), ("dan", day, 0.2), ("bob", later, 0.9), ("eve", later, 0.9)]
    responses = [
        {"as_of": of, "campaign_kind": "mail", "customer_id": who, "response_probability": share, "contact": True}
        | {"expected_profit": share * 200 - 2}
        for who, of, share in scores
    ]
    values = [{"as_of": day, "customer_id": "cat"}] if valued else []
    outputs = next_best_action(
        dg.build_asset_context(),
        queue=table([], RETENTION_QUEUE),
        offers=table([], CROSS_SELL_OFFERS),
        steps=table([], UP_SELL_OFFERS),
        lists=table([], RECOMMENDATIONS),
        responses=table(responses, RESPONSE_SCORES),
        values=table(values, CUSTOMER_VALUE),
        predictions=table([], BEHAVIOUR_PREDICTIONS),
        transactions=clean(lake, "transactions", []),
        contacts=clean(lake, "campaign_contacts", [{"customer_id": "ann2", "day": day}]),
        identity_members=members("ann2", "ann"),
        lake=lake,
        settings=Settings(home=lake.root, response_contact_cost=2.0, offer_take_rate=0.25),
    )
    found = next(outputs).value.to_pandas()
    said = found.set_index("customer_id")[["action", "expected_value"]].T.to_dict("list")
    # A quarter of what a response brings before the cost, such as 0.25 x 100 less 2.
    if valued:
        left, asked = ["leave_alone", 0.0], [["campaign", pytest.approx(worth)] for worth in (23.0, 8.0)]
        assert said == {"ann": left, "bob": asked[0], "cat": left, "dan": asked[1]}
    else:
        assert said == {who: ["campaign", pytest.approx(43.0)] for who in ("bob", "eve")}
    assert set(found["as_of"]) == {pd.Timestamp(day if valued else later)}


def members(record, person):
    """One person of two records."""
    row = {"customer_id": record, "person_id": person, "valid_from": date(1990, 1, 1)}
    return table([row], contract_of("profile", "identity_members"))


def _frame(value):
    return value if isinstance(value, pd.DataFrame) else value.to_pandas()
