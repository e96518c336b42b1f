"""Training the purchase model of a month and choosing its champions.

Belongs here: candidates, the split in time and the choice. Not here: scoring (`purchases.py`), figures in general
(`model_metrics.py`, `value_metrics.py`).

For each length the newest training day whose days ahead had ended before the month is the day of the test. Candidates
learn from days whose own days ahead had ended by then. A candidate is promoted if it ranks customers better than the
baseline, beyond chance, and is worse in nothing; then it learns again, the day of the test included. A lower error alone
promotes nothing: one and the same figure for everyone may have it, where orders are random.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.purchases import HORIZONS
from crm_assets.mining import model_metrics, value_metrics
from crm_assets.mining.bg_nbd import TooFewOrdersError, fit_bg_nbd
from crm_assets.mining.champions import board_rows, champion
from crm_assets.mining.churn import training_days
from crm_assets.mining.linear_models import fit_linear
from crm_assets.mining.purchases import (
    CURVE,
    FREQUENCY,
    LOGISTIC,
    PAST_SPEND,
    PROCESS,
    PURCHASE_FEATURES,
    REGRESSION,
    SPEND_DAYS,
    USUAL_GAP,
    PurchaseModel,
    days_until,
    expected_spend,
    history,
    probability,
    purchase_curve,
    purchase_inputs,
    usual_gap,
)

LEARNT_DAYS = 6
"""Training days that a month learns from, the newest: what customers did long ago says less of what they do."""

RESAMPLES = 100
"""Resamples of the customers of the test."""

_LEAST_ROWS = 300
_CHOSEN_BY = ("auc", "brier")
_TWEEDIE_POWER = 1.5

Floats = NDArray[np.float64]
Fit = tuple[str, dict[str, Any]]
"""A candidate and its estimator."""


def purchase_training_days(month_start: date, first_day: date, days: int) -> list[date]:
    """As_of days that a month learns from or tests on, for some days ahead.

    Args:
        month_start: first day the model may score; only days before it may be used.
        first_day: first day with an order.
        days: days ahead, which must have ended before `month_start`.
    """
    found = training_days(month_start, first_day, days)
    if not found:
        return []
    earlier = [day for day in found if day + timedelta(days=days) <= found[-1]]
    return sorted({*earlier[-LEARNT_DAYS:], *found[-LEARNT_DAYS:]})


@dataclass(frozen=True)
class TrainedPurchases:
    """What came of training a month.

    Attributes:
        model: The champions, which are the baselines where there is too little to learn from.
        leaderboard: Figures of every candidate on its day of the test.
        message: One line on the choice.
    """

    model: PurchaseModel
    leaderboard: pd.DataFrame
    message: str


def train_purchases(
    features: pd.DataFrame, later: pd.DataFrame, month_start: date, first_day: date, seed: int
) -> TrainedPurchases:
    """Train the purchase model of a month on days before it.

    Args:
        features: as_of, customer_id and `PURCHASE_FEATURES` of the days of `purchase_training_days`, and maybe of others.
        later: as `mining.purchases.next_orders` gives it, of the same days.
        month_start: first day the model may score.
        first_day: first day with an order.
        seed: of the bootstrap.

    Returns:
        The champions, the leaderboard and a line that says why.
    """
    rows = _rows(features, later)
    purchase: dict[str, dict[str, Any]] = {}
    boards, reasons, tested = [], [], {}
    for days in HORIZONS:
        split = Split.of(rows, month_start, first_day, days)
        (best, estimator), board, words = _purchase(split, month_start, days, seed)
        purchase[str(days)] = {"champion": best, "estimator": estimator}
        boards += board
        reasons.append(f"{days} days: {words}")
        tested[str(days)] = split.test_day.isoformat() if split.test_day else None
    split = Split.of(rows, month_start, first_day, SPEND_DAYS)
    spend, board, words = _spend(split, month_start, first_day, seed)
    boards += board
    reasons.append(f"spend: {words}")
    next_order, board = _next_order(split, purchase, month_start, seed)
    boards += board
    message = "; ".join(reasons)
    month = month_start.isoformat()
    card = {
        "model": "purchases",
        "trained_for": month,
        "choice": message,
        "test_days": tested,
        "features": list(PURCHASE_FEATURES),
        "next_order": next_order,
        "seed": seed,
        "versions": {name: version(name) for name in ("scikit-learn", "numpy")},
        "limits": "season and campaigns to come are not known to the model; spend beyond 90 days is that of "
        "marts.customer_value",
    }
    model = PurchaseModel(f"purchases-{month[:7]}", purchase, spend, next_order, first_day, card)
    return TrainedPurchases(model, pd.DataFrame(boards, columns=list(MODEL_LEADERBOARD.by_name)), message)


@dataclass(frozen=True)
class Split:
    """Rows that candidates learn from, rows of the day of the test, and all that the champion learns from.

    Attributes:
        learnt: Rows of days whose own days ahead had ended by the day of the test.
        test: Rows of the newest day whose days ahead had ended before the month.
        all: Rows of the newest such days.
        test_day: The day of the test; None where no days ahead had ended.
    """

    learnt: pd.DataFrame
    test: pd.DataFrame
    all: pd.DataFrame
    test_day: date | None

    @classmethod
    def of(cls, rows: pd.DataFrame, month_start: date, first_day: date, days: int) -> "Split":
        """The split of rows with `as_of`, for some days ahead."""
        wanted = purchase_training_days(month_start, first_day, days)
        if not wanted:
            return cls(rows[:0], rows[:0], rows[:0], None)
        earlier = [day for day in wanted if day + timedelta(days=days) <= wanted[-1]]
        learnt, test, newest = (_of_days(rows, some) for some in (earlier, wanted[-1:], wanted[-LEARNT_DAYS:]))
        return cls(learnt, test, newest, wanted[-1])


def _rows(features: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    """Features of customers who had ordered, with what they did in the days after; nothing where they did not."""
    known = features[features["recency_days"].notna()]
    known, later = (
        frame.assign(as_of=pd.to_datetime(frame["as_of"]).astype("datetime64[s]")) for frame in (known, later)
    )
    rows = known.merge(later, on=["as_of", "customer_id"], how="left", validate="one_to_one")
    return rows.fillna({"spend": 0.0}).sort_values(["as_of", "customer_id"], ignore_index=True)


def _of_days(rows: pd.DataFrame, days: list[date]) -> pd.DataFrame:
    return rows[rows["as_of"].isin(pd.to_datetime(days).astype("datetime64[s]"))]


def _ordered(rows: pd.DataFrame, days: int) -> NDArray[np.bool_]:
    return (rows["days_until"] <= days).to_numpy(bool)


def _both(outcome: NDArray[np.bool_]) -> bool:
    return 0 < int(outcome.sum()) < len(outcome)


def _purchase(split: Split, month: date, days: int, seed: int) -> tuple[Fit, list[tuple[Any, ...]], str]:
    """The champion of one length, learnt from all rows, its leaderboard and why."""
    fits = _candidates(split.learnt, days)
    outcome = _ordered(split.test, days)
    if len(fits) == 1 or not _both(outcome):
        return (FREQUENCY, {}), [], f"{FREQUENCY} is champion untested: too little history"
    weights = model_metrics.bootstrap_weights(len(split.test), resamples=RESAMPLES, seed=seed)
    chances = {name: probability(name, estimator, split.test, days) for name, estimator in fits.items()}
    values = {name: model_metrics.evaluate(outcome, chance) for name, chance in chances.items()}
    drawn = {name: model_metrics.evaluate(outcome, chance, weights) for name, chance in chances.items()}
    best, words = champion(list(fits), values, drawn, _CHOSEN_BY, model_metrics.LOWER_IS_BETTER)
    board = board_rows(f"purchase_{days}d", month, values, drawn, model_metrics.METRICS, best)
    return (best, _candidates(split.all, days, [best])[best]), board, words


def _candidates(rows: pd.DataFrame, days: int, wanted: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Candidates that can learn from some rows, the baseline first."""
    fits: dict[str, dict[str, Any]] = {FREQUENCY: {}}
    outcome = _ordered(rows, days)
    if len(rows) < _LEAST_ROWS or not _both(outcome):
        return fits
    if wanted is None or PROCESS in wanted:
        newest = rows[rows["as_of"] == rows["as_of"].max()]
        with suppress(TooFewOrdersError):
            fits[PROCESS] = _process(newest)
    if wanted is None or LOGISTIC in wanted:
        fits[LOGISTIC] = _logistic(rows, outcome)
    return fits


def _process(rows: pd.DataFrame) -> dict[str, Any]:
    """MBG/NBD of the histories of one day, alike ones counted together."""
    counted = pd.DataFrame(dict(zip(("frequency", "recency", "age"), history(rows), strict=True)))
    counts = counted.groupby(list(counted.columns), as_index=False, sort=True).agg(customers=("age", "size"))
    fitted = fit_bg_nbd(
        counts["frequency"], counts["recency"], counts["age"], customers=counts["customers"], modified=True
    )
    return fitted.to_document()


def _logistic(rows: pd.DataFrame, outcome: NDArray[np.bool_]) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    def fit(values: Floats) -> Any:
        return LogisticRegression(C=0.1, max_iter=300).fit(values, outcome)

    return fit_linear(purchase_inputs(rows), fit)


def _tweedie(rows: pd.DataFrame) -> dict[str, Any]:
    """Mean spend by a generalised linear model with a log link, whose variance grows as a power of the mean."""
    from sklearn.linear_model import TweedieRegressor

    spend = np.maximum(rows["spend"].to_numpy(np.float64), 0.0)
    scale = float(spend.mean()) or 1.0

    def fit(values: Floats) -> Any:
        return TweedieRegressor(power=_TWEEDIE_POWER, alpha=0.01, link="log", max_iter=300).fit(values, spend / scale)

    estimator = fit_linear(purchase_inputs(rows), fit)
    return {**estimator, "intercept": estimator["intercept"] + float(np.log(scale)), "most": float(spend.max())}


def _spend(split: Split, month: date, first_day: date, seed: int) -> tuple[dict[str, Any], list[tuple[Any, ...]], str]:
    baseline = {"champion": PAST_SPEND, "estimator": {}}
    spent = split.learnt["spend"].to_numpy(np.float64)
    if split.test_day is None or len(spent) < _LEAST_ROWS or spent.max(initial=0.0) <= 0:
        return baseline, [], f"{PAST_SPEND} is champion untested: too little history"
    models = {PAST_SPEND: baseline, REGRESSION: {"champion": REGRESSION, "estimator": _tweedie(split.learnt)}}
    judged = {
        name: value_metrics.judge(
            split.test["spend"], expected_spend(model, split.test, first_day, split.test_day), seed, RESAMPLES
        )
        for name, model in models.items()
    }
    values = {name: {metric: np.array([v]) for metric, v in found.values.items()} for name, found in judged.items()}
    drawn = {name: found.resampled for name, found in judged.items()}
    best, words = champion(list(models), values, drawn, value_metrics.METRICS, value_metrics.LOWER_IS_BETTER)
    board = board_rows(f"spend_{SPEND_DAYS}d", month, values, drawn, value_metrics.METRICS, best)
    chosen = baseline if best == PAST_SPEND else {"champion": REGRESSION, "estimator": _tweedie(split.all)}
    return chosen, board, words


def _next_order(
    split: Split, purchase: Mapping[str, Mapping[str, Any]], month: date, seed: int
) -> tuple[str, list[tuple[Any, ...]]]:
    """Which way of naming the next order's day errs by fewer days, of customers whose usual gap is known.

    Nobody is followed longer than `SPEND_DAYS`, so both days are counted up to there.
    """
    rows = split.test[split.test["gap_median"].notna()]
    if split.test_day is None or rows.empty:
        return CURVE, []
    fits = {str(days): _refit(split.learnt, purchase[str(days)]["champion"], days) for days in HORIZONS}
    actual = rows["days_until"].fillna(SPEND_DAYS).to_numpy(np.float64)
    named = {USUAL_GAP: usual_gap(rows), CURVE: days_until(purchase_curve(fits, rows), 0.5)}
    errors = {
        name: np.abs(np.clip(np.nan_to_num(days, nan=SPEND_DAYS), 1, SPEND_DAYS) - actual)
        for name, days in named.items()
    }
    weights = model_metrics.bootstrap_weights(len(rows), resamples=RESAMPLES, seed=seed)
    values = {name: {"mae": np.array([error.mean()])} for name, error in errors.items()}
    drawn = {name: {"mae": (weights * error).sum(axis=1) / weights.sum(axis=1)} for name, error in errors.items()}
    best, _ = champion([USUAL_GAP, CURVE], values, drawn, ("mae",), frozenset({"mae"}))
    return best, board_rows("next_order", month, values, drawn, ("mae",), best)


def _refit(rows: pd.DataFrame, best: str, days: int) -> dict[str, Any]:
    """The champion of a length as it was before the day of the test."""
    fits = _candidates(rows, days, [best])
    return {"champion": best if best in fits else FREQUENCY, "estimator": fits.get(best, {})}
