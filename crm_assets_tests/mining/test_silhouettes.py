"""Silhouettes, worked out by hand and against scikit-learn."""

import numpy as np
import pytest

from crm_assets.mining import silhouettes
from crm_assets.mining.silhouettes import mean_silhouettes


def test_two_pairs_far_apart():
    rows = np.array([[0.0], [1.0], [10.0], [11.0]])
    # within 1; to the other pair 10.5 and 9.5
    assert mean_silhouettes(rows, [np.array([0, 0, 1, 1])]) == [pytest.approx((9.5 / 10.5 + 8.5 / 9.5) / 2)]


def test_a_row_alone_counts_as_nothing_and_one_cluster_as_the_worst():
    rows = np.array([[0.0], [1.0], [10.0]])
    alone, together = mean_silhouettes(rows, [np.array([0, 0, 1]), np.array([2, 2, 2])])
    assert alone == pytest.approx((9 / 10 + 8 / 9 + 0) / 3)
    assert together == -1.0


def test_equal_rows_in_two_clusters_are_not_separated():
    assert mean_silhouettes(np.zeros((4, 2)), [np.array([0, 0, 1, 1])]) == [0.0]


def test_every_labeling_has_the_silhouette_scikit_learn_gives(monkeypatch):
    from sklearn.metrics import silhouette_score

    monkeypatch.setattr(silhouettes, "DISTANCE_ROWS", 7)
    random = np.random.default_rng(5)
    rows = random.normal(size=(60, 3))
    labelings = [random.integers(0, clusters, 60) for clusters in (2, 5, 9)]
    labelings.append(np.where(labelings[1] == 2, 4, labelings[1]))  # a number without rows
    expected = [silhouette_score(rows, labels) for labels in labelings]
    assert mean_silhouettes(rows, labelings) == pytest.approx(expected, abs=1e-9)
