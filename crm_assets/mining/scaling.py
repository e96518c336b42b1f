"""Features as linear models read them: on a log scale, nulls as the median, standardised.

Belongs here: fitting and applying a scale. Not here: which features a model reads.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_LEAST_SPREAD = 1e-12
"""Columns that differ by less count as constant."""


def signed_log(values: ArrayLike) -> Floats:
    """log(1 + |x|) with the sign of x: counts and amounts differ by factors, not by steps."""
    values = np.asarray(values, np.float64)
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def fit_scale(values: Floats) -> dict[str, list[float]]:
    """Median, mean and deviation of each column, as plain numbers.

    Args:
        values: shape (rows, columns), NaN for null; a column without values counts as zeros, a constant one keeps its
            unit.

    Returns:
        fill, mean and scale, an entry for each column; mean and scale are those with nulls filled.
    """
    present = ~np.isnan(values).all(axis=0)
    fill = np.zeros(values.shape[1])
    fill[present] = np.nanmedian(values[:, present], axis=0)
    values = np.where(np.isnan(values), fill, values)
    spread = values.std(axis=0)
    spread[spread < _LEAST_SPREAD] = 1.0
    return {"fill": fill.tolist(), "mean": values.mean(axis=0).tolist(), "scale": spread.tolist()}


def standardised(scale: Mapping[str, Any], values: Floats) -> Floats:
    """Values on a scale that was fitted, nulls filled."""
    values = np.where(np.isnan(values), np.asarray(scale["fill"]), values)
    return np.asarray((values - np.asarray(scale["mean"])) / np.asarray(scale["scale"]))
