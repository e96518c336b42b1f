"""How likely customers take the step above where they stand, learnt from who did.

Belongs here: candidates, the test in time and the choice. Not here: who stands where (`up_sell.py`), figures in general
(`model_metrics.py`).

Candidates learn from what customers did in the days after one day, and are tested on the days after the next one. The
regression is champion if it ranks customers better than both rates beyond chance and its probabilities are no worse; it
then learns again from the newer days. Otherwise the rate of the step says how likely it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.offers import STEP_KINDS
from crm_assets.mining import model_metrics
from crm_assets.mining.champions import board_rows
from crm_assets.mining.recommender_training import fit_weights
from crm_assets.mining.up_sell import FEATURES

MODEL = "up_sell"
STEP_RATE, MOVED_UP, LOGISTIC = "step_rate", "moved_up_before", "logistic"
"""The share of customers below a step who took it; the same by whether they were above before; a regression."""

CANDIDATES = (STEP_RATE, MOVED_UP, LOGISTIC)

LEAST_ROWS = 300
"""With fewer cases to learn from or to be tested on, nothing but the rate of the step is tried."""

RESAMPLES = 100
"""Resamples of the customers of the test."""

_LIKE = 20.0
"""A ladder's rate is drawn to that of all steps of the kind as if so many customers had stood there besides."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StepModel:
    """How likely steps are taken within the horizon.

    Attributes:
        champion: One of `CANDIDATES`.
        kind_rates: Share of the steps of a kind that were taken.
        ladder_rates: ladder, kind, rate, of those that somebody stood on.
        moved_rates: Share of the steps that were taken, by kind and whether the customer was above before.
        weights: Of `FEATURES`, in the log-odds; empty unless the regression is champion.
        intercept: Of the log-odds.
    """

    champion: str
    kind_rates: Mapping[str, float]
    ladder_rates: pd.DataFrame
    moved_rates: Mapping[tuple[str, float], float]
    weights: Mapping[str, float]
    intercept: float


@dataclass(frozen=True)
class TrainedSteps:
    """What came of learning.

    Attributes:
        model: Of the champion; None where there was nobody to learn from.
        leaderboard: Figures of every candidate in the test, in the columns of the leaderboard.
        message: One line on the choice, or on what is missing.
    """

    model: StepModel | None
    leaderboard: pd.DataFrame
    message: str


def training_days(as_of: date, horizon_days: int) -> list[date]:
    """The day to learn from and the day to be tested on, and to learn from again."""
    return [as_of - timedelta(days=times * horizon_days) for times in (2, 1)]


def train_steps(rows: pd.DataFrame, as_of: date, horizon_days: int, seed: int) -> TrainedSteps:
    """Choose how likely steps are taken, by what customers did after the two `training_days`.

    Args:
        rows: as `up_sell.step_outcomes` gives them.
        as_of: last day seen.
        horizon_days: days after a day in which a step is taken.
        seed: of the bootstrap.

    Returns:
        The model, the leaderboard and a line that says why.
    """
    # Engines number ladders in integers of different sizes.
    rows = rows.astype({"ladder": "int64"})
    days = pd.to_datetime(rows["as_of"]).dt.date
    learnt, tested = (
        rows[days == day].sort_values(["customer_id", "ladder", "kind"], ignore_index=True)
        for day in training_days(as_of, horizon_days)
    )
    if tested.empty:
        return untrained(f"needs customers who bought below a step, {horizon_days} days before {as_of}: 0")
    if not all(_tells(some) for some in (learnt, tested)):
        words = f"{STEP_RATE} is champion untested: too few cases before {as_of} ({len(learnt)} and {len(tested)})"
        return replace(untrained(words), model=_fit(tested, STEP_RATE))
    outcome = tested["moved"].to_numpy(np.float64)
    model = _fit(learnt, LOGISTIC)
    chances = {name: chance(model, tested, name) for name in CANDIDATES}
    weights = model_metrics.bootstrap_weights(len(tested), list(tested["customer_id"]), RESAMPLES, seed)
    values = {name: model_metrics.evaluate(outcome, found) for name, found in chances.items()}
    drawn = {name: model_metrics.evaluate(outcome, found, weights) for name, found in chances.items()}
    champion, message = _choice(values, drawn)
    trained_for = as_of + timedelta(days=1)
    board = board_rows(MODEL, trained_for, values, drawn, model_metrics.METRICS, champion)
    leaderboard = pd.DataFrame(board, columns=list(MODEL_LEADERBOARD.by_name))
    told = f"; expected {chances[champion].mean():.1%}, taken {outcome.mean():.1%}"
    return TrainedSteps(_fit(tested, champion), leaderboard, message + told)


def untrained(message: str) -> TrainedSteps:
    """Nothing was learnt, for a reason."""
    return TrainedSteps(None, pd.DataFrame(columns=list(MODEL_LEADERBOARD.by_name)), message)


def chance(model: StepModel, rows: pd.DataFrame, candidate: str) -> Floats:
    """The probability that a candidate gives to each row.

    Args:
        model: with what the candidate needs.
        rows: ladder, kind and `FEATURES`.
        candidate: one of `CANDIDATES`.
    """
    if candidate == LOGISTIC:
        from scipy.special import expit

        scores = model.intercept + rows[list(FEATURES)].to_numpy(np.float64) @ np.array(
            [model.weights[name] for name in FEATURES]
        )
        return np.asarray(expit(scores), np.float64)
    if candidate == MOVED_UP:
        pairs = zip(rows["kind"], rows["moved_up"], strict=True)
        return np.array([model.moved_rates.get(pair, model.kind_rates[pair[0]]) for pair in pairs])
    found = rows[["ladder", "kind"]].merge(model.ladder_rates, how="left", on=["ladder", "kind"])
    return found["rate"].fillna(found["kind"].map(model.kind_rates)).to_numpy(np.float64)


def with_probability(cases: ir.Table, model: StepModel) -> ir.Table:
    """The cases with probability, by the champion, in the engine.

    Args:
        cases: as `up_sell.step_cases` gives them.
        model: the champion is the regression or the rate of the step.
    """
    if model.champion == LOGISTIC:
        score = ibis.literal(model.intercept, "float64")
        for name in FEATURES:
            score = score + cases[name] * ibis.literal(model.weights[name], "float64")
        return cases.mutate(probability=1 / (1 + (-score).exp()))
    rates = ibis.memtable(model.ladder_rates, schema={"ladder": "int64", "kind": "string", "rate": "float64"})
    joined = cases.left_join(rates, ["ladder", "kind"])
    of_kind = ibis.cases(
        *[(joined.kind == kind, ibis.literal(rate, "float64")) for kind, rate in model.kind_rates.items()]
    )
    return joined.select(*cases.columns, probability=ibis.coalesce(joined.rate, of_kind))


def _tells(rows: pd.DataFrame) -> bool:
    return len(rows) >= LEAST_ROWS and 0 < int(rows["moved"].sum()) < len(rows)


def _fit(rows: pd.DataFrame, champion: str) -> StepModel:
    """What all candidates learn from some rows; the regression only where it is wanted."""
    sums = rows.groupby("kind")["moved"].agg(["sum", "size"]).reindex(list(STEP_KINDS), fill_value=0)
    kinds = _smoothed(sums, 0.5, 1.0).to_dict()
    sums = rows.groupby(["ladder", "kind"])["moved"].agg(["sum", "size"]).reset_index()
    ladders = sums[["ladder", "kind"]].assign(rate=_smoothed(sums, _LIKE * sums["kind"].map(kinds), _LIKE))
    sums = rows.groupby(["kind", "moved_up"])["moved"].agg(["sum", "size"])
    moved = _smoothed(sums, 0.5, 1.0).to_dict()
    weights: dict[str, float] = {}
    intercept = 0.0
    if champion == LOGISTIC:
        features = rows[list(FEATURES)].to_numpy(np.float64)
        weights, intercept = fit_weights(features, rows["moved"].to_numpy(bool), FEATURES)
    return StepModel(champion, kinds, ladders, moved, weights, intercept)


def _smoothed(sums: pd.DataFrame, hits: Any, rows: float) -> Any:
    return (sums["sum"] + hits) / (sums["size"] + rows)


def _choice(values: Mapping[str, Mapping[str, Floats]], drawn: Mapping[str, Mapping[str, Floats]]) -> tuple[str, str]:
    """The regression, if it ranks better than both rates beyond chance and errs no more; otherwise the step's rate."""
    gains, words = [], []
    for name in (STEP_RATE, MOVED_UP):
        low, high = model_metrics.interval(drawn[LOGISTIC]["auc"] - drawn[name]["auc"])
        gain = values[LOGISTIC]["auc"][0] - values[name]["auc"][0]
        gains.append(low > 0)
        words.append(f"{name} {values[name]['auc'][0]:.3f}, gain {gain:.3f} ({low:.3f} to {high:.3f})")
    errs_more = model_metrics.interval(drawn[LOGISTIC]["brier"] - drawn[STEP_RATE]["brier"])[0] > 0
    champion = LOGISTIC if all(gains) and not errs_more else STEP_RATE
    figures = f"AUC {values[LOGISTIC]['auc'][0]:.3f} against {'; '.join(words)}"
    return champion, f"{champion} is champion: {LOGISTIC} has {figures}"
