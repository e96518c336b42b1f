"""How many clusters customers fall into: candidates, their measures, and the choice.

Belongs here: k-means on scaled rows, silhouette, stability and the share guard of each number of clusters. Not here:
features, scaling and names (`clustering.py`), what becomes of clusters from month to month (`cluster_history.py`).

Sources: Lloyd, Least squares quantization in PCM (1982), with k-means++ starts (Arthur and Vassilvitskii, 2007);
Sculley, Web-scale k-means clustering (2010), for many rows; Rousseeuw, Silhouettes (1987); Hennig, Cluster-wise
assessment of cluster stability (2007), for refits on bootstraps; Chakrabarti, Kumar and Tomkins, Evolutionary clustering
(2006), for centers that follow their customers smoothly; Hubert and Arabie, Comparing partitions (1985), for the
adjusted Rand index by which they are compared.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from crm_assets.mining.silhouettes import mean_silhouettes
from crm_assets.mining.threads import one_thread

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]

CLUSTER_COUNTS = range(3, 9)
"""Numbers of clusters tried."""

LARGEST_SHARE = 0.9
"""A solution with a larger share of customers in one cluster separates outliers, not customers, and is refused."""

CUSTOMERS_PER_CLUSTER = 10
"""A number of clusters is tried only with at least this many customers for each."""

STABLE = 0.8
"""Mean adjusted Rand index of bootstrap refits from which a solution is taken to be in the data, not in the sample."""

SWITCH_MARGIN = 0.05
"""Silhouette that another number of clusters must gain before it replaces the one in use: labels are worth something."""

MOVE = 0.5
"""How far centers of an earlier fit go towards where the customers are now: a month's noise relabels nobody."""

BOOTSTRAPS = 5
"""Refits on customers drawn again, with which stability is measured."""

SAMPLE = 5_000
"""Customers that silhouette and stability are measured on: the cost of the first grows with their square."""

MINI_BATCH_ROWS = 20_000
"""With more rows, centers are moved by batches of rows."""

BATCH_ROWS = 4_096


@dataclass(frozen=True)
class ClusterCount:
    """What was measured for one number of clusters.

    Attributes:
        clusters: Number of clusters.
        silhouette: Mean silhouette of the sample, -1 to 1.
        largest_share: Share of customers in the largest cluster.
        refused: Not eligible, because that share is above `LARGEST_SHARE`.
        stability: Mean adjusted Rand index of refits on bootstraps, at most 1; None where a better number was
            stable already.
        chosen: Whether this is the number of clusters of the model.
    """

    clusters: int
    silhouette: float
    largest_share: float
    refused: bool
    stability: float | None = None
    chosen: bool = False


def choose_centers(scaled: Matrix, seed: int, in_use: Matrix | None = None) -> tuple[tuple[ClusterCount, ...], Matrix]:
    """Centers of the number of clusters that separates customers best and again on customers drawn anew.

    Args:
        scaled: one row per customer, features on comparable scales, no missing values.
        seed: of starts and samples.
        in_use: centers that hold so far, already moved to these customers; they stand for their number of clusters, and
            stay unless another number gains `SWITCH_MARGIN` of silhouette.

    Returns:
        What was measured for each of `CLUSTER_COUNTS` the customers suffice for, and the centers with the best
        silhouette among those that are stable and not refused; the most stable ones where none reaches `STABLE`; one
        center, the mean, where all are refused.
    """
    single = scaled.mean(axis=0, keepdims=True) if len(scaled) else np.zeros((1, scaled.shape[1]))
    distinct = len(np.unique(scaled, axis=0)) if scaled.size else 0
    tried = [k for k in CLUSTER_COUNTS if k * CUSTOMERS_PER_CLUSTER <= len(scaled) and k < distinct]
    if not tried:
        return (), single

    random = np.random.default_rng(seed)
    measured_on = _sample(scaled, SAMPLE, random)
    # one thread: sums in another order move centers by a last digit
    with one_thread():
        candidates = [
            in_use if in_use is not None and k == len(in_use) else k_means(scaled, k, seed, starts=5) for k in tried
        ]
        labels = [nearest(measured_on, candidate) for candidate in candidates]
        silhouettes = mean_silhouettes(measured_on, labels)
        measured = []
        for k, candidate, silhouette in zip(tried, candidates, silhouettes, strict=True):
            share = largest_share(scaled, candidate)
            measured.append(ClusterCount(k, round(silhouette, 6), round(share, 6), share > LARGEST_SHARE))
        measured = _with_stability(measured, measured_on, labels, None if in_use is None else len(in_use), seed)
    best = _best(measured, None if in_use is None else len(in_use))
    counts = tuple(replace(count, chosen=position == best) for position, count in enumerate(measured))
    return counts, single if best is None else candidates[best]


def move_centers(scaled: Matrix, centers: Matrix, seed: int) -> Matrix | None:
    """Centers of an earlier fit, moved to other customers; None where they no longer divide these.

    Args:
        scaled: one row per customer.
        centers: where each cluster was, in the same columns.
        seed: of the batches, where there are many rows.

    Returns:
        The same clusters in the same order; None where one has fewer than `CUSTOMERS_PER_CLUSTER` customers left, or
        one has more than `LARGEST_SHARE` of them.
    """
    if len(scaled) < len(centers) * CUSTOMERS_PER_CLUSTER:
        return None

    with one_thread():
        moved = MOVE * k_means(scaled, len(centers), seed, start=centers) + (1 - MOVE) * centers
    sizes = np.bincount(nearest(scaled, moved), minlength=len(moved))
    divides = sizes.min() >= CUSTOMERS_PER_CLUSTER and sizes.max() <= LARGEST_SHARE * len(scaled)
    return moved if divides else None


def k_means(rows: Matrix, clusters: int, seed: int, starts: int = 1, start: Matrix | None = None) -> Matrix:
    """Centers of k-means, in batches where there are many rows."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    init = "k-means++" if start is None else start
    if len(rows) <= MINI_BATCH_ROWS:
        method = KMeans(clusters, n_init=starts, init=init, random_state=seed)
    else:
        method = MiniBatchKMeans(
            clusters,
            n_init=min(starts, 3),
            init=init,
            batch_size=BATCH_ROWS,
            random_state=seed,
            # a small cluster of the month before is moved, not begun again elsewhere
            reassignment_ratio=0.01 if start is None else 0,
        )
    with warnings.catch_warnings():
        # rows drawn again may have fewer distinct values than clusters: the solution is then as unstable as it looks
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = method.fit(rows)
    return np.asarray(found.cluster_centers_, dtype="float64")


def nearest(scaled: Matrix, centers: Matrix) -> Labels:
    """Position of the nearest center of each row, the first one if several."""
    distances = np.stack([((scaled - center) ** 2).sum(axis=1) for center in centers], axis=1)
    return np.asarray(distances.argmin(axis=1))


def largest_share(scaled: Matrix, centers: Matrix) -> float:
    """Share of rows in the largest cluster."""
    return float(np.bincount(nearest(scaled, centers)).max() / len(scaled))


def _best(measured: Sequence[ClusterCount], in_use: int | None) -> int | None:
    """Position of the number of clusters to use; None where all are refused."""
    allowed = [position for position, count in enumerate(measured) if not count.refused]
    if not allowed:
        return None
    stable = [position for position in allowed if (measured[position].stability or 0) >= STABLE]
    incumbent = next((position for position in stable or allowed if measured[position].clusters == in_use), None)
    if not stable:
        most = max(allowed, key=lambda position: (measured[position].stability or 0, measured[position].silhouette))
        return most if incumbent is None else incumbent
    best = max(stable, key=lambda position: (measured[position].silhouette, -position))
    if incumbent is None or measured[best].silhouette - measured[incumbent].silhouette >= SWITCH_MARGIN:
        return best
    return incumbent


def _with_stability(
    measured: Sequence[ClusterCount], rows: Matrix, labelings: Sequence[Labels], in_use: int | None, seed: int
) -> list[ClusterCount]:
    """Stability of the number in use, and of the others from the best silhouette down until one is stable."""
    random = np.random.default_rng(seed)
    draws = [rows[random.integers(0, len(rows), len(rows))] for _ in range(BOOTSTRAPS)]
    found = list(measured)
    for position in sorted(range(len(found)), key=lambda place: -found[place].silhouette):
        count = found[position]
        is_decided = any((other.stability or 0) >= STABLE for other in found if other.clusters != in_use)
        if count.refused or (is_decided and count.clusters != in_use):
            continue
        found[position] = replace(
            count, stability=round(_stability(rows, labelings[position], count.clusters, draws, seed), 6)
        )
    return found


def _stability(rows: Matrix, labels: Labels, clusters: int, draws: Sequence[Matrix], seed: int) -> float:
    """Mean adjusted Rand index between labels and those of refits on rows drawn with replacement."""
    from sklearn.metrics import adjusted_rand_score

    refits = (k_means(drawn, clusters, seed + number, starts=2) for number, drawn in enumerate(draws))
    return float(np.mean([adjusted_rand_score(labels, nearest(rows, refit)) for refit in refits]))


def _sample(rows: Matrix, size: int, random: np.random.Generator) -> Matrix:
    """At most `size` rows, in their order."""
    return rows if len(rows) <= size else rows[np.sort(random.choice(len(rows), size, replace=False))]
