"""Which products go with which: bought together in one order, or alike in what is written of them.

Belongs here: similarities of products. Not here: what follows for a customer (`recommender.py`).

`bought_together` is item-based collaborative filtering with the cosine of the products' orders (Sarwar et al., Item-based
collaborative filtering recommendation algorithms, 2001), drawn towards 0 where few orders speak for it. `alike` is the
cosine of TF-IDF weights of the words of name, category, kind and brand; Chinese text counts by pairs of characters, which
needs no dictionary.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NEIGHBOURS = 40
"""Neighbours of a product that are kept."""

ALIKE = 5
"""Well-known products that a cold product is linked to."""

MOST_COLD = 1_000
"""Cold products that are linked, those sold most."""

GIANT_BASKET = 200
"""An order of more products than this is no household's: it says nothing of what goes together."""

_LEAST_TOGETHER = 3
_SHRINKAGE = 5
_LEAST_ALIKE = 0.2
_BLOCK = 500
_TIE = 1e-3
_WORDS = re.compile(r"[0-9a-zÀ-ɏͰ-ϿЀ-ӿ]+|[぀-ヿ㐀-鿿]+")

Integers = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Neighbours:
    """Pairs of products: whoever bought `source` may want `target`.

    Attributes:
        products: Their identifiers.
        source: Place of the product that was bought.
        target: Place of the product it speaks for.
        weight: In (0, 1].
    """

    products: NDArray[np.str_]
    source: Integers
    target: Integers
    weight: Floats

    def to_document(self) -> dict[str, Any]:
        """As plain values, to be stored."""
        return {name: getattr(self, name) for name in ("products", "source", "target", "weight")}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Neighbours":
        """From what was stored."""
        return cls(**{name: document[name] for name in ("products", "source", "target", "weight")})


NONE = Neighbours(np.zeros(0, "<U1"), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))


def bought_together(baskets: pd.DataFrame) -> Neighbours:
    """The `NEIGHBOURS` products that go best with each product.

    Args:
        baskets: order_id, product_id; each pair once.

    Returns:
        Pairs that at least three orders hold, strongest first for each source; ties by product.
    """
    from scipy import sparse

    order, _ = pd.factorize(baskets["order_id"])
    product, names = pd.factorize(baskets["product_id"], sort=True)
    if not len(names):
        return NONE
    small = np.bincount(order)[order] <= GIANT_BASKET
    order, product = order[small], product[small]
    held = sparse.csr_matrix(
        (np.ones(len(order), np.int32), (order, product)), shape=(order.max(initial=0) + 1, len(names))
    )
    pairs = (held.T @ held).tocoo()
    known = (pairs.data >= _LEAST_TOGETHER) & (pairs.row != pairs.col)
    source, target, together = pairs.row[known], pairs.col[known], pairs.data[known].astype(np.float64)
    orders = np.bincount(product, minlength=len(names)).astype(np.float64)
    cosine = together / np.sqrt(orders[source] * orders[target])
    weight = cosine * together / (together + _SHRINKAGE)
    ranked = np.lexsort((target, -weight, source))
    source, target, weight = source[ranked], target[ranked], weight[ranked]
    place = np.arange(len(source)) - np.searchsorted(source, source)
    kept = place < NEIGHBOURS
    return Neighbours(
        names.to_numpy(dtype=str),
        source[kept].astype(np.int32),
        target[kept].astype(np.int32),
        weight[kept].astype(np.float32),
    )


def alike(offered: pd.DataFrame, known: NDArray[np.str_]) -> Neighbours:
    """For products of which no orders say what they go with, the well-known products they are alike to.

    Args:
        offered: product_id, product_name, category, kind, brand, lines.
        known: Identifiers of the well-known products.

    Returns:
        Pairs of a well-known source and a cold target.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    is_known = pd.Index(known.astype(object)).get_indexer(offered["product_id"].to_numpy(dtype=object)) >= 0
    cold = offered[~is_known].sort_values(["lines", "product_id"], ascending=[False, True]).head(MOST_COLD)
    warm = offered[is_known].sort_values("product_id")
    both = pd.concat([warm, cold], ignore_index=True)
    columns = (both[name].fillna("").to_numpy(dtype=object) for name in ("product_name", "category", "kind", "brand"))
    texts = list(map(" ".join, zip(*columns, strict=True)))
    if warm.empty or cold.empty or not any(map(words, texts)):
        return NONE
    weights = TfidfVectorizer(analyzer=words, dtype=np.float32).fit_transform(texts)
    warm_weights, parts = weights[: len(warm)].T.tocsr(), []
    # Ties go to the product sold most.
    tie = (warm["lines"].rank(method="first") / len(warm) * _TIE).to_numpy(np.float32)
    for start in range(0, len(cold), _BLOCK):
        block = (weights[len(warm) + start : len(warm) + start + _BLOCK] @ warm_weights).toarray()
        nearest = np.argpartition(-block - tie, min(ALIKE, len(warm)) - 1, axis=1)[:, :ALIKE]
        nearest.sort(axis=1)
        similarity = np.take_along_axis(block, nearest, axis=1)
        row, column = np.nonzero(similarity >= _LEAST_ALIKE)
        parts.append((nearest[row, column], len(warm) + start + row, similarity[row, column]))
    source, target, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Neighbours(
        both["product_id"].to_numpy(dtype=str),
        source.astype(np.int32),
        target.astype(np.int32),
        np.minimum(weight, 1.0).astype(np.float32),
    )


def words(text: str) -> list[str]:
    """Words of a text, lower case; Chinese and Japanese runs as pairs of neighbouring characters."""
    found: list[str] = []
    for word in _WORDS.findall(text.lower()):
        if word[0] >= "぀":
            found.extend(word[n : n + 2] for n in range(max(1, len(word) - 1)))
        else:
            found.append(word)
    return found
