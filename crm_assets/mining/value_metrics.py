"""How good a prediction of spend is, with bootstrap intervals.

Belongs here: the figures of a value model's leaderboard. Not here: choosing or training a model.

`mae`: mean absolute difference of predicted and actual spend, workspace currency.
`top_decile_capture`: share of all spend that the 10% of customers predicted highest account for; a tie on the border
counts in part.
`rank_correlation`: Spearman's, of predicted and actual spend.

Every resample redraws customers; it is a row of weights, made one at a time, so that a million customers fit in memory.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

METRICS = ("mae", "top_decile_capture", "rank_correlation")
"""Names of the figures, in the order they are shown."""

RANKING_METRICS = ("top_decile_capture", "rank_correlation")
"""Figures of the order in which customers are put, whatever the amounts."""

LOWER_IS_BETTER = frozenset({"mae"})

_TOP = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Figures of a prediction.

    Attributes:
        values: Each figure on the customers as they are.
        resampled: Each figure on each resample; resamples of one seed are the same for every prediction.
    """

    values: dict[str, float]
    resampled: dict[str, Floats]


def judge(actual: ArrayLike, predicted: ArrayLike, seed: int, resamples: int = 200) -> Judged:
    """Every figure of `METRICS`, and on resamples of the customers.

    Args:
        actual: spend of each customer.
        predicted: of the same customers.
        seed: of the resamples.
        resamples: their number.

    Returns:
        The figures; NaN where one is not defined, such as the capture of no spend at all.
    """
    spend, forecast = np.asarray(actual, np.float64), np.asarray(predicted, np.float64)
    error = np.abs(spend - forecast)
    by_forecast, by_spend = _Ranking.of(forecast), _Ranking.of(spend)

    def figures(weight: Floats) -> tuple[float, float, float]:
        return (
            float((error * weight).sum() / weight.sum()),
            _capture(by_forecast, spend, weight),
            _correlation(by_forecast.ranks(weight), by_spend.ranks(weight), weight),
        )

    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        chosen = generator.integers(len(spend), size=len(spend))
        drawn.append(figures(np.bincount(chosen, minlength=len(spend)).astype(np.float64)))
    table = np.array(drawn)
    return Judged(
        dict(zip(METRICS, figures(np.ones(len(spend))), strict=True)),
        {name: table[:, number] for number, name in enumerate(METRICS)},
    )


@dataclass(frozen=True)
class _Ranking:
    """An order from the highest value down, with where each run of equal values starts."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    run: NDArray[np.intp]

    @classmethod
    def of(cls, values: Floats) -> "_Ranking":
        order = np.argsort(-values, kind="stable")
        begins = np.r_[True, np.diff(values[order]) != 0]
        run = np.empty(len(values), dtype=np.intp)
        run[order] = np.cumsum(begins) - 1
        return cls(order, np.flatnonzero(begins), run)

    def sizes(self, weight: Floats) -> Floats:
        """Weight of each run of equal values, from the highest down."""
        return np.asarray(np.add.reduceat(weight[self.order], self.starts))

    def ranks(self, weight: Floats) -> Floats:
        """Rank of each row among the weighted rows, the highest first; equal values share the middle of theirs."""
        size = self.sizes(weight)
        return np.asarray((np.cumsum(size) - size / 2)[self.run])


def _capture(ranking: _Ranking, spend: Floats, weight: Floats) -> float:
    size = ranking.sizes(weight)
    held = ranking.sizes(weight * spend)
    room = _TOP * weight.sum() - (np.cumsum(size) - size)
    inside = np.clip(room / np.where(size > 0, size, 1.0), 0.0, 1.0)
    total = float(held.sum())
    return float((held * inside).sum()) / total if total > 0 else float("nan")


def _correlation(left: Floats, right: Floats, weight: Floats) -> float:
    total = weight.sum()
    left, right = left - (left * weight).sum() / total, right - (right * weight).sum() / total
    spread = float(np.sqrt((weight * left * left).sum() * (weight * right * right).sum()))
    return float((weight * left * right).sum()) / spread if spread > 0 else float("nan")
