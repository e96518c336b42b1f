"""Training the propensity models of a month and choosing their champions.

Belongs here: candidates, the test and the choice. Not here: scoring (`propensity.py`).

As with orders in general (`purchase_training.py`), the newest training day whose horizon had ended before the month is
the day of the test, and candidates learn from days whose horizon had ended by then. The customer's own frequency with the
item stays champion unless logistic regression ranks customers better, beyond chance, and is no worse calibrated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.mining import model_metrics
from crm_assets.mining.champions import board_rows, champion
from crm_assets.mining.linear_models import Floats, fit_linear
from crm_assets.mining.propensity import FREQUENCY, LOGISTIC, Item, PropensityModels, chance, item_inputs
from crm_assets.mining.purchase_training import RESAMPLES, Split

_LEAST_BUYERS = 50
"""Customers who bought the item within the horizon, and who did not, that a model must have to learn from."""


@dataclass(frozen=True)
class TrainedPropensities:
    """What came of training a month.

    Attributes:
        models: The champions.
        leaderboard: Figures of every candidate on its day of the test.
        message: One line on the choice.
    """

    models: PropensityModels
    leaderboard: pd.DataFrame
    message: str


def train_propensities(
    features: pd.DataFrame,
    histories: pd.DataFrame,
    items: Sequence[Item],
    month_start: date,
    first_day: date,
    horizon_days: int,
    seed: int,
) -> TrainedPropensities:
    """Train the models of a month on days before it.

    Args:
        features: as_of, customer_id and `mining.purchases.PURCHASE_FEATURES` of the days of
            `purchase_training.purchase_training_days`.
        histories: as `propensity.item_histories` gives it, of the same days.
        items: what may be bought.
        month_start: first day the models may score.
        first_day: first day with an order.
        horizon_days: days ahead.
        seed: of the bootstrap.

    Returns:
        A champion for each item, the leaderboard and a line that says why.
    """
    known = features[features["recency_days"].notna()]
    boards: list[tuple[Any, ...]] = []
    models, reasons = {}, []
    for item in items:
        rows = _rows(known, histories[histories["item"] == str(item)].drop(columns="item"))
        split = Split.of(rows, month_start, first_day, horizon_days)
        (best, estimator), board, words = _trained(split, item, month_start, horizon_days, seed)
        models[str(item)] = {"champion": best, "estimator": estimator}
        boards += board
        reasons.append(f"{item}: {words}")
    month = month_start.isoformat()
    card = {
        "model": "propensity",
        "trained_for": month,
        "definition": f"buys the item within {horizon_days} days",
        "choice": reasons,
        "seed": seed,
        "versions": {name: version(name) for name in ("scikit-learn", "numpy")},
        "limits": "prices, promotions and stock to come are not known to the model",
    }
    found = PropensityModels(f"propensity-{month[:7]}", horizon_days, models, card)
    return TrainedPropensities(found, pd.DataFrame(boards, columns=list(MODEL_LEADERBOARD.by_name)), "; ".join(reasons))


def _rows(features: pd.DataFrame, histories: pd.DataFrame) -> pd.DataFrame:
    """Features of customers with what they did with an item; nothing where they did not."""
    features, histories = (
        frame.assign(as_of=pd.to_datetime(frame["as_of"]).astype("datetime64[s]")) for frame in (features, histories)
    )
    rows = features.merge(histories, on=["as_of", "customer_id"], how="left", validate="one_to_one")
    buys = rows["buys"].astype("boolean").fillna(False).astype(bool)
    return rows.assign(buys=buys).sort_values(["as_of", "customer_id"], ignore_index=True)


def _trained(
    split: Split, item: Item, month: date, horizon_days: int, seed: int
) -> tuple[tuple[str, dict[str, Any]], list[tuple[Any, ...]], str]:
    """The champion of an item, learnt from all rows, its leaderboard and why."""
    outcome = split.test["buys"].to_numpy(bool)
    if not (_is_enough(split.learnt) and 0 < outcome.sum() < len(outcome)):
        return (FREQUENCY, {}), [], f"{FREQUENCY} is champion untested: too few customers bought it"
    fits: dict[str, dict[str, Any]] = {FREQUENCY: {}, LOGISTIC: _logistic(split.learnt)}
    weights = model_metrics.bootstrap_weights(len(split.test), resamples=RESAMPLES, seed=seed)
    chances = {name: chance(name, estimator, split.test, horizon_days) for name, estimator in fits.items()}
    values = {name: model_metrics.evaluate(outcome, told) for name, told in chances.items()}
    drawn = {name: model_metrics.evaluate(outcome, told, weights) for name, told in chances.items()}
    best, words = champion(list(fits), values, drawn, ("auc", "brier"), model_metrics.LOWER_IS_BETTER)
    board = board_rows(f"propensity: {item}", month, values, drawn, model_metrics.METRICS, best)
    return (best, _logistic(split.all) if best == LOGISTIC else {}), board, words


def _is_enough(rows: pd.DataFrame) -> bool:
    buyers = int(rows["buys"].sum())
    return min(buyers, len(rows) - buyers) >= _LEAST_BUYERS


def _logistic(rows: pd.DataFrame) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    outcome = rows["buys"].to_numpy(bool)

    def fit(values: Floats) -> Any:
        return LogisticRegression(C=0.1, max_iter=300).fit(values, outcome)

    return fit_linear(np.asarray(item_inputs(rows), np.float64), fit)
