"""Lists of products for customers: what may interest each, how likely it is, and why.

Belongs here: candidates, their features, lists and reasons. Not here: similarities of products (`neighbours.py`), weights
(`recommender_training.py`), queries (`product_purchases.py`).

A customer's candidates are what was bought before, what goes with it, what is alike to it, and what is popular with
customers of the same gender and age. A logistic regression weighs the signs of all four into one probability, so that
the lists of customers with a long history and with none come from the same model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.mining.neighbours import NONE, Neighbours
from crm_assets.mining.product_purchases import EVERYBODY
from crm_assets.mining.ranks import distinct, find, grouped, place_in_run, rank_within
from crm_assets.mining.recommendation_reasons import reasons

FEATURES = (
    "bought_30d",
    "bought_90d",
    "bought_365d",
    "is_bought",
    "days_since",
    "together",
    "alike",
    "popular",
    "popular_if_bought",
)
"""What a candidate is weighed by. Counts and days by their logarithm; none is missing."""

POPULAR = 50
"""Products, the most popular in the customer's segment, that every customer is offered."""

WITH_IT = 30
"""Products that go with, or are alike to, what the customer bought."""

HALF_LIFE = 90
"""Days after which a purchase says half as much of the customer's taste."""

_SEGMENT_LINES = 1_000
_SHARE_SCALE = 10_000

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ListRules:
    """What a list looks like, whatever the customer.

    Attributes:
        length: Products in a list.
        repeat_days: Days after a purchase in which the product is not offered again.
        new_share: Least share of the list that the customer has not bought in the last 365 days.
        most_of_kind: Most products of one kind.
    """

    length: int = 20
    repeat_days: int = 0
    new_share: float = 0.2
    most_of_kind: int = 5


@dataclass(frozen=True)
class Recommender:
    """The recommender of a month.

    Attributes:
        weights: Weight of each of `FEATURES` in the log-odds.
        intercept: Of the log-odds.
        together: Products bought in the same orders.
        alike: Well-known products and the cold ones alike to them.
        card: What a person wants to know of it.
    """

    weights: Mapping[str, float]
    intercept: float
    together: Neighbours
    alike: Neighbours
    card: Mapping[str, Any]

    def to_document(self) -> dict[str, Any]:
        """As plain values, to be stored."""
        together, alike = self.together.to_document(), self.alike.to_document()
        return {"weights": dict(self.weights), "intercept": self.intercept, "together": together, "alike": alike}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], card: Mapping[str, Any]) -> "Recommender":
        """From what was stored."""
        together, alike = (Neighbours.from_document(document[name]) for name in ("together", "alike"))
        return cls(document["weights"], document["intercept"], together, alike, card)


@dataclass(frozen=True)
class Shop:
    """What is on offer on a day, with numbers for all products that matter.

    Attributes:
        offered: product_id, product_name, category, kind, brand, lines; the first products, in their order.
        index: Identifiers of all products: those offered, then others that customers bought.
        together: Weights from a product that was bought (row) to one that goes with it (column), sparse.
        alike: The same for cold products.
        segments: Names of the segments, `EVERYBODY` first.
        shares: Share of each product on offer in the sales of each segment.
    """

    offered: pd.DataFrame
    index: pd.Index
    together: Any
    alike: Any
    segments: pd.Index
    shares: Floats

    @classmethod
    def of(cls, offered: pd.DataFrame, sales: pd.DataFrame, together: Neighbours, alike: Neighbours = NONE) -> "Shop":
        """A day's shop.

        Args:
            offered: as `offered_products` gives them, ordered by product.
            sales: as `sales_of_segments` gives them.
            together: as `bought_together` gives them.
            alike: as `alike` gives them.
        """
        first = pd.Index(offered["product_id"].to_numpy(dtype=object))
        index = first.append(pd.Index(together.products.astype(object)).difference(first))
        index = index.append(pd.Index(alike.products.astype(object)).difference(index))
        segments, shares = _shares(offered, sales, first)
        return cls(
            offered.reset_index(drop=True),
            index,
            _matrix(together, index, len(first)),
            _matrix(alike, index, len(first)),
            segments,
            shares,
        )


@dataclass(frozen=True)
class Candidates:
    """Products that may interest customers, by customer and product.

    Attributes:
        customer: Number of the customer.
        product: Number of the product, among those on offer.
        features: A row for each, a column for each of `FEATURES`.
        days_since: Days since the customer bought it; -1 where that never was.
        times: Lines of the last 365 days on which the customer bought it.
        taste: What each customer bought, weighed by how lately: sparse, customers by all products.
    """

    customer: Integers
    product: Integers
    features: Floats
    days_since: Integers
    times: Integers
    taste: Any

    def of(self, feature: str) -> Floats:
        """A feature of all candidates."""
        return self.features[:, FEATURES.index(feature)]


def find_candidates(shop: Shop, customers: pd.DataFrame, history: pd.DataFrame) -> Candidates:
    """Candidates of some customers.

    Args:
        shop: what is on offer.
        customers: customer_id and segment; their order numbers them.
        history: as `purchase_history` gives it, of these customers.
    """
    from scipy import sparse

    count, goods = len(customers), len(shop.offered)
    who = pd.Index(customers["customer_id"].to_numpy(dtype=object)).get_indexer(
        history["customer_id"].to_numpy(dtype=object)
    )
    what = places_in(shop.index, history["product_id"])
    known = (who >= 0) & (what >= 0)
    past, who, what = history[known], who[known].astype(np.int64), what[known].astype(np.int64)
    times, since = past["bought_365d"].to_numpy(np.int64), past["days_since"].to_numpy(np.int64)
    weight = np.log1p(times) * 0.5 ** (since / HALF_LIFE)
    taste = _sorted(sparse.csr_matrix((weight, (who, what)), shape=(count, len(shop.index))))
    # The mean, not the sum: a long history is no stronger taste.
    total = np.asarray(taste.sum(axis=1)).ravel()
    share = sparse.diags_array(1 / np.where(total > 0, total, 1.0)) @ taste
    with_it, alike = (_sorted(share @ matrix) for matrix in (shop.together, shop.alike))

    segment = np.maximum(places_in(shop.segments, customers["segment"]), 0)
    popular = np.argsort(-shop.shares, axis=1, kind="stable")[:, :POPULAR]
    parts = [
        (who * goods + what)[what < goods],
        _best(with_it, goods),
        _best(alike, goods),
        (np.arange(count)[:, None] * goods + popular[segment]).ravel() if goods else np.zeros(0, np.int64),
    ]
    key = distinct(np.concatenate(parts))
    customer, product = np.divmod(key, max(goods, 1))

    own = np.argsort(who * goods + np.minimum(what, goods - 1), kind="stable")
    own = own[what[own] < goods]
    place, is_bought = find(who[own] * goods + what[own], key)
    row = own[place] if len(own) else np.zeros(len(key), np.int64)

    def of_history(values: NDArray[Any]) -> Floats:
        return np.where(is_bought, values[row], 0).astype(np.float64) if len(own) else np.zeros(len(key))

    counts = {name: of_history(past[name].to_numpy()) for name in ("bought_30d", "bought_90d", "bought_365d")}
    days = of_history(since)
    popularity = np.log1p(_SHARE_SCALE * shop.shares[segment[customer], product])
    columns = {name: np.log1p(values) for name, values in counts.items()} | {
        "is_bought": is_bought.astype(np.float64),
        "days_since": np.log1p(days),
        "together": np.log1p(100 * _values(with_it, goods, key)),
        "alike": np.log1p(100 * _values(alike, goods, key)),
        "popular": popularity,
        "popular_if_bought": popularity * is_bought,
    }
    return Candidates(
        customer,
        product,
        # A feature's values lie together.
        np.array([columns[name] for name in FEATURES]).T,
        np.where(is_bought, days, -1).astype(np.int64),
        counts["bought_365d"].astype(np.int64),
        taste,
    )


def listed(found: Candidates, score: Floats, kinds: NDArray[np.int64], rules: ListRules) -> tuple[Integers, Integers]:
    """The lists of all customers under the rules.

    Args:
        found: the candidates.
        score: of each, the higher the better; a tie goes to the first product.
        kinds: kind of each product on offer; -1 where it is of none.
        rules: of the lists.

    Returns:
        Places in `found` of what is listed, by customer and rank, and the ranks from 0.
    """
    allowed = np.flatnonzero((found.days_since < 0) | (found.days_since >= rules.repeat_days))
    # Candidates stand by customer and product, which stable sorts keep.
    order = allowed[np.argsort(-score[allowed], kind="stable")]
    order = order[grouped(found.customer[order])]
    customer, kind = found.customer[order], kinds[found.product[order]]
    kept = kind < 0
    kept[~kept] = rank_within(customer[~kept] * (kinds.max(initial=0) + 1) + kind[~kept]) < rules.most_of_kind
    order, customer = order[kept], customer[kept]
    is_new = found.days_since[order] < 0
    # Where the list would hold too little that is new, what was bought before gives way from its end.
    new = np.bincount(customer, is_new).astype(np.int64)
    kept_new = np.minimum(new, int(np.ceil(rules.new_share * rules.length)))
    kept = is_new.copy()
    kept[~is_new] = place_in_run(customer[~is_new]) < rules.length - kept_new[customer[~is_new]]
    order = order[kept]
    rank = place_in_run(customer[kept])
    return order[rank < rules.length], rank[rank < rules.length]


def recommend(
    model: Recommender, shop: Shop, customers: pd.DataFrame, history: pd.DataFrame, as_of: date, rules: ListRules
) -> pd.DataFrame:
    """The lists of some customers.

    Args:
        model: of the month.
        shop: what is on offer on the day.
        customers: customer_id and segment.
        history: as `purchase_history` gives it, of these customers.
        as_of: last day seen.
        rules: of the lists.

    Returns:
        Rows of `contracts.recommendations.RECOMMENDATIONS`, by customer as given and rank.
    """
    from scipy.special import expit

    found = find_candidates(shop, customers, history)
    # Added up in one order, whatever the threads of the algebra.
    odds = np.full(len(found.product), model.intercept)
    for name in FEATURES:
        odds += model.weights.get(name, 0.0) * found.of(name)
    chosen, rank = listed(found, odds, kinds_of(shop.offered), rules)
    method, reason = reasons(shop, found, chosen, customers["segment"].to_numpy(dtype=object))
    return pd.DataFrame(
        {
            "as_of": as_of,
            "customer_id": customers["customer_id"].to_numpy(dtype=object)[found.customer[chosen]],
            "rank": rank + 1,
            "product_id": shop.index.to_numpy(dtype=object)[found.product[chosen]],
            "score": expit(odds[chosen]),
            "method": method,
            "reason": reason,
        }
    )


def places_in(index: pd.Index, values: pd.Series) -> Integers:
    """Places of values in an index of texts; -1 for those that are not there."""
    return np.asarray(index.get_indexer(pd.Index(values.to_numpy(dtype=object))), np.int64)


def kinds_of(offered: pd.DataFrame) -> NDArray[np.int64]:
    """Number of each product's kind; -1 where it is of none."""
    return np.asarray(pd.factorize(offered["kind"])[0], np.int64)


def _shares(offered: pd.DataFrame, sales: pd.DataFrame, products: pd.Index) -> tuple[pd.Index, Floats]:
    """Share of each product in each segment's sales, drawn towards everybody's where a segment has few."""
    product, goods = places_in(products, sales["product_id"]), len(products)
    inside = product >= 0
    lines = sales["lines"].to_numpy(np.float64)[inside]
    everybody = np.bincount(product[inside], lines, minlength=goods)
    everybody = everybody / max(everybody.sum(), 1.0)
    names = pd.Index([EVERYBODY, *sorted(set(sales["segment"]) - {EVERYBODY})])
    rows = places_in(names, sales["segment"])[inside]
    shares = np.zeros((len(names), goods))
    np.add.at(shares, (rows, product[inside]), lines)
    total = shares.sum(axis=1, keepdims=True)
    shares = (shares + _SEGMENT_LINES * everybody) / (total + _SEGMENT_LINES)
    shares[0] = everybody
    return names, shares


def _matrix(pairs: Neighbours, index: pd.Index, goods: int) -> Any:
    """Neighbours that are on offer, as a sparse matrix of all products by those on offer."""
    from scipy import sparse

    place = places_in(index, pd.Series(pairs.products)).astype(np.int64)
    source, target = place[pairs.source], place[pairs.target]
    inside = target < goods
    weight = pairs.weight[inside].astype(np.float64)
    return _sorted(sparse.csr_matrix((weight, (source[inside], target[inside])), shape=(len(index), goods)))


def _sorted(matrix: Any) -> Any:
    matrix = matrix.tocsr()
    matrix.sort_indices()
    return matrix


def _best(matrix: Any, goods: int) -> Integers:
    """Keys of the largest values of each row."""
    kept = []
    for row in range(matrix.shape[0]):
        start, end = matrix.indptr[row], matrix.indptr[row + 1]
        columns = matrix.indices[start:end]
        if len(columns) > WITH_IT:
            columns = columns[np.argpartition(-matrix.data[start:end], WITH_IT)[:WITH_IT]]
        kept.append(row * goods + columns.astype(np.int64))
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)


def _values(matrix: Any, goods: int, key: Integers) -> Floats:
    """Values of a sparse matrix, whose columns are in order, at some keys; 0 where it has none."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    place, is_there = find(rows * goods + matrix.indices, key)
    return np.where(is_there, matrix.data[place], 0.0) if len(rows) else np.zeros(len(key))
