"""Customer value: histories as of a day, training, scores and their intervals."""

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import ibis
import numpy as np
import pandas as pd
import pytest

from crm_assets.contracts.value import CUSTOMER_VALUE
from crm_assets.mining.bg_nbd import BgNbd, fit_bg_nbd
from crm_assets.mining.customer_value import VALUE_FEATURES, ValueModel, score_value
from crm_assets.mining.gamma_gamma import GammaGamma, fit_gamma_gamma
from crm_assets.mining.value_measures import later_spend, value_measures
from crm_assets.mining.value_metrics import judge
from crm_assets.mining.value_training import HeldOut, Histories, Terms, train_value, value_training_days
from crm_assets_tests.mining.order_processes import CDNOW_CALIBRATION_ENDS, cdnow, measured

AS_OF = date(2020, 3, 31)
FIRST_DAY, MONTH = date(2020, 1, 1), date(2020, 12, 1)
TERMS = Terms(holdout_days=90, horizon_days=365, discount_rate=0.1, seed=5)
PROCESS = BgNbd(0.8, 30.0, 0.8, 3.0, modified=True)
MODEL = ValueModel("m", "mbg_nbd", PROCESS, GammaGamma(6.0, 4.0, 15.0), "", FIRST_DAY, 90, 365, 0.1, 5, {})


def days_table(rows):
    """Rows of customer, day, orders and amount, as far as value reads `customer_days`."""
    columns = {"customer_id": "string", "day": "date", "orders": "int64", "amount": "decimal(18, 4)"}
    frame = pd.DataFrame(rows, columns=list(columns)).assign(amount=lambda t: t["amount"].map(Decimal))
    return ibis.memtable(frame, schema=columns)


def history(*rows):
    """Measures as a frame: customer, frequency, recency, age, amount."""
    frame = pd.DataFrame(rows, columns=["customer_id", "frequency", "recency", "age", "amount"])
    return frame.astype({"frequency": "int64", "recency": "int64", "age": "int64", "amount": "float64"})


def test_a_history_counts_days_with_an_order_up_to_the_day_and_nets_returns():
    rows = days_table([
        ("a", date(2020, 3, 1), 2, "10"), ("a", date(2020, 3, 11), 1, "5.5"), ("a", date(2020, 3, 20), 0, "-2.5"),
        ("a", date(2020, 4, 1), 1, "99"), ("b", AS_OF, 1, "3"), ("late", date(2020, 4, 1), 1, "7"),
        ("returns only", AS_OF, 0, "-1"),
    ])  # fmt: skip
    expected = history(("a", 1, 10, 30, 13), ("b", 0, 0, 0, 3))
    pd.testing.assert_frame_equal(value_measures(rows, AS_OF).to_pandas(), expected, check_dtype=False)
    later = later_spend(rows, [AS_OF, date(2020, 3, 10)], 10).to_pandas().astype({"as_of": "str"})
    assert later.to_numpy().tolist() == [
        ["2020-03-10", "a", 1, 3.0], ["2020-03-31", "a", 1, 99.0], ["2020-03-31", "late", 1, 7.0],
    ]  # fmt: skip


def test_no_customers_have_no_value():
    measures = value_measures(days_table([("late", date(2020, 4, 1), 1, "7")]), AS_OF).to_pandas()
    assert list(score_value(MODEL, measures, AS_OF).columns) == list(CUSTOMER_VALUE.by_name)
    assert score_value(MODEL, measures, AS_OF).empty


def test_value_is_orders_times_order_value_discounted():
    rows = history(("a", 9, 300, 310, 500), ("b", 0, 0, 200, 40), ("c", 2, 20, 300, -5))
    scores = score_value(MODEL, rows, AS_OF)
    assert list(scores.columns) == list(CUSTOMER_VALUE.by_name)
    undiscounted = scores["expected_orders"] * scores["expected_order_value"]
    ratio = scores["clv"] / undiscounted
    assert ratio.between(1 / 1.1, 1).all()
    plain = score_value(replace(MODEL, discount_rate=0.0), rows, AS_OF)
    assert plain["clv"].to_numpy() == pytest.approx(undiscounted.to_numpy())
    alive, orders = scores.set_index("customer_id")["p_alive"], scores.set_index("customer_id")["expected_orders"]
    assert alive["a"] > alive["b"] > alive["c"] > 0
    assert orders["a"] > orders["b"]


def test_one_time_buyers_fade_like_everyone():
    young, old = history(("a", 0, 0, 5, 20)), history(("a", 0, 0, 500, 20))
    scores = [score_value(MODEL, rows, AS_OF).iloc[0] for rows in (young, old)]
    assert 1 > scores[0]["p_alive"] > scores[1]["p_alive"] > 0
    assert scores[0]["clv"] > scores[1]["clv"]


def test_a_longer_horizon_is_worth_more():
    rows = history(("a", 9, 300, 310, 500), ("b", 0, 0, 200, 40))
    year, two = (score_value(replace(MODEL, horizon_days=days), rows, AS_OF) for days in (365, 730))
    assert (two["clv"] > year["clv"]).all()
    assert (two["expected_orders"] > year["expected_orders"]).all()


def test_the_order_of_rows_changes_nothing_and_a_day_has_draws_of_its_own():
    rows = history(*((f"c{n}", n % 7, 10 * (n % 7), 100 + n, 30.0 + n) for n in range(50)))
    scores = score_value(MODEL, rows, AS_OF)
    pd.testing.assert_frame_equal(score_value(MODEL, rows.sample(frac=1, random_state=1), AS_OF), scores)
    tomorrow = score_value(MODEL, rows, AS_OF + timedelta(1))
    assert tomorrow["clv"].equals(scores["clv"])
    assert not tomorrow["clv_high"].equals(scores["clv_high"])


def drawn_world(customers=1_500, seed=4):
    """What customers of the process did from the first day to the end of the year, as `customer_days`."""
    generator = np.random.default_rng(seed)
    rate = generator.gamma(0.8, 1 / 15.0, customers)
    leaving = generator.beta(0.8, 6.0, customers)
    level = generator.gamma(4.0, 1 / 60.0, customers)
    last = (date(2020, 12, 31) - FIRST_DAY).days
    rows = []
    for number in range(customers):
        clock = generator.uniform(0, 60)
        while clock <= last:
            amount = generator.gamma(6.0) / level[number] / 4
            rows.append((f"c{number:04}", FIRST_DAY + timedelta(int(clock)), 1, f"{amount:.2f}"))
            if generator.random() < leaving[number]:
                break
            clock += generator.exponential(1 / rate[number])
    frame = pd.DataFrame(rows, columns=["customer_id", "day", "orders", "amount"])
    frame["amount"] = frame["amount"].map(Decimal)
    return days_table(frame.groupby(["customer_id", "day"], as_index=False).sum().to_numpy().tolist())


def features_of(measures, as_of):
    """Features as far as they follow from the history; the others are unknown."""
    known = {
        "recency_days": measures["age"] - measures["recency"],
        "tenure_days": measures["age"],
        "order_days": measures["frequency"] + 1,
        "amount": measures["amount"],
    }
    rows = pd.DataFrame({"as_of": as_of, "customer_id": measures["customer_id"]})
    return rows.assign(**{name: known.get(name, np.nan) for name in VALUE_FEATURES})


@pytest.fixture(scope="module")
def world():
    return drawn_world()


@pytest.fixture(scope="module")
def held_out(world):
    days = value_training_days(MONTH, FIRST_DAY, TERMS.holdout_days)
    measures = {day: value_measures(world, day).to_pandas() for day in days}
    features = pd.concat([features_of(rows, day) for day, rows in measures.items()], ignore_index=True)
    return HeldOut(days[-1], measures[days[-1]], later_spend(world, days, TERMS.holdout_days).to_pandas(), features)


@pytest.fixture(scope="module")
def histories(world):
    return Histories.of(value_measures(world, MONTH - timedelta(1)).to_pandas())


@pytest.fixture(scope="module")
def trained(histories, held_out):
    return train_value(histories, held_out, MONTH, FIRST_DAY, TERMS)


def test_what_a_training_day_predicts_has_ended_before_the_month():
    days = value_training_days(MONTH, FIRST_DAY, 90)
    assert days[-1] == date(2020, 8, 31)
    assert days[-1] + timedelta(90) < MONTH
    assert all((day + timedelta(1)).day == 1 for day in days)
    assert value_training_days(date(2020, 3, 1), FIRST_DAY, 90) == []


def test_the_process_customers_follow_is_champion_over_past_spend(trained):
    assert trained.model.champion == "mbg_nbd", trained.message
    figures = trained.leaderboard.pivot(index="candidate", columns="metric", values="value")
    assert list(figures.index) == ["bg_nbd", "lightgbm", "mbg_nbd", "past_spend"]
    assert figures["mae"]["mbg_nbd"] < figures["mae"]["past_spend"]
    assert (trained.leaderboard["low"] <= trained.leaderboard["value"]).all()
    assert (trained.leaderboard["high"] >= trained.leaderboard["value"]).all()
    assert trained.leaderboard["is_champion"].sum() == 3
    assert trained.model.card["choice"] == trained.message


def test_intervals_hold_what_they_promise_on_days_held_out(trained):
    # Many futures are without any spend, which the interval then holds whole: more than promised.
    assert 0.88 <= trained.model.card["interval"]["held"] <= 0.97


def test_expected_orders_come_true_by_frequency(trained):
    rows = trained.calibration[trained.calibration["customers"] >= 50]
    assert len(rows) >= 5
    assert np.abs(rows["expected"] - rows["realised"]).max() < 0.25


def test_each_champion_scores_in_contract_and_survives_storage(trained, held_out, tmp_path):
    skops = pytest.importorskip("skops.io")
    booster = train_value_with(held_out, "lightgbm")
    for model in (trained.model, replace(trained.model, champion="past_spend"), booster):
        skops.dump(model.to_document(), tmp_path / "model.skops")
        stored = ValueModel.from_document(skops.load(tmp_path / "model.skops"))
        assert stored == model == ValueModel.from_document(json.loads(json.dumps(model.to_document())))
        scores = score_value(stored, held_out.measures, held_out.day, held_out.as_of_rows())
        assert scores["customer_id"].is_unique
        assert len(scores) == len(held_out.measures)
        assert scores["p_alive"].between(0, 1).all()
        assert (scores.drop(columns=["as_of", "customer_id"]) >= 0).all(axis=None)
        assert scores["clv"].between(scores["clv_low"], scores["clv_high"]).all()


def train_value_with(held_out, champion):
    """The model of a world in which spend goes with a feature that the process does not know."""
    generator, told = np.random.default_rng(1), held_out.features[["as_of", "customer_id"]].assign(orders=1)
    told["spend"] = generator.uniform(0, 100, len(told))
    features = held_out.features.assign(contacts_90d=told["spend"].to_numpy() + generator.normal(0, 5, len(told)))
    trained = train_value(
        Histories.of(held_out.measures), replace(held_out, spend=told, features=features), MONTH, FIRST_DAY, TERMS
    )
    assert trained.model.champion == champion, trained.message
    return trained.model


def test_the_learner_says_that_it_needs_features(held_out):
    model = train_value_with(held_out, "lightgbm")
    with pytest.raises(ValueError, match="reads customer_features"):
        score_value(model, held_out.measures, held_out.day)
    with pytest.raises(ValueError, match="1 customers have no features"):
        score_value(model, held_out.measures, held_out.day, held_out.as_of_rows().iloc[1:])


def test_random_spend_promotes_nothing(histories, held_out):
    generator = np.random.default_rng(3)
    names = held_out.measures["customer_id"].to_numpy()
    told = held_out.features[["as_of"]].assign(orders=1, spend=generator.gamma(1, 50, len(held_out.features)))
    told["customer_id"] = told.groupby("as_of")["as_of"].transform(
        lambda rows: generator.permutation(names)[: len(rows)]
    )
    trained = train_value(histories, replace(held_out, spend=told), MONTH, FIRST_DAY, TERMS)
    rank = trained.leaderboard[trained.leaderboard["metric"] == "rank_correlation"].set_index("candidate")["value"]
    assert abs(rank["lightgbm"]) < 0.1
    assert trained.model.champion == "past_spend"


def test_threads_and_a_second_training_change_nothing(histories, held_out, trained):
    again = train_value(histories, held_out, MONTH, FIRST_DAY, TERMS, threads=2)
    assert again.model == trained.model
    pd.testing.assert_frame_equal(again.leaderboard, trained.leaderboard)


def test_a_young_history_is_valued_untested(histories):
    trained = train_value(histories, None, MONTH, FIRST_DAY, TERMS)
    assert trained.model.champion == "mbg_nbd"
    assert trained.message == "mbg_nbd is champion untested: too little history to hold 90 days out"
    assert trained.leaderboard.empty


def test_without_repeated_orders_it_says_what_it_needs():
    once = Histories.of(history(*((f"c{n}", 0, 0, n, 5.0) for n in range(100))))
    trained = train_value(once, None, MONTH, FIRST_DAY, TERMS)
    assert (trained.model, trained.message) == (None, "needs 30 customers who ordered again: 0")


def test_figures_of_a_known_prediction():
    spend = np.array([0.0, 0, 0, 0, 0, 0, 0, 30, 10, 60])
    perfect, constant = judge(spend, spend, 1), judge(spend, np.full(10, 10.0), 1)
    assert perfect.values == {"mae": 0.0, "top_decile_capture": 0.6, "rank_correlation": pytest.approx(1.0)}
    assert constant.values["mae"] == 14.0
    assert constant.values["top_decile_capture"] == pytest.approx(0.1)
    assert np.isnan(constant.values["rank_correlation"])


def test_rank_correlation_agrees_with_scipy():
    from scipy.stats import spearmanr

    generator = np.random.default_rng(1)
    spend, forecast = generator.integers(0, 20, 300), generator.integers(0, 20, 300)
    assert judge(spend, forecast, 1).values["rank_correlation"] == pytest.approx(spearmanr(spend, forecast).statistic)


@pytest.mark.parametrize(("name", "least", "past"), [("sample", 0.500, 0.481), ("master", 0.515, 0.498)])
def test_value_of_cdnow_finds_more_of_the_next_39_weeks_spend_than_past_spend(name, least, past):
    purchases = cdnow(name)
    rows = measured(purchases)
    after = purchases[purchases["day"] > pd.Timestamp(CDNOW_CALIBRATION_ENDS)]
    spend = after.groupby("customer_id")["amount"].sum().reindex(rows.index).fillna(0.0)
    again = rows["frequency"] > 0
    mean = ((rows["amount"] - rows["first"]) / rows["frequency"]).where(again, 0.0)
    values = fit_gamma_gamma(rows["frequency"][mean > 0], mean[mean > 0]).expected_value(rows["frequency"], mean)
    for modified in (False, True):
        model = fit_bg_nbd(rows["frequency"], rows["recency"], rows["age"], modified=modified)
        expected = model.expected_orders(rows["frequency"], rows["recency"], rows["age"], 39)
        assert judge(spend, expected * values, 1).values["top_decile_capture"] >= least
    assert judge(spend, rows["amount"], 1).values["top_decile_capture"] == pytest.approx(past, abs=0.001)
