"""Why a product is recommended, in words for people.

Belongs here: the method that speaks most for a row and its reason. Not here: how likely a product is bought
(`recommender.py`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crm_assets.contracts.recommendations import METHODS

if TYPE_CHECKING:
    from crm_assets.mining.recommender import Candidates, Shop

_REPEAT, _TOGETHER, _ALIKE, _POPULAR = range(len(METHODS))

_DAYS = 1_000
"""More than any number of days since a purchase that is remembered."""

Integers = NDArray[np.int64]
Texts = NDArray[np.object_]


def reasons(shop: "Shop", found: "Candidates", chosen: Integers, segments: NDArray[Any]) -> tuple[Texts, Texts]:
    """Method and reason of each row that is listed.

    Args:
        shop: what is on offer.
        found: the candidates.
        chosen: places of what is listed.
        segments: of each customer.

    Returns:
        Two arrays of texts, as long as `chosen`.
    """
    method, source = _methods(shop, found, chosen)
    name, goods = product_names(shop), len(shop.index)
    words = np.empty(len(chosen), dtype=object)

    def popular(customer: int) -> str:
        group = segments[customer]
        is_known = group and group in shop.segments
        return f"popular with customers like you ({group})" if is_known else "popular with all customers"

    def alike(pair: int) -> str:
        bought, offered = divmod(pair, goods)
        return f"because you bought {name(bought)}: {name(offered)} is alike"

    # A number that says all there is to say of a row, and the words for it: many rows say the same.
    ways: dict[int, tuple[Integers, Callable[[int], str]]] = {
        _REPEAT: (
            found.times[chosen] * _DAYS + found.days_since[chosen],
            lambda bought: _bought(*divmod(bought, _DAYS)),
        ),
        _TOGETHER: (source, lambda bought: f"because you bought {name(bought)}: often bought together"),
        _ALIKE: (source * goods + found.product[chosen], alike),
        _POPULAR: (found.customer[chosen], popular),
    }
    for way, (said, put) in ways.items():
        rows = method == way
        distinct, place = np.unique(said[rows], return_inverse=True)
        words[rows] = np.array([put(number) for number in distinct.tolist()], dtype=object)[place]
    return np.array(METHODS, dtype=object)[method], words


def product_names(shop: "Shop") -> Any:
    """A function that gives the name of a product by its number: its own, or its kind with the identifier."""
    offered = shop.offered
    named, kinds = (offered[column].fillna("").to_numpy(dtype=object) for column in ("product_name", "kind"))
    identifiers = shop.index.to_numpy(dtype=object)

    def name(product: int) -> str:
        identifier = str(identifiers[product])
        if product >= len(offered):
            return identifier
        return str(named[product] or (f"{kinds[product]} ({identifier})" if kinds[product] else identifier))

    return name


def _bought(times: int, days: int) -> str:
    often = "once" if times == 1 else f"{times} times"
    lately = "today" if days == 0 else "yesterday" if days == 1 else f"{days} days ago"
    return f"you bought it {often}, last {lately}"


def _methods(shop: "Shop", found: "Candidates", chosen: Integers) -> tuple[Integers, Integers]:
    """What speaks most for each row, and the product it goes back to; -1 where that is none."""
    method = np.where(found.days_since[chosen] >= 0, _REPEAT, _POPULAR)
    source = np.full(len(chosen), -1, np.int64)
    for way, feature, matrix in ((_TOGETHER, "together", shop.together), (_ALIKE, "alike", shop.alike)):
        speaks = found.of(feature)[chosen] > 0
        rows = np.flatnonzero((method == _POPULAR) & speaks)
        if len(rows):
            method[rows] = way
            source[rows] = _strongest(found, chosen[rows], matrix)
    return method, source


def _strongest(found: "Candidates", places: Integers, matrix: Any) -> Integers:
    """For each candidate the product of the customer's that speaks most for it; a tie goes to the first."""
    taste, goods = found.taste, np.int64(matrix.shape[1])
    customer, product = found.customer[places], found.product[places]
    starts, counts = taste.indptr[customer], np.diff(taste.indptr)[customer]
    row = np.repeat(np.arange(len(places)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    entry = np.repeat(starts, counts) + within
    bought = taste.indices[entry].astype(np.int64)
    pairs = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr)) * goods + matrix.indices
    wanted = bought * goods + product[row]
    place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    strength = np.where(pairs[place] == wanted, matrix.data[place] * taste.data[entry], 0.0)
    # Every candidate has a product that speaks for it, and these stand in order.
    begins = np.cumsum(counts) - counts
    strongest = np.flatnonzero(strength == np.repeat(np.maximum.reduceat(strength, begins), counts))
    return np.asarray(bought[strongest[np.searchsorted(strongest, begins)]], np.int64)
