"""Names of clusters: the words that set each apart, and names that stay from fit to fit.

Belongs here: what clusters are made from, in words; naming, and pairing clusters with those of the fit before. Not here:
fitting (`clustering.py`).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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

STANDS_OUT = 0.3
"""Standard deviations from the population from which a feature may name a cluster."""

STANDS_OUT_STRONGLY = 1.5
"""Standard deviations from which the word is preceded by "very"."""

NAME_WORDS = 3
"""Words in a name, as long as they tell the clusters apart."""

SAME_CLUSTER = 0.75
"""Standard deviations, root mean square over the features, within which a cluster of the next fit is the same one."""

OPPOSITE = 0.1
"""Standard deviations to the other side of the population from which a word of a name has become wrong."""

SINGLE_CLUSTER = "all customers"
"""The one cluster of a population that could not be divided."""


class NamedCenters(NamedTuple):
    """Clusters of an earlier fit.

    Attributes:
        columns: Features used.
        centers: One row per cluster, in standard deviations from the population of that fit.
        names: Name of each cluster.
    """

    columns: Sequence[str]
    centers: Sequence[Sequence[float]]
    names: Sequence[str]


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


def keep_names(
    centers: Matrix, inputs: Sequence[ClusterInput], previous: NamedCenters | None
) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Names of clusters, those of an earlier fit where clusters are the same and the words still true, and which these are.

    Clusters are paired so that their centers together moved least (Kuhn, The Hungarian method, 1955).

    Args:
        centers: one row per cluster, in standard deviations from the population.
        inputs: what the columns of `centers` mean.
        previous: the earlier fit, if there is one.
    """
    names = cluster_names(centers, inputs)
    columns = [used.column for used in inputs]
    shared = [column for column in columns if previous is not None and column in previous.columns]
    if previous is None or not shared or len(previous.names) < 2 or len(names) < 2:
        return names, (False,) * len(names)

    from scipy.optimize import linear_sum_assignment

    before = np.array(previous.centers)[:, [previous.columns.index(column) for column in shared]]
    now = centers[:, [columns.index(column) for column in shared]]
    moved = np.sqrt(((now[:, None, :] - before[None, :, :]) ** 2).mean(axis=2))
    pairs = {
        new: previous.names[old]
        for new, old in zip(*linear_sum_assignment(moved), strict=True)
        if moved[new, old] <= SAME_CLUSTER and is_true(previous.names[old], centers[new], inputs)
    }
    taken = set(pairs.values())
    found = []
    for new, name in enumerate(names):
        given, number = pairs.get(new, name), 2
        while new not in pairs and given in taken:
            given, number = f"{name} ({number})", number + 1
        taken.add(given)
        found.append(given)
    return tuple(found), tuple(new in pairs for new in range(len(names)))


def is_true(name: str, center: Matrix, inputs: Sequence[ClusterInput]) -> bool:
    """Whether no word of a cluster's name says the opposite of what is so.

    Args:
        name: as from `cluster_names`.
        center: of the cluster, in standard deviations from the population.
        inputs: what the columns of `center` mean.
    """
    sides = {
        word: (column, side) for column, used in enumerate(inputs) for word, side in ((used.low, -1), (used.high, 1))
    }
    words = (word.removeprefix("very ") for word in re.sub(r" \(\d+\)$", "", name).split(", "))
    return all(side * center[column] > -OPPOSITE for column, side in (sides[word] for word in words if word in sides))


def _words(center: Matrix, inputs: Sequence[ClusterInput]) -> list[str]:
    """The word of each input for one cluster, most telling first."""
    order = sorted(range(len(inputs)), key=lambda column: -abs(center[column]))
    return [
        ("very " if abs(center[column]) >= STANDS_OUT_STRONGLY else "")
        + (inputs[column].high if center[column] > 0 else inputs[column].low)
        for column in order
    ]
