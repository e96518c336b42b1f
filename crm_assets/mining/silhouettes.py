"""How well clusters separate: the mean silhouette.

Belongs here: the silhouette of several labelings of the same rows. Not here: clusters (`clustering.py`).
Source: Rousseeuw, Silhouettes: a graphical aid to the interpretation and validation of cluster analysis (1987).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

DISTANCE_ROWS = 500
"""Rows whose distances to all others are held at a time."""


def mean_silhouettes(rows: Matrix, labelings: Sequence[npt.NDArray[np.intp]]) -> list[float]:
    """Mean silhouette of the rows under each labeling; their distances are computed once for all of them.

    Args:
        rows: one row per customer.
        labelings: cluster of each row, numbered from 0.

    Returns:
        -1 to 1 for each labeling; -1 for one with a single cluster. A row alone in its cluster counts as 0.
    """
    from scipy.spatial.distance import cdist

    members = [np.eye(labels.max() + 1)[labels] for labels in labelings]
    parts = [
        cdist(rows[start : start + DISTANCE_ROWS], rows) @ np.hstack(members)
        for start in range(0, len(rows), DISTANCE_ROWS)
    ]
    ends = np.cumsum([member.shape[1] for member in members])[:-1]
    by_labeling = np.split(np.concatenate(parts), ends, axis=1)
    return [_mean_silhouette(sums, labels) for sums, labels in zip(by_labeling, labelings, strict=True)]


def _mean_silhouette(sums: Matrix, labels: npt.NDArray[np.intp]) -> float:
    """Mean silhouette from the sum of each row's distances to the rows of each cluster."""
    sizes = np.bincount(labels)
    if np.count_nonzero(sizes) < 2:
        return -1.0
    own = np.arange(len(labels)), labels
    within = sums[own] / np.maximum(sizes[labels] - 1, 1)
    others = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    others[own] = np.inf
    nearest = others.min(axis=1)
    larger = np.maximum(within, nearest)
    silhouettes = np.divide(nearest - within, larger, out=np.zeros(len(labels)), where=larger > 0)
    return float(np.where(sizes[labels] > 1, silhouettes, 0.0).mean())
