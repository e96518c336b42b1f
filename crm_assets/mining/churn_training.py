"""Training the churn model of a month and choosing its champion.

Belongs here: candidates, the split in time, calibration and the choice. Not here: scoring (`churn.py`), figures in
general (`model_metrics.py`).

The last labelled days are held out; candidates learn from days whose labels had ended before the first of them. The
held-out days give the figures and the calibration, then the champion learns again from every labelled day.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.mining.churn import (
    ACTIVE_DAYS,
    HORIZON_DAYS,
    ChurnModel,
    calibrated,
    feature_matrix,
    raw_scores,
    signed_log,
    useful_threads,
)
from crm_assets.mining.model_metrics import METRICS, bootstrap_weights, evaluate, interval

CANDIDATES = ("lightgbm", "logistic", "recency")
"""In order of preference between equals."""

RULE = "recency"
"""The rule every model must beat: the longer ago the last order, the likelier is churn."""

LEADERBOARD_COLUMNS = ("model", "trained_for", "candidate", "metric", "value", "low", "high", "is_champion")

_MODEL = "churn"
_HELD_OUT_DAYS = 3
_LEAST_CHURNED = 30
_BAGS = 1
_ROUNDS = 200
_LIGHTGBM: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 8,
    "min_child_samples": 100,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True)
class TrainedChurn:
    """What came of training a month.

    Attributes:
        model: The champion, or None when there was nothing to learn from.
        leaderboard: Figures of every candidate on the held-out days, in `LEADERBOARD_COLUMNS`.
        message: One line on the choice, or on what is missing.
    """

    model: ChurnModel | None
    leaderboard: pd.DataFrame
    message: str


def train_churn(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    month_start: date,
    *,
    horizon_days: int = HORIZON_DAYS,
    active_days: int = ACTIVE_DAYS,
    seed: int = 0,
    threads: int = 2,
) -> TrainedChurn:
    """Train the churn model of a month on labels that had ended before it.

    Args:
        features: rows of `customer_features` on the training days; others are ignored.
        labels: as `churn_labels` gives them, with the same horizon and active days.
        month_start: first day the model may score; labels not ended before it are ignored.
        horizon_days: length of the label.
        active_days: who was labelled.
        seed: of bagging and bootstrap.
        threads: fits at a time, and of LightGBM where there are more; the result does not depend on it.

    Returns:
        The champion, the leaderboard and a line that says why.
    """
    from threadpoolctl import threadpool_limits

    rows = _labelled_rows(features, labels, month_start, horizon_days)
    needs = _missing(rows)
    if needs:
        return TrainedChurn(None, pd.DataFrame(columns=list(LEADERBOARD_COLUMNS)), needs)
    inputs = feature_matrix(rows)
    outcome = rows["churned"].to_numpy(dtype=float)
    days = rows["as_of"].to_numpy().astype("datetime64[D]")
    split = _split(days, outcome, horizon_days)
    if split is None:
        train = held_out = np.ones(len(rows), dtype=bool)
        names: Sequence[str] = (RULE,)
    else:
        train, held_out = split
        names = CANDIDATES

    def learnt(name: str, part: NDArray[np.bool_] | slice = slice(None)) -> dict[str, Any]:
        return fit(name, inputs[part], outcome[part], seed, max(1, threads // 2))

    def judged(name: str) -> NDArray[np.float64]:
        return raw_scores(name, learnt(name, train), inputs[held_out], 1)

    # The order of a sum over several threads would change the last digits, so the threads are the pool's.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        judging = {names[0]: pool.submit(judged, names[0])}
        # The first candidate mostly wins, so a second thread lets it learn from every day while it is judged.
        ahead = {names[0]: pool.submit(learnt, names[0])} if threads > 1 else {}
        judging |= {name: pool.submit(judged, name) for name in names[1:]}
        weights = bootstrap_weights(int(held_out.sum()), rows["customer_id"][held_out].to_list(), seed=seed)
        raw, calibrations, values, resampled = {}, {}, {}, {}
        for name in names:
            raw[name] = judging[name].result()
            calibrations[name] = _calibration(name, raw[name], outcome[held_out])
            chance = _cross_calibrated(name, raw[name], outcome[held_out], rows["customer_id"][held_out])
            values[name] = {metric: float(value[0]) for metric, value in evaluate(outcome[held_out], chance).items()}
            resampled[name] = evaluate(outcome[held_out], chance, weights)
        champion, message = _choice(values, resampled)
        estimator = ahead[champion].result() if champion in ahead else learnt(champion)
    if split is None:
        message = (
            "the recency rule stays champion: too little history to hold days out; figures are on the days it learnt"
        )

    month = month_start.isoformat()
    model = ChurnModel(
        model_id=f"{_MODEL}-{month}-{champion}",
        champion=champion,
        estimator=estimator,
        calibration=calibrations[champion],
        typical={str(name): None if np.isnan(value) else float(value) for name, value in inputs.median().items()},
        card={
            "model": _MODEL,
            "trained_for": month,
            "champion": champion,
            "choice": message,
            "definition": f"no order in {horizon_days} days, among customers who ordered in the {active_days} days before",
            "training_days": [str(day) for day in np.unique(days)],
            "held_out_days": [str(day) for day in np.unique(days[held_out])] if split else [],
            "rows": len(rows),
            "churned": int(outcome.sum()),
            "labels_end": str(days.max() + np.timedelta64(horizon_days)),
            "figures": values,
            "features": list(inputs.columns),
            "parameters": {**_LIGHTGBM, "rounds": _ROUNDS, "bags": _BAGS} if champion == "lightgbm" else {},
            "seed": seed,
            "versions": {name: version(name) for name in ("lightgbm", "scikit-learn", "numpy", "pandas")},
            "limits": "Ranks customers by likelihood; says nothing of what would keep them. No demographics are used.",
        },
    )
    return TrainedChurn(model, _leaderboard(values, resampled, month_start, champion), message)


def fit(name: str, inputs: pd.DataFrame, outcome: NDArray[np.float64], seed: int, threads: int) -> dict[str, Any]:
    """Fit one candidate; what it learnt comes back as plain numbers and text."""
    if name == "lightgbm":
        return {"boosters": _fit_lightgbm(inputs, outcome, seed, threads)}
    if name == "logistic":
        return _fit_logistic(inputs, outcome)
    return {}


def _fit_lightgbm(inputs: pd.DataFrame, outcome: NDArray[np.float64], seed: int, threads: int) -> list[str]:
    import lightgbm

    smallest = min(_LIGHTGBM["min_child_samples"], max(5, len(inputs) // 50))
    parameters = {**_LIGHTGBM, "min_child_samples": smallest, "num_threads": useful_threads(len(inputs), threads)}
    data = lightgbm.Dataset(inputs, outcome, params=parameters)
    texts = [
        lightgbm.train({**parameters, "seed": seed + bag}, data, num_boost_round=_ROUNDS).model_to_string()
        for bag in range(_BAGS)
    ]
    # A model's text names the threads it was trained with, which are no part of it.
    return [text.replace(f"[num_threads: {parameters['num_threads']}]", "[num_threads: 0]") for text in texts]


def _fit_logistic(inputs: pd.DataFrame, outcome: NDArray[np.float64]) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    values = signed_log(inputs)
    present = ~np.isnan(values).all(axis=0)
    fill = np.zeros(values.shape[1])
    fill[present] = np.nanmedian(values[:, present], axis=0)
    values = np.where(np.isnan(values), fill, values)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[scale < 1e-12] = 1.0
    with threadpool_limits(limits=1):  # the order of a threaded sum would change the last digits
        model = LogisticRegression(C=0.003, max_iter=500).fit((values - mean) / scale, outcome)
    return {
        "fill": fill.tolist(),
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "coefficients": model.coef_[0].tolist(),
        "intercept": float(model.intercept_[0]),
    }


def _labelled_rows(features: pd.DataFrame, labels: pd.DataFrame, month_start: date, horizon_days: int) -> pd.DataFrame:
    latest = month_start - timedelta(horizon_days + 1)
    labels = labels.assign(as_of=_days(labels["as_of"]))
    labels = labels[labels["as_of"] <= pd.Timestamp(latest)]
    features = features.assign(as_of=_days(features["as_of"]))
    rows = labels.merge(features, on=["as_of", "customer_id"], how="inner", validate="one_to_one")
    return rows.sort_values(["as_of", "customer_id"]).reset_index(drop=True)


def _days(days: pd.Series) -> pd.Series:
    """Days given as dates or timestamps, in one type."""
    return pd.to_datetime(days).astype("datetime64[s]")


def _missing(rows: pd.DataFrame) -> str:
    """What training needs and the labelled rows do not have, in one line; empty if nothing."""
    if rows.empty:
        return "needs days with features whose churn horizon has ended: 0 rows"
    churned = int(rows["churned"].sum())
    if not churned:
        return "needs customers who churned: 0 rows"
    if churned == len(rows):
        return "needs customers who stayed: 0 rows"
    return ""


def _split(
    days: NDArray[Any], outcome: NDArray[np.float64], horizon_days: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Rows to learn from and rows held out; None when either would hold too few who churned or who stayed."""
    for count in range(_HELD_OUT_DAYS, 0, -1):
        first_held_out = np.unique(days)[-count:][0]
        held_out = days >= first_held_out
        train = days < first_held_out - np.timedelta64(horizon_days)
        if all(_LEAST_CHURNED <= outcome[part].sum() <= part.sum() - _LEAST_CHURNED for part in (train, held_out)):
            return train, held_out
    return None


def _calibration(name: str, raw: NDArray[np.float64], outcome: NDArray[np.float64]) -> dict[str, Any]:
    """Curve from raw scores to probabilities: steps for the rule, whose score is no log-odds; else a logistic curve."""
    if name == RULE:
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=0.0, y_max=1.0, increasing=True).fit(raw, outcome)
        return {
            "kind": "isotonic",
            "raw": [float(value) for value in steps.X_thresholds_],
            "probability": [float(value) for value in steps.y_thresholds_],
        }
    from sklearn.linear_model import LogisticRegression

    curve = LogisticRegression(C=1e6).fit(raw.reshape(-1, 1), outcome)
    return {"kind": "sigmoid", "slope": float(curve.coef_[0, 0]), "intercept": float(curve.intercept_[0])}


def _cross_calibrated(
    name: str, raw: NDArray[np.float64], outcome: NDArray[np.float64], customers: pd.Series
) -> NDArray[np.float64]:
    """Probabilities of the held-out rows, each calibrated on the other half of the customers: else figures flatter."""
    half = pd.factorize(customers, sort=True)[0] % 2
    chance = np.empty(len(raw))
    for side in (0, 1):
        other = outcome[half != side]
        learn_from = half != side if 0 < other.sum() < len(other) else half >= 0
        chance[half == side] = calibrated(_calibration(name, raw[learn_from], outcome[learn_from]), raw[half == side])
    return chance


def _choice(
    values: dict[str, dict[str, float]], resampled: dict[str, dict[str, NDArray[np.float64]]]
) -> tuple[str, str]:
    """The first of the candidates that none beats in AUC beyond chance, if it beats the rule so too."""
    learners = [name for name in values if name != RULE]
    if not learners:
        return RULE, "the recency rule stays champion: there is no other candidate"
    best = learners[0]
    for name in learners[1:]:
        if interval(resampled[name]["auc"] - resampled[best]["auc"])[0] > 0:
            best = name
    low, high = interval(resampled[best]["auc"] - resampled[RULE]["auc"])
    gain = values[best]["auc"] - values[RULE]["auc"]
    figure = f"AUC {gain:+.3f} ({low:+.3f} to {high:+.3f}) against the recency rule on the held-out days"
    if low <= 0:
        return RULE, f"the recency rule stays champion: {best} has {figure}, which chance explains"
    return best, f"{best} is champion: {figure}"


def _leaderboard(
    values: dict[str, dict[str, float]],
    resampled: dict[str, dict[str, NDArray[np.float64]]],
    month: date,
    champion: str,
) -> pd.DataFrame:
    rows = [
        (_MODEL, month, name, metric, values[name][metric], *interval(resampled[name][metric]), name == champion)
        for name in values
        for metric in METRICS
    ]
    return pd.DataFrame(rows, columns=list(LEADERBOARD_COLUMNS))
