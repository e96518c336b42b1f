"""How likely steps are: the test in time, the choice, and probabilities in the engine."""

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest

from crm_assets.mining.model_metrics import METRICS
from crm_assets.mining.up_sell import FEATURES
from crm_assets.mining.up_sell_training import (
    LOGISTIC,
    MOVED_UP,
    STEP_RATE,
    StepModel,
    chance,
    train_steps,
    training_days,
    with_probability,
)

AS_OF = date(2024, 6, 30)
DAYS = training_days(AS_OF, 30)


def cases(moves, count=1_500, days=DAYS):
    """Cases of 300 customers on each day, of whom those move whose features and ladder say so by chance."""
    found = []
    for number, day in enumerate(days):
        drawn = np.random.default_rng(number)
        rows = pd.DataFrame({name: drawn.random(count) for name in FEATURES})
        rows = rows.assign(moved_up=(rows["moved_up"] > 0.7) * 1.0, is_bigger=0.0, kind="premium")
        rows = rows.assign(ladder=np.arange(count) % 4, customer_id=[f"c{n % 300}" for n in range(count)], as_of=day)
        found.append(rows.assign(moved=drawn.random(count) < moves(rows)))
    return pd.concat(found, ignore_index=True)


def champion(trained):
    return set(trained.leaderboard.loc[trained.leaderboard["is_champion"], "candidate"])


def test_the_days_learnt_from_and_tested_on_end_before_the_day():
    assert [AS_OF - timedelta(days=60), AS_OF - timedelta(days=30)] == DAYS


def test_the_regression_is_champion_where_customers_tell_more_than_rates():
    trained = train_steps(cases(lambda rows: 0.02 + 0.2 * rows["moved_up"] + 0.3 * rows["log_orders"]), AS_OF, 30, 1)
    assert champion(trained) == {LOGISTIC} == {trained.model.champion}
    board = trained.leaderboard.set_index(["candidate", "metric"])
    assert set(board.index) == {(name, metric) for name in (STEP_RATE, MOVED_UP, LOGISTIC) for metric in METRICS}
    assert set(board["trained_for"]) == {date(2024, 7, 1)}
    auc = board.xs("auc", level="metric")
    assert (auc["low"] < auc["value"]).all()
    assert (auc["value"] < auc["high"]).all()
    assert auc.loc[LOGISTIC, "value"] > auc.loc[MOVED_UP, "value"] > auc.loc[STEP_RATE, "value"]
    # Calibrated: on the day of the test too, about as many moved as was expected.
    assert board.loc[(LOGISTIC, "ece"), "value"] < 0.05
    assert trained.message.startswith("logistic is champion: logistic has AUC 0.")


@pytest.mark.parametrize("moves", [lambda rows: 0.1, lambda rows: 0.05 + 0.1 * rows["ladder"]])
def test_the_rate_of_the_step_is_used_where_nothing_tells_more(moves):
    trained = train_steps(cases(moves), AS_OF, 30, 1)
    assert champion(trained) == {STEP_RATE} == {trained.model.champion}
    assert trained.message.startswith("step_rate is champion: logistic has AUC 0.")


@pytest.mark.parametrize("moves", [lambda rows: 0.0, lambda rows: 1.0])
def test_one_outcome_leaves_the_rate_of_the_step_untested(moves):
    trained = train_steps(cases(moves), AS_OF, 30, 1)
    assert trained.leaderboard.empty
    assert trained.model.champion == STEP_RATE
    assert 0 < trained.model.kind_rates["premium"] < 1
    assert trained.message == "step_rate is champion untested: too few cases before 2024-06-30 (1500 and 1500)"


def test_rates_of_few_customers_are_drawn_to_those_of_all():
    rows = pd.DataFrame({name: [0.0] * 23 for name in FEATURES}).assign(
        kind="premium",
        ladder=[1] * 20 + [2] * 3,
        customer_id=[f"c{n}" for n in range(23)],
        as_of=DAYS[1],
        moved=[False] * 20 + [True] * 3,
    )
    model = train_steps(rows, AS_OF, 30, 1).model
    # Of all 3.5 of 24; of the second ladder 3 of 3, beside 20 as usual.
    assert model.kind_rates["premium"] == pytest.approx(3.5 / 24)
    assert model.ladder_rates["rate"].tolist() == pytest.approx([20 * 3.5 / 24 / 40, (3 + 20 * 3.5 / 24) / 23])
    unknown = rows.tail(1).assign(ladder=3)
    assert chance(model, unknown, STEP_RATE).tolist() == pytest.approx([3.5 / 24])
    assert chance(model, unknown.assign(kind="bigger pack"), STEP_RATE).tolist() == pytest.approx([0.5])


def test_nobody_to_learn_from_is_said():
    trained = train_steps(cases(lambda rows: 0.5, days=DAYS[:1]), AS_OF, 30, 1)
    assert (trained.model, trained.message) == (
        None,
        "needs customers who bought below a step, 30 days before 2024-06-30: 0",
    )


@pytest.mark.parametrize("name", [LOGISTIC, STEP_RATE])
def test_the_engine_gives_the_same_probabilities(name):
    rows = cases(lambda rows: 0.1, count=40).drop(columns=["moved"])
    rates = pd.DataFrame({"ladder": [0, 1], "kind": "premium", "rate": [0.25, 0.5]})
    weights = {feature: number - 3.5 for number, feature in enumerate(FEATURES)}
    kinds = {"premium": 0.1, "bigger pack": 0.2}
    model = StepModel(name, kinds, rates, {("premium", 1.0): 0.3}, weights, -0.7)
    found = with_probability(ibis.memtable(rows), model).to_pandas()
    order = ["as_of", "customer_id"]
    found, rows = (frame.sort_values(order, ignore_index=True) for frame in (found, rows))
    assert found["probability"].tolist() == pytest.approx(chance(model, rows, name).tolist(), rel=1e-12)
