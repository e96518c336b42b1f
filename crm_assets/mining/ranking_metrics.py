"""How good lists of products are, with bootstrap intervals.

Belongs here: the figures of a recommender's leaderboard. Not here: making or choosing lists.

`recall_at_10`: share of what a customer bought later that the first ten places of the list hold.
`ndcg_at_10`: the same, where a hit counts less the lower it stands: discounted by the logarithm of its place and divided
by the best a list could do (Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002).
`hit_rate_at_10`: share of customers with at least one hit.
`coverage_at_10`: share of the products on offer that stand on anyone's list; it has no interval.

Figures are means over customers who bought something later. `warm_` are those who had bought before, `cold_` those who
had not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PLACES = 10
"""Places of a list that count."""

FIGURES = ("ndcg_at_10", "recall_at_10", "hit_rate_at_10")
"""Figures of each customer."""

COVERAGE = "coverage_at_10"

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Bought:
    """What customers bought later: pairs of numbers, each once.

    Attributes:
        customer: Number of the customer.
        product: Number of the product.
    """

    customer: Integers
    product: Integers


def per_customer(later: Bought, customer: Integers, rank: Integers, product: Integers) -> tuple[Integers, Floats]:
    """The figures of each customer who bought something later.

    Args:
        later: what they bought.
        customer: of each row of the lists.
        rank: from 0; rows from `PLACES` on are left out.
        product: that stands there.

    Returns:
        The customers in order, and a row for each with a column for each of `FIGURES`.
    """
    who, wanted = np.unique(later.customer, return_counts=True)
    most = 1 + max(int(x.max(initial=-1)) for x in (later.product, product))
    shown = rank < PLACES
    customer, rank, product = customer[shown], rank[shown], product[shown]
    bought = np.sort(later.customer * most + later.product)
    found = np.minimum(np.searchsorted(bought, customer * most + product), max(len(bought) - 1, 0))
    hit = bought[found] == customer * most + product if len(bought) else np.zeros(len(customer), bool)
    place = np.searchsorted(who, customer[hit])
    gain = 1 / np.log2(np.arange(2, PLACES + 2))
    gained = np.bincount(place, gain[rank[hit]], minlength=len(who))
    hits = np.bincount(place, minlength=len(who))
    best = np.cumsum(gain)[np.minimum(wanted, PLACES) - 1]
    return who, np.column_stack([gained / best, hits / wanted, hits > 0]).astype(np.float64)


@dataclass(frozen=True)
class Resampled:
    """Means over customers, and over resamples of them.

    Attributes:
        values: Each figure; NaN where there is no customer.
        drawn: Each figure on each resample; resamples of one seed are the same for every list.
    """

    values: Mapping[str, float]
    drawn: Mapping[str, Floats]


def means(figures: Floats, is_warm: NDArray[np.bool_], seed: int, resamples: int = 200) -> Resampled:
    """Means of all customers, the warm and the cold, and of resamples of the customers.

    Args:
        figures: as `per_customer` gives them.
        is_warm: of each customer, whether there were purchases before.
        seed: of the resamples.
        resamples: their number.
    """
    generator = np.random.default_rng(seed)
    count = len(figures)
    drawn = generator.multinomial(count, np.full(count, 1 / max(count, 1)), size=resamples).astype(np.float64)
    values, resampled = {}, {}
    for prefix, chosen in (("", np.ones(count, bool)), ("warm_", is_warm), ("cold_", ~is_warm)):
        weight = drawn[:, chosen]
        # A resample may hold no cold customer at all.
        total = np.where(weight.sum(axis=1) > 0, weight.sum(axis=1), np.nan)
        for column, name in enumerate(FIGURES):
            figure = figures[chosen, column]
            values[prefix + name] = float(figure.mean()) if len(figure) else float("nan")
            resampled[prefix + name] = weight @ figure / total
    return Resampled(values, resampled)
