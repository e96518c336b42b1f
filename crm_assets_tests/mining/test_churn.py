"""Churn labels, training and scores."""

import json
from dataclasses import replace
from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest

from crm_assets.mining import classifiers
from crm_assets.mining.challenger import against_previous
from crm_assets.mining.churn import (
    ChurnModel,
    churn_labels,
    churn_training_days,
    feature_importance,
    feature_matrix,
    score_churn,
    training_days,
)
from crm_assets.mining.churn_reasons import NOTHING, reasons, theme
from crm_assets.mining.churn_training import train_churn
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.explaining import lowered_by_theme, themes_of
from crm_assets.mining.model_metrics import evaluate, figures
from crm_assets_tests.mining.feature_tables import churn_frames, line, transactions_table

AS_OF = date(2020, 3, 31)
MONTH = date(2020, 8, 1)
DAYS = training_days(MONTH, date(2020, 1, 1))


@pytest.fixture(scope="module")
def frames():
    return churn_frames(DAYS)


@pytest.fixture(scope="module")
def trained(frames):
    return train_churn(*frames, MONTH)


def test_labels_look_at_the_horizon_of_customers_active_by_the_day():
    connection = ibis.duckdb.connect()
    lines = [
        line("stays", AS_OF, "o1", "p", "1"),
        line("stays", AS_OF + timedelta(30), "o2", "p", "1"),
        line("leaves", AS_OF - timedelta(59), "o3", "p", "1"),
        line("leaves", AS_OF + timedelta(31), "o4", "p", "1"),
        line("gone", AS_OF - timedelta(60), "o5", "p", "1"),
    ]
    labels = connection.to_pandas(churn_labels(customer_days(transactions_table(connection, lines)), [AS_OF]))
    assert dict(zip(labels["customer_id"], labels["churned"], strict=True)) == {"leaves": True, "stays": False}


def test_the_horizon_of_a_training_day_ends_before_the_month():
    assert DAYS[0] == date(2020, 1, 31)
    assert max(DAYS) + timedelta(30) < MONTH
    assert training_days(date(2020, 2, 1), date(2020, 1, 1)) == []


def test_days_with_less_history_than_the_label_teach_only_where_few_others_do():
    first_day = date(2020, 1, 1)
    grown = churn_training_days(date(2021, 1, 1), first_day, 90)
    assert (grown[0], grown[-1]) == (date(2020, 3, 31), date(2020, 9, 30))
    assert grown == training_days(date(2021, 1, 1), first_day, 90)[4:]
    young = churn_training_days(MONTH, first_day, 90)
    assert young == training_days(MONTH, first_day, 90)
    assert young[0] == date(2020, 1, 31)
    assert churn_training_days(date(2020, 2, 1), first_day) == []


def test_labels_that_end_in_the_month_change_nothing(frames, trained):
    features, labels = frames
    late_features, late_labels = churn_frames([MONTH - timedelta(30)])
    again = train_churn(pd.concat([features, late_features]), pd.concat([labels, late_labels]), MONTH)
    assert again.model == trained.model


def test_the_champion_beats_the_rule_and_survives_storage(frames, trained):
    assert trained.model.champion != "recency"
    stored = ChurnModel.from_document(json.loads(json.dumps(trained.model.to_document())))
    today = frames[0][frames[0]["as_of"] == DAYS[-1]]
    scores = score_churn(stored, today)
    assert scores.equals(score_churn(trained.model, today))
    assert scores["churn_probability"].between(0, 1).all()
    assert scores["reasons"].map(len).between(1, 3).all()


def test_without_churned_customers_it_says_what_it_needs(frames):
    features, labels = frames
    result = train_churn(features, labels.assign(churned=False), MONTH)
    assert (result.model, result.message) == (None, "needs customers who churned: 0 rows")


def test_a_young_history_steps_down_to_the_rule(frames):
    features, labels = (frame[frame["as_of"] == DAYS[0]] for frame in frames)
    result = train_churn(features, labels, MONTH)
    assert result.model.champion == "recency"
    scores = score_churn(result.model, features)
    assert scores["reasons"].iloc[0][0].startswith(("No order for", "Nothing stands out"))


def test_random_labels_promote_nothing(frames):
    features, labels = frames
    random = np.random.default_rng(3).random(len(labels)) < 0.3
    assert train_churn(features, labels.assign(churned=random), MONTH).model.champion == "recency"


def test_threads_change_nothing(frames, trained):
    assert train_churn(*frames, MONTH, threads=1).model == trained.model


def test_threads_within_a_fit_change_nothing(frames, monkeypatch):
    monkeypatch.setattr(classifiers, "useful_threads", lambda rows, threads: threads)
    inputs, outcome = feature_matrix(frames[0]), frames[1]["churned"].to_numpy(float)
    assert classifiers.fit("lightgbm", inputs, outcome, 0, 6) == classifiers.fit("lightgbm", inputs, outcome, 0, 1)


def test_days_may_be_dates_or_timestamps(frames, trained):
    features, labels = frames
    stamped = features.assign(as_of=pd.to_datetime(features["as_of"]).astype("datetime64[us]"))
    assert train_churn(stamped, labels, MONTH).model == trained.model


def test_a_column_without_values_is_no_obstacle(frames):
    features, labels = frames
    result = train_churn(features.assign(coupon_share_30d=None), labels, MONTH)
    assert result.model.typical["coupon_share_30d"] is None
    scores = score_churn(result.model, features.assign(coupon_share_30d=None))
    assert scores["churn_probability"].between(0, 1).all()


def test_one_customer_is_scored_and_trains_nothing(frames, trained):
    features, labels = (frame[frame["customer_id"] == "c0001"] for frame in frames)
    one = features[features["as_of"] == DAYS[0]]
    assert len(score_churn(trained.model, one)) == 1
    result = train_churn(one, labels.assign(churned=True), MONTH)
    assert (result.model, result.message) == (None, "needs customers who stayed: 0 rows")


def test_the_document_is_stored_by_skops_without_trusted_types(trained, tmp_path):
    skops = pytest.importorskip("skops.io")
    skops.dump(trained.model.to_document(), tmp_path / "model.skops")
    assert ChurnModel.from_document(skops.load(tmp_path / "model.skops")) == trained.model


def test_only_what_raises_churn_is_a_reason(frames):
    inputs = feature_matrix(frames[0].iloc[:2].assign(recency_days=[40, 1], gap_median=5.0, orders_30d=1))
    typical = {"recency_days": 5.0, "orders_30d": 4.0}
    contributions = np.zeros(inputs.shape)
    contributions[0, inputs.columns.get_loc("recency_days")] = 2
    contributions[0, inputs.columns.get_loc("orders_30d")] = 1
    contributions[1] = -1
    lowered = np.full((2, len(themes_of(list(inputs.columns), theme))), -1.0)
    lowered[0, themes_of(list(inputs.columns), theme).index("pause")] = 2
    lowered[0, themes_of(list(inputs.columns), theme).index("orders")] = 1
    assert reasons(inputs, contributions, lowered, typical) == [
        ["No order for 40 days; this customer's usual gap is 5 days", "Orders in the last 30 days: 1; typical is 4"],
        [NOTHING],
    ]


def test_figures_of_a_known_ranking():
    values = evaluate([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
    assert values["auc"][0] == 0.75
    assert values["brier"][0] == pytest.approx((0.01 + 0.64 + 0.09 + 0.01) / 4)
    assert evaluate([0, 1], [0.5, 0.5])["auc"][0] == 0.5


def test_figures_agree_with_scikit_learn_and_repeat():
    from sklearn.metrics import average_precision_score, roc_auc_score

    generator = np.random.default_rng(1)
    chance = generator.random(300).round(2)
    truth = (generator.random(300) < chance).astype(int)
    result = figures(truth, chance)
    assert result["auc"].value == pytest.approx(roc_auc_score(truth, chance))
    assert result["pr_auc"].value == pytest.approx(average_precision_score(truth, chance))
    assert result["auc"].low < result["auc"].value < result["auc"].high
    assert figures(truth, chance) == result


def test_a_planted_leak_stops_the_model_and_is_named(frames):
    features, labels = frames
    known = labels.set_index(["as_of", "customer_id"])["churned"].astype(float)
    leak = known.loc[list(zip(features["as_of"], features["customer_id"], strict=True))].to_numpy()
    result = train_churn(features.assign(weekend_share=1 - leak), labels, MONTH)
    assert result.model is None
    assert result.leaks == {"weekend_share": 1.0}
    assert result.message.startswith("stopped: weekend_share (AUC 1.000) alone tells who leaves")
    nulls = train_churn(features.assign(weekend_share=np.where(leak > 0, np.nan, 0.5)), labels, MONTH)
    assert nulls.leaks == {"weekend_share": 1.0}


def test_few_labels_step_down_to_the_rule_and_the_order_process_and_say_what_is_missing(frames):
    features, labels = (frame[frame["as_of"] >= DAYS[-2]] for frame in frames)
    histories = pd.DataFrame(
        {"as_of": DAYS[-2], "frequency": [0, 3], "recency": [0, 50], "age": [60, 80], "customers": 90}
    )
    result = train_churn(features, labels, MONTH, histories=histories)
    assert set(result.leaderboard["candidate"]) == {"recency", "bg_nbd"}
    assert "0 of 30 who left, 0 of 30 who stayed" in result.model.card["missing"]
    few = train_churn(features.iloc[:60], labels, MONTH)
    assert set(few.leaderboard["candidate"]) == {"recency"}
    assert "of 30 who" in few.model.card["missing"] or "no earlier days" in few.model.card["missing"]


def test_every_candidate_is_on_the_leaderboard_with_intervals(trained):
    board = trained.leaderboard
    assert set(board["candidate"]) == {"recency", *classifiers.LEARNERS}
    figures = board[board["metric"].isin(["auc", "pr_auc", "brier", "lift_at_10"])]
    assert ((figures["low"] <= figures["value"]) & (figures["value"] <= figures["high"])).all()
    assert board.loc[board["is_champion"], "candidate"].unique().tolist() == [trained.model.champion]
    assert trained.model.card["grade"]["grade"] in ("A", "B", "C")


def test_the_model_of_the_month_before_is_a_challenge_that_changes_nothing(frames, trained):
    features, labels = frames
    before = train_churn(features, labels, date(2020, 7, 1)).model
    again = train_churn(features, labels, MONTH, previous=before)
    assert again.model == trained.model
    challenge = again.card["challenge"]
    assert challenge["previous"] == before.model_id
    assert challenge["days"] == [str(day) for day in DAYS if str(day) not in before.card["training_days"]]
    assert challenge["holds"]
    turned = replace(before, estimator={"column": "recency_days", "sign": -1})
    assert train_churn(features, labels, MONTH, previous=turned).challenge["auc of previous"] < 0.5
    knowing = features.merge(labels, on=["as_of", "customer_id"])["churned"].astype(float)
    seeing = replace(before, estimator={"column": "night_share", "sign": 1})
    noisy = features.assign(night_share=knowing + np.random.default_rng(1).normal(0, 0.4, len(features)))
    rows = noisy.merge(labels, on=["as_of", "customer_id"])
    result = against_previous(
        seeing.model_id, seeing.estimator, [], rows, feature_matrix(rows), np.full(len(rows), 0.5), 1
    )
    assert not result["holds"]


def test_without_the_top_reason_the_score_is_lower(frames, trained):
    today = frames[0][frames[0]["as_of"] == DAYS[-1]]
    inputs = feature_matrix(today.sort_values("customer_id"))
    names = themes_of(list(inputs.columns), theme)
    raw = classifiers.raw_scores(trained.model.estimator, inputs)
    lowered = lowered_by_theme(
        lambda rows: classifiers.raw_scores(trained.model.estimator, rows), raw, inputs, trained.model.typical, theme
    )
    top = [reason[0] for reason in score_churn(trained.model, today)["reasons"]]
    paused = np.array([text.startswith(("No order", "Ordered on")) for text in top])
    assert paused.any()
    assert (lowered[paused, names.index("pause")] > 0).all()


def test_importance_names_what_lightgbm_looks_at_in_plain_words(trained):
    assert trained.model.champion in ("lightgbm", "blend")
    importance = feature_importance(trained.model)
    assert importance["importance"].max() > 0
    assert not importance["label"].str.contains("_").any()
    assert feature_importance(replace(trained.model, champion="recency", estimator={})).empty
