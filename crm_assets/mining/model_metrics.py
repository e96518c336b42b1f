"""How good a probability of a yes-or-no outcome is, with bootstrap intervals.

Belongs here: figures any classifier's leaderboard uses. Not here: choosing or training a model.

`auc`: chance that a random positive ranks above a random negative, ties half.
`pr_auc`: average precision, the area under precision over recall by steps.
`brier`: mean squared difference of probability and outcome.
`ece`: expected calibration error over 10 equal-width bins of probability: the mean, weighted by rows, of the absolute
difference of mean probability and share of positives in a bin.
`lift_at_10`: share of positives among the 10% ranked highest over the share among all; a tie on the border counts in
part.

Intervals are percentiles of a bootstrap that redraws whole customers when `groups` names them (Efron and Tibshirani,
An Introduction to the Bootstrap, 1993); every resample is one row of weights, so all of them are computed at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crm_assets.mining.threads import one_algebra_thread

METRICS = ("auc", "pr_auc", "brier", "ece", "lift_at_10")
"""Names of the figures, in the order they are shown."""

LOWER_IS_BETTER = frozenset({"brier", "ece"})
"""Figures where less is better."""

_BINS = 10
_TOP = 0.1


@dataclass(frozen=True)
class Figure:
    """A figure and the interval it lies in.

    Attributes:
        value: On the rows given.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


def bootstrap_weights(
    rows: int, groups: Sequence[object] | None = None, resamples: int = 200, seed: int = 0
) -> NDArray[np.float64]:
    """How often each row is drawn in each resample.

    Args:
        rows: number of rows.
        groups: for each row what it belongs to, such as its customer; groups are drawn whole. Default: each row alone.
        resamples: number of resamples.
        seed: the same seed gives the same weights.

    Returns:
        Array of shape (resamples, rows).
    """
    names = np.arange(rows) if groups is None else np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    distinct = int(names.max()) + 1 if rows else 0
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(distinct, np.full(distinct, 1 / max(distinct, 1)), size=resamples)
    return drawn[:, names].astype(np.float64)


def figures(
    outcome: ArrayLike,
    probability: ArrayLike,
    groups: Sequence[object] | None = None,
    resamples: int = 200,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Figure]:
    """Every figure of `METRICS` with its bootstrap interval.

    Args:
        outcome: 0 or 1 per row.
        probability: of outcome 1, per row.
        groups: as in `bootstrap_weights`.
        resamples: number of resamples.
        seed: of the resamples.
        confidence: share of the resamples inside the interval.

    Raises:
        ValueError: when the rows hold only one outcome: nothing can be ranked then.
    """
    values = evaluate(outcome, probability)
    resampled = evaluate(outcome, probability, bootstrap_weights(len(np.asarray(outcome)), groups, resamples, seed))
    return {name: Figure(float(values[name][0]), *interval(resampled[name], confidence)) for name in METRICS}


def interval(resampled: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Ends of the middle `confidence` of the resampled figures; resamples of one outcome only do not count."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def evaluate(
    outcome: ArrayLike,
    probability: ArrayLike,
    weights: NDArray[np.float64] | None = None,
    only: str | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Every figure of `METRICS`, once per row of weights.

    Args:
        outcome: 0 or 1 per row.
        probability: of outcome 1, per row.
        weights: shape (resamples, rows); default one resample of ones.
        only: the one figure that is wanted; ranking figures take scores of any unit.

    Raises:
        ValueError: when the rows hold only one outcome.
    """
    truth = np.asarray(outcome, dtype=np.float64)
    chance = np.asarray(probability, dtype=np.float64)
    if not 0 < truth.sum() < len(truth):
        raise ValueError(f"figures need both outcomes; all {len(truth)} rows have the same one")
    weights = np.ones((1, len(truth))) if weights is None else weights

    order = np.argsort(-chance, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(chance[order]) != 0])
    ranked = weights[:, order]
    positive = np.add.reduceat(ranked * truth[order], starts, axis=1)
    negative = np.add.reduceat(ranked, starts, axis=1) - positive
    # One thread for sums: the order of several would change the last digits.
    with np.errstate(divide="ignore", invalid="ignore"), one_algebra_thread():
        figures_of = {
            "auc": lambda: _roc_auc(positive, negative),
            "pr_auc": lambda: _pr_auc(positive, negative),
            "brier": lambda: weights @ (chance - truth) ** 2 / weights.sum(axis=1),
            "ece": lambda: _calibration_error(truth, chance, weights),
            "lift_at_10": lambda: _lift(positive, negative),
        }
        return {name: compute() for name, compute in figures_of.items() if only in (None, name)}


def _roc_auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> NDArray[np.float64]:
    below = negative.sum(axis=1, keepdims=True) - np.cumsum(negative, axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return ((positive * (below + negative / 2)).sum(axis=1)) / np.where(pairs > 0, pairs, np.nan)


def _pr_auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> NDArray[np.float64]:
    hits = np.cumsum(positive, axis=1)
    taken = hits + np.cumsum(negative, axis=1)
    precision = hits / np.where(taken > 0, taken, 1)
    total = positive.sum(axis=1)
    return (positive * precision).sum(axis=1) / np.where(total > 0, total, np.nan)


def _calibration_error(
    truth: NDArray[np.float64], chance: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    bins = np.clip((chance * _BINS).astype(int), 0, _BINS - 1)
    member = np.eye(_BINS)[bins]
    return np.abs(weights @ (member * (chance - truth)[:, None])).sum(axis=1) / weights.sum(axis=1)


def _lift(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> NDArray[np.float64]:
    size = positive + negative
    total = size.sum(axis=1, keepdims=True)
    before = np.cumsum(size, axis=1) - size
    inside = np.clip((_TOP * total - before) / np.where(size > 0, size, 1), 0, 1)
    hits = (positive * inside).sum(axis=1) / (_TOP * total[:, 0])
    rate = positive.sum(axis=1) / total[:, 0]
    return hits / np.where(rate > 0, rate, np.nan)
