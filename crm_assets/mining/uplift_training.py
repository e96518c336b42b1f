"""Training the model of uplift of a kind of campaign, where some customers were held out.

Belongs here: candidates, the choice and the test. Not here: scoring and figures (`uplift.py`).

A part of the contacts is held out: the newest ones, or where all were contacted on one day, customers drawn at random.
Candidates are compared by Qini on folds of the other customers; the best is tested on the held-out part, which nothing was
chosen by. It is promoted only if the interval of its Qini lies above zero, which a ranking at random has; else uplift is
the average effect.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.mining.classifiers import fit
from crm_assets.mining.model_folds import LEAST_OUTCOMES
from crm_assets.mining.response_inputs import ResponseInputs, waves
from crm_assets.mining.uplift import (
    AVERAGE,
    CLASS_TRANSFORMATION,
    METRICS,
    T_LEARNER,
    QiniCurve,
    Uplift,
    predicted_uplift,
    qini,
)

CANDIDATES = tuple(
    f"{way}_{learner}" for way in (T_LEARNER, CLASS_TRANSFORMATION) for learner in ("logistic", "lightgbm")
)
HELD_OUT_SHARE = 0.4
"""Share of the customers held out for the test, where days cannot be."""

_MOST_NEWEST = 0.6
"""Largest share of the contacts that the newest days may hold to be the test."""

_FOLDS = 3
_RESAMPLES = 200

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TrainedUplift:
    """What came of training.

    Attributes:
        model: The champion, or the average effect.
        leaderboard: Figures of all candidates on the held-out part; no rows where none could be tested.
        card: What was compared with whom, and the figures.
        curve: share_taken, gained and random of the best candidate; no rows where none could be tested.
    """

    model: Uplift
    leaderboard: pd.DataFrame
    card: dict[str, Any]
    curve: pd.DataFrame


@dataclass(frozen=True)
class _Experiment:
    """Rows of a randomised comparison."""

    matrix: pd.DataFrame
    contacted: Mask
    outcome: Floats
    propensity: Floats

    def learnt(self, name: str, rows: Mask, seed: int) -> dict[str, Any]:
        """What a candidate learns from some rows."""
        way, learner = name.rsplit("_", 1)
        inputs, side, outcome = self.matrix[rows], self.contacted[rows], self.outcome[rows]
        control = fit(learner, inputs[~side], outcome[~side], seed)
        if way == T_LEARNER:
            return {"contacted": fit(learner, inputs[side], outcome[side], seed), "control": control}
        propensity = self.propensity[rows]
        weights = np.where(side, 1 / propensity, 1 / (1 - propensity)) / 2
        transformed = np.where(side, outcome, 1 - outcome)
        return {"transformed": fit(learner, inputs, transformed, seed, weights=weights), "control": control}

    def curve(self, uplift: Floats, rows: Mask, resamples: int, seed: int) -> QiniCurve:
        """Qini of predictions for some rows."""
        return qini(uplift, self.contacted[rows], self.outcome[rows], self.propensity[rows], resamples, seed)

    def is_enough(self, rows: Mask) -> bool:
        """Whether both sides have enough of both outcomes."""
        for side in (self.contacted, ~self.contacted):
            known = self.outcome[rows & side]
            if min(known.sum(), len(known) - known.sum()) < LEAST_OUTCOMES:
                return False
        return True


def train_uplift(rows: pd.DataFrame, inputs: ResponseInputs, kind: str, month: date, seed: int) -> TrainedUplift | None:
    """Train the model of uplift of a kind.

    Args:
        rows: contacts of the kind and held-out customers, as `response_cases.contacted_rows` gives them.
        inputs: how they become numbers.
        kind: of campaign.
        month: first day the model may score.
        seed: of everything drawn.

    Returns:
        None where nobody was held out beside somebody contacted on the same day.
    """
    rows = rows[_is_compared(rows)].sort_values(["day", "campaign_id", "customer_id"], ignore_index=True)
    if rows.empty:
        return None
    contacted = ~rows["is_control"].to_numpy(bool)
    experiment = _Experiment(
        inputs.matrix(rows, np.zeros(len(rows))),
        contacted,
        rows["responded"].to_numpy(np.float64),
        pd.Series(contacted).groupby(rows["day"]).transform("mean").to_numpy(np.float64),
    )
    everyone = np.ones(len(rows), dtype=bool)
    curve = experiment.curve(np.zeros(len(rows)), everyone, _RESAMPLES, seed)
    average, (low, high) = curve.figures[AVERAGE], curve.interval(AVERAGE)
    base = float(experiment.outcome[~contacted].mean())
    effect = f"a contact adds {average:.4f} ({low:.4f} to {high:.4f}) to a response rate of {base:.4f}"
    fallback = Uplift(AVERAGE, average, base, {}, inputs.to_document())
    card = {"contacted": int(contacted.sum()), "held out": int((~contacted).sum()), "average effect": effect}
    held_out, how = _held_out(rows, experiment, seed)
    if held_out is None:
        needs = f"{how}; uplift is the average effect"
        nothing = pd.DataFrame(columns=list(MODEL_LEADERBOARD.by_name))
        return TrainedUplift(fallback, nothing, {**card, "choice": needs}, pd.DataFrame())
    best = _best(rows, experiment, ~held_out, seed)
    tested = {}
    for name in CANDIDATES:
        uplift = predicted_uplift(experiment.learnt(name, ~held_out, seed), experiment.matrix[held_out])
        tested[name] = experiment.curve(uplift, held_out, _RESAMPLES, seed)
    low, high = tested[best].interval("qini")
    words = f"{best} has Qini {tested[best].figures['qini']:.5f} ({low:.5f} to {high:.5f}) on {how}"
    is_promoted = low > 0
    if is_promoted:
        model = Uplift(best, average, base, experiment.learnt(best, everyone, seed), inputs.to_document())
        choice = f"{best} is champion: {words}; a ranking at random has 0"
    else:
        model, choice = fallback, f"uplift is the average effect: {words}, which chance explains"
    board = _leaderboard(tested, best if is_promoted else AVERAGE, f"uplift: {kind}", month)
    points = pd.DataFrame({"share_taken": tested[best].share, "gained": tested[best].gained})
    points = points.assign(random=points["share_taken"] * points["gained"].iloc[-1])
    return TrainedUplift(model, board, {**card, "choice": choice, "held_out": how}, points)


def _is_compared(rows: pd.DataFrame) -> Mask:
    """Rows of days on which some were contacted and some held out."""
    share = rows["is_control"].astype(float).groupby(rows["day"]).transform("mean")
    return ((share > 0) & (share < 1)).to_numpy(bool)


def _held_out(rows: pd.DataFrame, experiment: _Experiment, seed: int) -> tuple[Mask | None, str]:
    """What the best candidate is tested on, and in words; None and what is missing."""
    days = rows["day"].to_numpy().astype("datetime64[D]")
    marks = waves(days, experiment.outcome, LEAST_OUTCOMES, HELD_OUT_SHARE)
    newest = marks == marks.max()
    if newest.mean() <= _MOST_NEWEST and experiment.is_enough(newest) and experiment.is_enough(~newest):
        return newest, f"the contacts from {marks.max()} on"
    codes = pd.factorize(rows["customer_id"], sort=True)[0]
    drawn = np.random.default_rng(seed).permutation(int(codes.max()) + 1) < HELD_OUT_SHARE * (int(codes.max()) + 1)
    part = drawn[codes]
    if experiment.is_enough(part) and experiment.is_enough(~part):
        return part, f"{HELD_OUT_SHARE:.0%} of the customers, drawn at random"
    return (
        None,
        f"a model of uplift needs {LEAST_OUTCOMES} of either outcome on both sides to learn from and to test on",
    )


def _best(rows: pd.DataFrame, experiment: _Experiment, known: Mask, seed: int) -> str:
    """The candidate with the best Qini on folds of customers."""
    found = {name: np.full(len(known), np.nan) for name in CANDIDATES}
    for part in _folds(rows, known, seed):
        learn_from = known & ~part
        if not experiment.is_enough(learn_from):
            return CANDIDATES[0]
        for name, uplift in found.items():
            uplift[part] = predicted_uplift(experiment.learnt(name, learn_from, seed), experiment.matrix[part])
    scores = {name: experiment.curve(uplift[known], known, 1, seed).figures["qini"] for name, uplift in found.items()}
    return max(CANDIDATES, key=lambda name: scores[name])


def _folds(rows: pd.DataFrame, known: Mask, seed: int) -> Iterator[Mask]:
    codes = pd.factorize(rows["customer_id"], sort=True)[0]
    fold_of = np.random.default_rng(seed + 1).integers(_FOLDS, size=int(codes.max()) + 1)[codes]
    for number in range(_FOLDS):
        yield known & (fold_of == number)


def _leaderboard(tested: dict[str, QiniCurve], champion: str, model: str, month: date) -> pd.DataFrame:
    board = [
        (model, month, name, metric, curve.figures[metric], *curve.interval(metric), name == champion)
        for name, curve in tested.items()
        for metric in METRICS
    ]
    anyone = next(iter(tested.values()))
    board.append(
        (model, month, AVERAGE, AVERAGE, anyone.figures[AVERAGE], *anyone.interval(AVERAGE), champion == AVERAGE)
    )
    return pd.DataFrame(board, columns=list(MODEL_LEADERBOARD.by_name))
