"""Who buys an item soon: items and histories worked out by hand, the choice of champions, and scores."""

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from crm_assets.contracts.canonical import PRODUCTS, TRANSACTIONS
from crm_assets.contracts.propensity import PROPENSITY_SCORES
from crm_assets.mining.offers import products_bought
from crm_assets.mining.propensity import (
    FREQUENCY,
    LOGISTIC,
    Item,
    PropensityModels,
    best_sellers,
    chance,
    item_days,
    item_histories,
    ranked_propensities,
    score_item,
)
from crm_assets.mining.propensity_training import train_propensities
from crm_assets.mining.purchase_training import purchase_training_days
from crm_assets.mining.purchases import PURCHASE_FEATURES

AS_OF = date(2024, 6, 30)
CONNECTION = ibis.duckdb.connect()
LINES = {column.name: column.dtype for column in TRANSACTIONS.columns} | {"day": "date"}
VERSIONS = {column.name: column.dtype for column in PRODUCTS.columns} | {"valid_from": "date", "valid_to": "date"}
BREAD, TEA = Item("category", "bread"), Item("product", "tea: 茶")


def engine_table(name, rows, schema):
    arrow = pa.Table.from_pylist(rows, schema=ibis.schema(schema).to_pyarrow())
    return CONNECTION.create_table(name, arrow, overwrite=True, temp=True)


def bought(lines, as_of=AS_OF):
    """Products bought, given as customer, product and days before AS_OF; rye and white are bread."""
    rows = [
        {"order_id": str(n), "line_id": "1", "customer_id": who, "product_id": what, "quantity": 1, "amount": 2}
        | {"day": AS_OF - timedelta(days=ago)}
        for n, (who, what, ago) in enumerate(lines)
    ]
    kinds = {"rye": "bread", "white": "bread", "tea: 茶": "drinks"}
    products = [{"product_id": k, "category": v, "valid_from": date(1900, 1, 1)} for k, v in kinds.items()]
    return products_bought(engine_table("l", rows, LINES), engine_table("p", products, VERSIONS), as_of, 365)


def test_an_item_is_read_as_it_is_written():
    assert [Item.of(str(item)) for item in (BREAD, TEA)] == [BREAD, TEA]
    for text in ("bread", "category:", "shelf: bread", ": bread"):
        with pytest.raises(ValueError, match="an item is written level: name"):
            Item.of(text)


def test_best_sellers_are_what_most_customers_bought():
    found = bought([("ann", "tea: 茶", 1), ("ann", "tea: 茶", 2), ("ann", "rye", 3), ("bob", "white", 3)])
    assert best_sellers(found, "category", 1) == [BREAD]
    assert best_sellers(found, "product", 9) == [Item("product", "rye"), TEA, Item("product", "white")]
    assert best_sellers(found, "brand", 3) == []


def test_histories_are_those_worked_out_by_hand():
    lines = [
        ("ann", "rye", 200), ("ann", "white", 200), ("ann", "white", 40), ("ann", "rye", 10),
        ("bob", "rye", 5), ("ann", "tea: 茶", 1),
    ]  # fmt: skip
    days = item_days(bought(lines), [BREAD, TEA])
    assert days.count().to_pyarrow().as_py() == 5
    earlier = AS_OF - timedelta(days=30)
    found = item_histories(days, [earlier, AS_OF], 30).to_pandas().sort_values(["as_of", "item", "customer_id"])
    rows = [tuple(None if pd.isna(value) else value for value in row[1:]) for row in found.itertuples(index=False)]
    assert rows == [
        # item, customer, days so far, of the newest 90, days since the last, whether bought in the 30 days after
        ("category: bread", "ann", 2, 1, 10, True),
        ("category: bread", "bob", 0, 0, None, True),
        ("product: tea: 茶", "ann", 0, 0, None, True),
        ("category: bread", "ann", 3, 2, 10, False),
        ("category: bread", "bob", 1, 1, 5, False),
        ("product: tea: 茶", "ann", 1, 1, 1, False),
    ]


def customers(number=400, seed=3):
    """Features of customers on the training days of a month, and their histories with an item.

    They order with a pace of their own and buy the item in some of their orders, or never; who will is told by the newest
    days better than by all.
    """
    chances = np.random.default_rng(seed)
    month, first_day = date(2024, 7, 1), date(2023, 7, 1)
    features, histories = [], []
    for day in purchase_training_days(month, first_day, 30):
        tenure = (day - first_day).days
        for who in range(number):
            orders = int(chances.integers(2, 40))
            often, lately = int(chances.integers(0, orders)), int(chances.integers(0, 6)) if who % 2 else 0
            row = dict.fromkeys(PURCHASE_FEATURES, 0.0) | {"as_of": day, "customer_id": f"c{who}"}
            features.append(row | {"tenure_days": tenure, "order_days": orders, "recency_days": who % 20})
            pause = float(chances.integers(1, 30)) if lately else float(chances.integers(90, 200))
            buys = chances.random() < (0.15 + 0.12 * lately if lately else 0.05)
            histories.append(
                {"as_of": day, "item": str(BREAD), "customer_id": f"c{who}", "bought_days": often + lately}
                | {"bought_days_recent": lately, "bought_recency": pause, "buys": buys}
            )
    return pd.DataFrame(features), pd.DataFrame(histories), month, first_day


def trained(features, histories, month, first_day, items=(BREAD,)):
    return train_propensities(features, histories, items, month, first_day, 30, seed=1)


def test_the_model_is_champion_where_it_ranks_better_than_the_customers_own_frequency():
    found = trained(*customers())
    assert found.models.items[str(BREAD)]["champion"] == LOGISTIC
    board = found.leaderboard.set_index(["candidate", "metric"])["value"]
    assert board[LOGISTIC, "auc"] > board[FREQUENCY, "auc"] + 0.1
    assert board[LOGISTIC, "ece"] < 0.1
    assert set(found.leaderboard["model"]) == {"propensity: category: bread"}
    assert PropensityModels.from_document(found.models.to_document()) == found.models


def test_where_purchases_are_random_nothing_is_promoted():
    features, histories, *when = customers()
    histories["buys"] = np.random.default_rng(8).random(len(histories)) < 0.3
    found = trained(features, histories, *when)
    assert found.models.items[str(BREAD)]["champion"] == FREQUENCY


def test_an_item_few_bought_keeps_the_frequency_and_says_so():
    features, histories, *when = customers()
    few = histories.assign(buys=histories["customer_id"].isin(["c1", "c2"]))
    found = trained(features, few[few["customer_id"].isin(["c1", "c2", "c3"])], *when, items=(BREAD, TEA))
    assert [model["champion"] for model in found.models.items.values()] == [FREQUENCY, FREQUENCY]
    assert found.message.count("champion untested: too few customers bought it") == 2
    assert found.leaderboard.empty


def test_without_history_nothing_fails():
    features, histories, month, _ = customers()
    found = trained(features[:0], histories[:0], month, month)
    assert found.models.items[str(BREAD)]["champion"] == FREQUENCY


def test_scores_say_what_speaks_for_them_and_are_ranked():
    rows = pd.DataFrame(dict.fromkeys(PURCHASE_FEATURES, [0.0] * 3)).assign(
        customer_id=["ann", "bob", "cat"], tenure_days=99.0, bought_days=[10, np.nan, 1], bought_recency=[3, np.nan, 40],
        bought_days_recent=[4, np.nan, 1],
    )  # fmt: skip
    models = PropensityModels("propensity-2024-06", 30, {str(BREAD): {"champion": FREQUENCY, "estimator": {}}}, {})
    scores = score_item(models, BREAD, rows, AS_OF)
    assert scores["probability"].tolist() == pytest.approx([1 - np.exp(-3), 0, 1 - np.exp(-0.3)])
    assert scores["reason"].tolist() == [
        "bought on 10 days so far, last on 2024-06-27", "never bought", "bought once, on 2024-05-21"
    ]  # fmt: skip
    table = ibis.memtable(pa.Table.from_pandas(scores, schema=PROPENSITY_SCORES.schema.to_pyarrow()))
    ranked = ranked_propensities(table).to_pandas().set_index("customer_id")
    assert ranked["rank"].to_dict() == {"ann": 1, "cat": 2, "bob": 3}
    assert ranked.loc["bob", "bought_days"] == 0
    assert chance(FREQUENCY, {}, rows[:0], 30).tolist() == []
