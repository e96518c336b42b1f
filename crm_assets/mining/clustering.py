"""Clusters of customers, named by what sets them apart.

Belongs here: k-means on scaled customer features, the choice of the number of clusters, their names, and the assignment
of customers to a fitted model. Not here: RFM segments (`rfm.py`), computing features, storing models.

Sources: Lloyd, Least squares quantization in PCM (1982), with k-means++ starts (Arthur and Vassilvitskii, 2007);
Rousseeuw, Silhouettes (1987), for the choice of k.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from crm_assets.mining.silhouettes import mean_silhouettes

Matrix = npt.NDArray[np.float64]


class ClusterInput(NamedTuple):
    """One feature customers are clustered on.

    Attributes:
        column: Column of `customer_features`, or `average_order_amount`, which is computed here.
        log: Take the logarithm first: counts and amounts, whose large values would otherwise rule the distances.
        low: Word for a cluster well below the population.
        high: Word for a cluster well above it.
    """

    column: str
    log: bool
    low: str
    high: str


INPUTS = (
    ClusterInput("recency_days", True, "recent", "long absent"),
    ClusterInput("tenure_days", True, "new", "long-standing"),
    ClusterInput("orders_365d", True, "infrequent", "frequent"),
    ClusterInput("amount_365d", True, "low spend", "high spend"),
    ClusterInput("average_order_amount", True, "small baskets", "large baskets"),
    ClusterInput("categories_365d", True, "few categories", "many categories"),
    ClusterInput("discount_share_365d", False, "rarely discounted", "discount-driven"),
)
"""What customers are clustered on, and the words clusters are named with."""

FEATURE_COLUMNS = tuple(sorted({given.column for given in INPUTS} - {"average_order_amount"}))
"""Columns of `customer_features` that clusters are made from."""

CLUSTER_COUNTS = range(3, 9)
"""Numbers of clusters tried."""

LARGEST_SHARE = 0.9
"""A solution with a larger share of customers in one cluster separates outliers, not customers, and is refused."""

CUSTOMERS_PER_CLUSTER = 10
"""A number of clusters is tried only with at least this many customers for each."""

SILHOUETTE_SAMPLE = 5_000
"""Customers the silhouette is measured on: its cost grows with their square."""

FIT_SAMPLE = 200_000
"""Customers the centers are fitted on, drawn with the seed where there are more."""

CLIP = 4.0
"""Scaled values are cut off at this many standard deviations, so that no single odd value draws a center to itself."""

STANDS_OUT = 0.3
"""Standard deviations from the population from which a feature may name a cluster."""

STANDS_OUT_STRONGLY = 1.5
"""Standard deviations from which the word is preceded by "very"."""

NAME_WORDS = 3
"""Words in a name, as long as they tell the clusters apart."""

SINGLE_CLUSTER = "all customers"
"""The one cluster of a population that could not be divided."""


@dataclass(frozen=True)
class ClusterCount:
    """What was measured for one number of clusters.

    Attributes:
        clusters: Number of clusters.
        silhouette: Mean silhouette of the sample, -1 to 1.
        largest_share: Share of customers in the largest cluster.
        refused: Not eligible, because that share is above `LARGEST_SHARE`.
    """

    clusters: int
    silhouette: float
    largest_share: float
    refused: bool


@dataclass(frozen=True)
class ClusterModel:
    """Fitted clusters as plain values: `to_dict` goes into JSON and `from_dict` brings the equal model back.

    Attributes:
        columns: Features used.
        log: Whether each is log-transformed.
        means: Mean of each, after the logarithm.
        scales: Standard deviation of each, after the logarithm.
        centers: One row per cluster, largest cluster first, in standard deviations from the population.
        names: Name of each cluster, all different.
        sizes: Customers of each cluster at fitting.
        medians: One row per cluster: the median of each feature, in its own unit.
        counts: What was measured for each number of clusters tried.
        dropped: Features left out, each with the reason.
        seed: Seed of starts and samples.
    """

    columns: tuple[str, ...]
    log: tuple[bool, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    centers: tuple[tuple[float, ...], ...]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    medians: tuple[tuple[float, ...], ...]
    counts: tuple[ClusterCount, ...]
    dropped: dict[str, str]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ClusterModel":
        """The model `to_dict` was taken from, also after a round trip through JSON."""
        fields: dict[str, Any] = dict(values)
        for name in ("columns", "log", "means", "scales", "names", "sizes"):
            fields[name] = tuple(fields[name])
        for name in ("centers", "medians"):
            fields[name] = tuple(tuple(row) for row in fields[name])
        fields["counts"] = tuple(ClusterCount(**count) for count in fields["counts"])
        return cls(**fields)

    def card(self) -> dict[str, Any]:
        """What a person wants to know of the model, JSON-able."""
        customers = sum(self.sizes)
        chosen = [count.silhouette for count in self.counts if count.clusters == len(self.names)]
        return {
            "method": "k-means on standardised features, logarithms of counts, days and amounts",
            "customers": customers,
            "clusters": [
                {
                    "name": name,
                    "customers": size,
                    "share": round(size / customers, 4) if customers else 0.0,
                    "medians": dict(zip(self.columns, medians, strict=True)),
                    "differences": dict(zip(self.columns, [round(value, 3) for value in center], strict=True)),
                }
                for name, size, center, medians in zip(self.names, self.sizes, self.centers, self.medians, strict=True)
            ],
            "silhouette": chosen[0] if chosen else None,
            "counts_tried": [asdict(count) for count in self.counts],
            "inputs": list(self.columns),
            "dropped": self.dropped,
            "seed": self.seed,
        }


def fit_clusters(features: pd.DataFrame, seed: int) -> ClusterModel:
    """Fit clusters with the number of clusters that separates customers best.

    Args:
        features: one row per customer: customer_id and columns of `INPUTS`. Missing values count as average; inputs
            that are absent, empty or the same for everyone are left out, which the card says.
        seed: of starts and samples; equal seeds and rows, in any order, give equal models.

    Returns:
        The model with the best silhouette among those without a cluster above `LARGEST_SHARE`. Where there is none, or
        fewer customers than clusters need, one cluster holds everyone.

    Raises:
        ValueError: customer_id is missing or not unique.
    """
    if "customer_id" not in features or features["customer_id"].duplicated().any():
        raise ValueError(
            "Clusters need one row per customer: pass features of one as_of day with a customer_id column."
        )
    features = features.sort_values("customer_id", ignore_index=True)
    inputs, dropped = _usable_inputs(features)
    values = _values(features, [used.column for used in inputs])
    logged = _log(values, [used.log for used in inputs])
    means, scales = _center_and_scale(logged)
    scaled = _scale(logged, means, scales)

    counts, centers = choose_centers(scaled, seed)
    labels = _nearest(scaled, centers)
    sizes = np.bincount(labels, minlength=len(centers))
    order = sorted(range(len(centers)), key=lambda cluster: (-sizes[cluster], tuple(centers[cluster])))
    centers = centers[order]
    medians = [_medians(values[labels == cluster]) for cluster in order]
    return ClusterModel(
        columns=tuple(used.column for used in inputs),
        log=tuple(used.log for used in inputs),
        means=_plain(means),
        scales=_plain(scales),
        centers=tuple(_plain(center) for center in centers),
        names=cluster_names(centers, inputs),
        sizes=tuple(int(sizes[cluster]) for cluster in order),
        medians=tuple(medians),
        counts=counts,
        dropped=dropped,
        seed=seed,
    )


def assign_clusters(model: ClusterModel, features: pd.DataFrame) -> pd.Series:
    """Name of the nearest cluster of each customer; later days are scored with the same, frozen model.

    Args:
        model: as from `fit_clusters`.
        features: rows with the columns the model was fitted on.

    Returns:
        Cluster names with the index of `features`, called cluster_name.

    Raises:
        ValueError: columns of the model are missing.
    """
    values = _values(features, model.columns)
    scaled = _scale(_log(values, model.log), np.array(model.means), np.array(model.scales))
    labels = _nearest(scaled, np.array(model.centers).reshape(len(model.names), len(model.columns)))
    names = np.array(model.names, dtype=object)[labels]
    return pd.Series(names, index=features.index, name="cluster_name", dtype="str")


def choose_centers(scaled: Matrix, seed: int) -> tuple[tuple[ClusterCount, ...], Matrix]:
    """Centers of the number of clusters that separates customers best.

    Args:
        scaled: one row per customer, features on comparable scales, no missing values.
        seed: of starts and samples.

    Returns:
        What was measured for each of `CLUSTER_COUNTS` the customers suffice for, and the centers with the best
        silhouette among those not refused; one center, the mean, where none is left.
    """
    centers = scaled.mean(axis=0, keepdims=True) if len(scaled) else np.zeros((1, scaled.shape[1]))
    distinct = len(np.unique(scaled, axis=0)) if scaled.size else 0
    tried = [k for k in CLUSTER_COUNTS if k * CUSTOMERS_PER_CLUSTER <= len(scaled) and k < distinct]
    if not tried:
        return (), centers

    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(seed)
    fitted_on = _sample(scaled, FIT_SAMPLE, random)
    measured_on = _sample(scaled, SILHOUETTE_SAMPLE, random)
    counts: list[ClusterCount] = []
    best = -np.inf
    # one thread: sums in another order move centers by a last digit
    with threadpool_limits(limits=1):
        candidates = [KMeans(k, n_init=10, random_state=seed).fit(fitted_on).cluster_centers_ for k in tried]
        measured = mean_silhouettes(measured_on, [_nearest(measured_on, candidate) for candidate in candidates])
    for k, candidate, silhouette in zip(tried, candidates, measured, strict=True):
        largest = float(np.bincount(_nearest(scaled, candidate)).max() / len(scaled))
        refused = largest > LARGEST_SHARE
        counts.append(ClusterCount(k, round(silhouette, 6), round(largest, 6), refused))
        if not refused and counts[-1].silhouette > best:
            best, centers = counts[-1].silhouette, candidate
    return tuple(counts), centers


def cluster_names(centers: Matrix, inputs: Sequence[ClusterInput]) -> tuple[str, ...]:
    """Names from the largest differences to the population, lengthened until no two clusters share the same words.

    Args:
        centers: one row per cluster, one column per input, in standard deviations from the population.
        inputs: what the columns mean.

    Returns:
        One name per cluster, such as "very frequent, high spend, discount-driven".
    """
    if len(centers) < 2:
        return (SINGLE_CLUSTER,) * len(centers)
    words = [_words(center, inputs) for center in centers]
    lengths = [sum(abs(difference) >= STANDS_OUT for difference in center) for center in centers]
    lengths = [min(max(length, 1), NAME_WORDS) for length in lengths]
    while True:
        used = [frozenset(row[:length]) for row, length in zip(words, lengths, strict=True)]
        longer = [
            length + 1 if used.count(own) > 1 and length < len(row) else length
            for row, length, own in zip(words, lengths, used, strict=True)
        ]
        if longer == lengths:
            break
        lengths = longer
    names = [", ".join(row[:length]) for row, length in zip(words, lengths, strict=True)]
    # the same words throughout: only the degree differs, and the larger cluster comes first
    earlier = [used[:position].count(own) for position, own in enumerate(used)]
    return tuple(f"{name} ({before + 1})" if before else name for name, before in zip(names, earlier, strict=True))


def _words(center: Matrix, inputs: Sequence[ClusterInput]) -> list[str]:
    """The word of each input for one cluster, most telling first."""
    order = sorted(range(len(inputs)), key=lambda column: -abs(center[column]))
    return [
        ("very " if abs(center[column]) >= STANDS_OUT_STRONGLY else "")
        + (inputs[column].high if center[column] > 0 else inputs[column].low)
        for column in order
    ]


def _usable_inputs(features: pd.DataFrame) -> tuple[list[ClusterInput], dict[str, str]]:
    """Inputs that tell customers apart, and why the others do not."""
    usable, dropped = [], {}
    for candidate in INPUTS:
        try:
            values = _values(features, [candidate.column])
        except ValueError:
            dropped[candidate.column] = "not among the features"
            continue
        known = values[~np.isnan(values)]
        if known.size == 0:
            dropped[candidate.column] = "no values"
        elif known.min() == known.max():
            dropped[candidate.column] = "the same for everyone"
        else:
            usable.append(candidate)
    return usable, dropped


def _values(features: pd.DataFrame, columns: Sequence[str]) -> Matrix:
    """Columns as floats, in order; decimals and nulls of any kind included."""
    matrix = np.empty((len(features), len(columns)))
    for position, column in enumerate(columns):
        if column == "average_order_amount" and {"amount_365d", "orders_365d"} <= set(features):
            amount, orders = _values(features, ["amount_365d", "orders_365d"]).T
            # without orders there is no average: unknown, not zero
            matrix[:, position] = np.divide(amount, orders, out=np.full(len(features), np.nan), where=orders > 0)
        elif column in features:
            matrix[:, position] = pd.to_numeric(features[column]).to_numpy(dtype="float64", na_value=np.nan)
        else:
            raise ValueError(f"The cluster model needs column {column!r}, which these features lack. Fit a new model.")
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def _log(values: Matrix, log: Sequence[bool]) -> Matrix:
    """The logarithm of the columns that ask for it, sign kept: net amounts may be negative."""
    flags = np.array(log, dtype=bool)
    return np.where(flags, np.sign(values) * np.log1p(np.abs(values)), values)


def _center_and_scale(values: Matrix) -> tuple[Matrix, Matrix]:
    """Mean and standard deviation of each column, missing values left out."""
    if not values.size:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    scales = np.nanstd(values, axis=0)
    return np.nanmean(values, axis=0), np.where(scales > 0, scales, 1.0)


def _scale(values: Matrix, means: Matrix, scales: Matrix) -> Matrix:
    """Standard deviations from the mean, cut off at `CLIP`; missing values are average."""
    return np.clip(np.nan_to_num((values - means) / scales, nan=0.0), -CLIP, CLIP)


def _sample(rows: Matrix, size: int, random: np.random.Generator) -> Matrix:
    """At most `size` rows, in their order."""
    return rows if len(rows) <= size else rows[np.sort(random.choice(len(rows), size, replace=False))]


def _nearest(scaled: Matrix, centers: Matrix) -> npt.NDArray[np.intp]:
    """Position of the nearest center of each row, the first one if several."""
    distances = np.stack([((scaled - center) ** 2).sum(axis=1) for center in centers], axis=1)
    return np.asarray(distances.argmin(axis=1))


def _medians(values: Matrix) -> tuple[float, ...]:
    """Median of each column, rounded for people; 0 without any value."""
    known = [column[~np.isnan(column)] for column in values.T]
    return tuple(round(float(np.median(column)), 4) if column.size else 0.0 for column in known)


def _plain(values: Matrix) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
