"""Learners of a yes-or-no outcome: stored as plain values, alike in batches, explained."""

import json

import lightgbm
import numpy as np
import pandas as pd
import pytest

from crm_assets.mining.bg_nbd import BgNbd
from crm_assets.mining.calibration import calibrated, calibration
from crm_assets.mining.classifiers import LEARNERS, contributions, fit, order_process, raw_scores, rule, visible
from crm_assets.mining.explaining import lowered_by_theme, put_back
from crm_assets.mining.model_metrics import evaluate

ROWS = 1_200


@pytest.fixture(scope="module")
def rows():
    chance = np.random.default_rng(5)
    inputs = pd.DataFrame(chance.gamma(2, 2, (ROWS, 4)), columns=["recency_days", "spend", "visits", "noise"])
    inputs.loc[chance.random(ROWS) < 0.1, "noise"] = np.nan
    inputs = inputs.assign(_order_days=chance.integers(1, 20, ROWS) * 1.0, _tenure_days=100.0)
    odds = inputs["recency_days"] - inputs["spend"]
    return inputs, (chance.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(float)


def estimators(rows):
    yield from ((name, fit(name, *rows, seed=1)) for name in LEARNERS)
    yield "rule", rule("recency_days", 1)
    yield "bg_nbd", order_process(BgNbd(0.243, 4.414, 0.793, 2.426, log_likelihood=-9582.4), 30)


@pytest.fixture(scope="module")
def fitted(rows):
    return dict(estimators(rows))


@pytest.mark.parametrize("name", [*LEARNERS, "rule", "bg_nbd"])
def test_each_is_plain_values_and_scores_alike_in_batches(rows, fitted, name, tmp_path):
    from skops import io

    estimator, inputs = fitted[name], rows[0]
    assert json.loads(json.dumps(estimator)) == estimator
    io.dump(estimator, tmp_path / "model.skops")
    raw = raw_scores(io.load(tmp_path / "model.skops"), inputs)
    batches = [raw_scores(estimator, inputs.iloc[start : start + 500]) for start in (0, 500, 1_000)]
    assert np.allclose(np.concatenate(batches), raw, rtol=0, atol=1e-9)
    assert raw_scores(estimator, inputs.assign(noise=np.nan)).shape == (ROWS,)


@pytest.mark.parametrize("name", LEARNERS)
def test_each_learner_ranks_calibrates_and_repeats(rows, fitted, name):
    inputs, outcome = rows
    raw = raw_scores(fitted[name], inputs)
    chance = calibrated(calibration(False, raw, outcome), raw)
    figures = evaluate(outcome, chance)
    assert figures["auc"][0] > 0.85
    assert figures["ece"][0] < 0.05
    assert fit(name, inputs, outcome, seed=1) == fitted[name]


@pytest.mark.parametrize("name", [*LEARNERS, "rule"])
def test_what_raises_the_score_is_named_and_without_it_the_score_falls(rows, fitted, name):
    inputs = rows[0]
    typical = {column: float(value) for column, value in inputs.median().items()}
    high = inputs["recency_days"].to_numpy() > inputs["recency_days"].quantile(0.9)
    moved = contributions(fitted[name], inputs, typical)
    assert moved.shape == inputs.shape
    assert moved[high].argmax(axis=1).tolist().count(0) > 0.9 * high.sum()
    assert not moved[:, 4:].any()

    def score(some):
        return raw_scores(fitted[name], some)

    lowered = lowered_by_theme(score, score(inputs), inputs, typical, lambda column: column)
    assert (lowered[high, 0] > 0).mean() > 0.95
    assert np.ptp(score(put_back(inputs, typical, list(inputs.columns)))) < 1e-9


@pytest.mark.parametrize("name", ["lightgbm", "random_forest", "decision_tree"])
def test_what_columns_of_trees_add_makes_up_the_score_and_is_near_shap_values(rows, fitted, name):
    inputs = rows[0]
    moved = contributions(fitted[name], inputs, {})
    rest = raw_scores(fitted[name], inputs) - moved.sum(axis=1)
    assert np.ptp(rest) < 1e-9
    seen = visible(inputs)
    boosters = [lightgbm.Booster(model_str=text) for text in fitted[name]["boosters"]]
    shap = np.mean([booster.predict(seen, pred_contrib=True) for booster in boosters], axis=0)[:, :-1]
    assert np.corrcoef(moved[:, : shap.shape[1]].ravel(), shap.ravel())[0, 1] > 0.98


def test_the_order_process_counts_orders_and_not_the_chance_of_being_alive(fitted):
    """Who ordered often and lately is likelier to order than who ordered once; both are alive for certain or nearly so."""
    rows = pd.DataFrame({"recency_days": [60.0, 1.0], "_order_days": [1.0, 12.0], "_tenure_days": [60.0, 100.0]})
    once, often = raw_scores(fitted["bg_nbd"], rows)
    assert once > often
    process = BgNbd.from_document(fitted["bg_nbd"]["bg_nbd"])
    assert process.p_alive([0], [0], [60])[0] == 1.0
