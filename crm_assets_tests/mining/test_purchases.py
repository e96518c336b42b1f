"""Predictions of the next order: values a person can work out, what must hold, and what training promotes."""

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.purchases import BEHAVIOUR_PREDICTIONS, HORIZONS
from crm_assets.mining.bg_nbd import BgNbd
from crm_assets.mining.purchase_training import purchase_training_days, train_purchases
from crm_assets.mining.purchases import (
    PURCHASE_FEATURES,
    PurchaseModel,
    days_until,
    next_orders,
    predict_purchases,
    probability,
    purchase_curve,
    usual_gap,
)

FIRST = date(2024, 1, 1)
MONTH = date(2024, 10, 1)
CONNECTION = ibis.duckdb.connect()


def features_of(**values):
    """Features of customers; what is not named is 1."""
    size = max(len(column) for column in values.values())
    columns = {name: values.get(name, [1.0] * size) for name in PURCHASE_FEATURES}
    return pd.DataFrame({"customer_id": [f"c{n}" for n in range(size)], **columns})


def world(is_random, customers=350, seed=1):
    """Features and what came after on every training day: orders at each customer's own pace, or at random."""
    generator = np.random.default_rng(seed)
    days = sorted({day for days in HORIZONS for day in purchase_training_days(MONTH, FIRST, days)})
    gap = generator.choice([3.0, 10.0, 40.0, 160.0], customers)
    features, later = [], []
    for day in days:
        tenure = np.full(customers, float((day - FIRST).days))
        frame = features_of(recency_days=generator.exponential(gap).round())
        frame = frame.assign(
            as_of=day,
            tenure_days=tenure,
            order_days=np.maximum((tenure / gap).round(), 2),
            gap_median=gap,
            gap_mean=gap,
            order_days_30d=generator.poisson(30 / gap),
            order_days_90d=generator.poisson(90 / gap),
            amount=generator.gamma(2, 50, customers) * tenure / gap,
        )
        frame["recency_days"] = np.minimum(frame["recency_days"], tenure - 1)
        # A customer whose pause is far beyond the usual gap has left.
        left = frame["recency_days"] > 1.5 * gap
        ahead = generator.exponential(np.full(customers, 30.0) if is_random else np.where(left, 500.0, gap)) + 1
        known = ahead <= 90
        after = pd.DataFrame({"as_of": day, "customer_id": frame["customer_id"], "days_until": np.floor(ahead)})
        spend = generator.gamma(2, 50, customers) * (1 if is_random else 90 / gap)
        features.append(frame)
        later.append(after.assign(spend=spend)[known])
    return pd.concat(features, ignore_index=True), pd.concat(later, ignore_index=True)


@pytest.fixture(scope="module")
def trained():
    return train_purchases(*world(is_random=False), MONTH, FIRST, seed=1)


def test_next_orders_are_those_of_the_days_ahead_only():
    types = pa.schema({"customer_id": pa.string(), "day": pa.date32(), "orders": pa.int64(), "amount": pa.float64()})
    days = [("ann", 0, 1, 9.0), ("ann", 3, 0, -2.0), ("ann", 5, 1, 4.0), ("ann", 10, 2, 1.0), ("ann", 11, 1, 7.0)]
    days += [("bob", 2, 0, -3.0), (None, 1, 1, 5.0)]
    rows = [dict(zip(types.names, (who, FIRST + timedelta(n), *rest), strict=True)) for who, n, *rest in days]
    table = next_orders(ibis.memtable(pa.Table.from_pylist(rows, schema=types)), [FIRST, FIRST + timedelta(6)], 10)
    assert [tuple(row.values()) for row in CONNECTION.to_pyarrow(table).to_pylist()] == [
        (FIRST, "ann", 5, 3.0),
        (FIRST, "bob", None, -3.0),
        (FIRST + timedelta(6), "ann", 4, 8.0),
    ]
    with pytest.raises(ValueError, match="at least one"):
        next_orders(table, [])


def test_the_baseline_is_the_customers_own_frequency():
    # Ten days with an order in a hundred days.
    rows = features_of(order_days=[10.0], tenure_days=[99.0])
    assert probability("frequency", {}, rows, 7) == pytest.approx([1 - np.exp(-0.7)])


def test_the_process_expects_as_many_orders_as_it_finds_likely_in_a_short_time():
    process = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426, modified=True)
    rows = features_of(order_days=[3.0, 1.0], tenure_days=[38.0, 38.0], recency_days=[8.0, 38.0])
    found = probability("mbg_nbd", process.to_document(), rows, 0.01)
    expected = process.expected_orders([2, 0], [30, 0], [38, 38], 0.01)
    assert found == pytest.approx(expected, rel=1e-3)


def test_the_day_of_the_next_order_is_where_the_curve_reaches_a_half():
    curve = np.array([[0.5, 0.75, 0.75], [0.75, 0.9, 1.0], [0.0, 0.1, 0.3]])
    assert days_until(curve, 0.5).tolist()[:2] == [7, 4]
    assert np.isnan(days_until(curve, 0.5)[2])
    # Halfway between 7 and 30 days on a curve of equal chances: a share of 1 - sqrt(0.5 * 0.25) has ordered.
    assert days_until(curve, 1 - np.sqrt(0.125))[0] == 19
    assert np.isnan(days_until(curve, 0.9)[0])
    assert days_until(curve, 0.9)[1] == 30


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted), st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_more_customers_take_longer(curve, one, other):
    low, high = sorted([one, other])
    days = [days_until(np.array([curve]), share)[0] for share in (low, high)]
    assert np.isnan(days[1]) or 1 <= days[0] <= days[1] <= HORIZONS[-1]


def test_who_is_overdue_is_expected_tomorrow_by_the_usual_gap():
    rows = features_of(gap_median=[10.0, 10.0, 2.5, np.nan], recency_days=[3.0, 30.0, 0.0, 5.0])
    assert usual_gap(rows).tolist()[:3] == [7, 1, 3]
    assert np.isnan(usual_gap(rows)[3])


@pytest.mark.parametrize("days", HORIZONS)
def test_what_is_learnt_had_ended_before_the_test_and_the_test_before_the_month(days):
    found = purchase_training_days(MONTH, FIRST, days)
    assert found[-1] + timedelta(days=days) < MONTH
    assert any(day + timedelta(days=days) <= found[-1] for day in found)
    assert purchase_training_days(date(2024, 2, 1), FIRST, days) == []


def test_what_customers_do_at_their_own_pace_is_learnt(trained):
    board = trained.leaderboard
    assert list(board.columns) == list(MODEL_LEADERBOARD.by_name)
    assert set(board["model"]) == {"purchase_7d", "purchase_30d", "purchase_90d", "spend_90d", "next_order"}
    auc = board[(board["model"] == "purchase_30d") & (board["metric"] == "auc")].set_index("candidate")["value"]
    assert auc["logistic"] > auc["frequency"] + 0.03
    champions = board[board["is_champion"]].groupby("model")["candidate"].unique()
    assert champions["purchase_30d"].tolist() == ["logistic"]
    assert all(len(names) == 1 for names in champions)
    brier = board[(board["model"] == "purchase_30d") & (board["metric"] == "brier")].set_index("candidate")
    assert brier.loc["logistic", "low"] < brier.loc["logistic", "value"] < brier.loc["logistic", "high"]


def test_random_orders_promote_nothing():
    found = train_purchases(*world(is_random=True), MONTH, FIRST, seed=1)
    auc = found.leaderboard[found.leaderboard["metric"] == "auc"].set_index("candidate")["value"]
    assert (auc["logistic"] < 0.6).all()
    assert found.model.spend["champion"] == "past_spend"
    assert {model["champion"] for model in found.model.purchase.values()} == {"frequency"}


def test_a_young_history_leaves_the_baselines_and_says_so():
    features, later = world(is_random=False)
    found = train_purchases(features[:0], later[:0], date(2024, 2, 1), FIRST, seed=1)
    assert found.leaderboard.empty
    assert found.message.count("untested") == 4
    assert {model["champion"] for model in found.model.purchase.values()} == {"frequency"}
    rows = predict_purchases(found.model, features_of(order_days=[4.0], tenure_days=[39.0]), date(2024, 2, 3))
    assert rows["p_order_7d"].tolist() == pytest.approx([1 - np.exp(-0.7)])


def test_rows_are_those_of_the_contract_and_chances_grow_with_the_days(trained):
    features, _ = world(is_random=False, seed=9)
    day = features[features["as_of"] == features["as_of"].max()]
    never = day.head(1).assign(customer_id="never", recency_days=np.nan)
    rows = predict_purchases(trained.model, pd.concat([day.iloc[::-1], never]), date(2024, 10, 5))
    assert list(rows.columns) == list(BEHAVIOUR_PREDICTIONS.by_name)
    assert rows["customer_id"].tolist() == sorted(day["customer_id"])
    chances = rows[[f"p_order_{days}d" for days in HORIZONS]].to_numpy()
    assert ((chances >= 0) & (chances <= 1)).all()
    assert (np.diff(chances, axis=1) >= 0).all()
    assert (rows["expected_spend_90d"] >= 0).all()
    known = rows.dropna(subset=["next_order_on", "next_order_low", "next_order_high"])
    assert len(known) > 50
    assert (known["next_order_low"] <= known["next_order_on"]).all() or trained.model.next_order == "usual_gap"
    assert (known["next_order_low"] > date(2024, 10, 5)).all()
    assert predict_purchases(trained.model, never, date(2024, 10, 5)).empty


def test_a_customer_is_predicted_alike_alone_and_among_others(trained):
    features, _ = world(is_random=False, seed=9)
    day = features[features["as_of"] == features["as_of"].max()]
    among = predict_purchases(trained.model, day, MONTH).set_index("customer_id")
    alone = predict_purchases(trained.model, day[day["customer_id"] == "c7"], MONTH).set_index("customer_id")
    pd.testing.assert_frame_equal(alone, among.loc[["c7"]], check_exact=True)


def test_a_stored_model_predicts_as_before(trained):
    features, _ = world(is_random=False, seed=9)
    again = PurchaseModel.from_document(trained.model.to_document())
    pd.testing.assert_frame_equal(
        predict_purchases(again, features.head(50), MONTH), predict_purchases(trained.model, features.head(50), MONTH)
    )
    assert purchase_curve(again.purchase, features.head(5)).shape == (5, 3)
