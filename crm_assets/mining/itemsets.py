"""Sets of items that are often in one basket.

Belongs here: which baskets and items count, and counting sets of them in the engine. Not here: counting over bit
vectors (`basket_bits.py`), what an item is, rules and their measures (`cross_sell.py`).
Source: Agrawal and Srikant, Fast Algorithms for Mining Association Rules (1994); like their AprioriTid, each level
keeps which baskets hold which frequent set and joins those, so later levels never read the baskets again. Items are
coded rarest first, as in Borgelt's Apriori: a set's prefix is then its rarest part, and far fewer rows join.

The engine makes distinct pairs of basket and item, sizes and frequent items. Longer sets are counted over bit vectors
where those fit in memory, in half the time, and else level by level in the engine, which may spill. Counts are the same.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from math import ceil
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.mining import basket_bits

if TYPE_CHECKING:
    import pandas as pd

MAX_BASKET_ITEMS = 250
"""Baskets with more distinct items are left out: a basket of n items holds n(n-1)/2 pairs and n(n-1)(n-2)/6 triples.

Measured on Complete Journey (largest basket: 129 product types) up to triples: 500 added baskets of 250 random frequent
types take the count from 2 to 3 s, 500 of 500 types to over a minute.
"""

MAX_ITEMS = 2_000
"""Most items of which sets are counted: beyond, only the more frequent ones are."""

Itemset = tuple[Any, ...]

_ITEMSETS = {"extension": "int64", "prefix": "int32", "item": "int32", "itemset": "int32"}


@dataclass(frozen=True)
class Itemsets:
    """Itemsets and the baskets they were counted in.

    Attributes:
        frame: One row per itemset, ordered by length and items: items (sorted tuple), length, baskets (that hold it).
        baskets: Baskets counted, those without any frequent item included.
        oversized_baskets: Baskets left out because they hold more than `max_basket_items` distinct items.
        minimum_count: Smallest number of baskets of a set that was looked for; 0 where sets were given.
    """

    frame: "pd.DataFrame"
    baskets: int
    oversized_baskets: int
    minimum_count: int = 0

    @property
    def counts(self) -> dict[Itemset, int]:
        """Baskets of each itemset."""
        return dict(zip(self.frame["items"], self.frame["baskets"].tolist(), strict=True))


def frequent_itemsets(
    basket_items: ir.Table,
    minimum_count: int,
    max_length: int = 4,
    *,
    minimum_support: float = 0.0,
    max_basket_items: int = MAX_BASKET_ITEMS,
    max_items: int | None = None,
) -> Itemsets:
    """Every itemset that at least `minimum_count` baskets hold.

    In the engine, Apriori's join step is the pruning: a set is counted only where both of its subsets that share its prefix are
    frequent, in the baskets that hold both. Checking the remaining subsets too cost more than it saved (Complete
    Journey's triples: 0.76 s instead of 0.61 s), so that step is left out; the counts are the same.

    Args:
        basket_items: basket_id, item, texts or integers; repeated pairs count once, rows with a null are ignored.
        minimum_count: smallest number of baskets, at least 1.
        max_length: most items in a set, at least 1.
        minimum_support: smallest share of the counted baskets, 0 to 1; both this and `minimum_count` must be reached.
        max_basket_items: baskets with more distinct items are left out of everything, and reported.
        max_items: most frequent items; where there are more, the count that is needed rises until there are not.

    Returns:
        The frequent itemsets; empty when there is none.

    Raises:
        ValueError: if a limit makes no sense.
    """
    if minimum_count < 1 or max_length < 1 or max_basket_items < 1 or not 0 <= minimum_support <= 1:
        raise ValueError(
            "frequent itemsets need minimum_count, max_length and max_basket_items of at least 1 and minimum_support "
            f"from 0 to 1, not {minimum_count}, {max_length}, {max_basket_items} and {minimum_support}"
        )
    with ExitStack() as cached:
        pairs, baskets, oversized = _usable_pairs(basket_items, max_basket_items, cached)
        needed = max(minimum_count, count_for_share(minimum_support, baskets))
        counted = cached.enter_context(pairs.group_by("item").agg(baskets=_.count()).cache())
        if max_items is not None:
            beyond = counted.order_by(ibis.desc("baskets")).limit(1, offset=max_items).baskets.to_pyarrow().to_pylist()
            needed = max([needed, *(count + 1 for count in beyond)])
        counted = counted.filter(_.baskets >= needed)
        singles = counted.mutate(code=_row_numbers(["baskets", "item"]))
        singles = cached.enter_context(singles.cache())
        rows = singles.order_by("code").to_pandas()
        names, frequencies = rows["item"].tolist(), rows["baskets"].tolist()
        coded = pairs.join(singles, "item").select("basket_id", "code")
        if basket_bits.fits(len(names), baskets, sum(frequencies)):
            found, counts = _in_memory(coded, len(names), needed, max_length)
        else:
            found, counts = _level_by_level(coded, len(names), needed, max_length, cached)
        itemsets = [(name,) for name in names] + [tuple(names[code] for code in codes) for codes in found]
    return Itemsets(_frame(itemsets, frequencies + counts), baskets, oversized, needed)


def count_itemsets(
    basket_items: ir.Table, itemsets: Iterable[Sequence[str]], *, max_basket_items: int = MAX_BASKET_ITEMS
) -> Itemsets:
    """How many baskets hold each of the given itemsets, counted in the engine.

    Args:
        basket_items: basket_id, item; repeated pairs count once, rows with a null are ignored.
        itemsets: the sets to count; their subsets are counted too.
        max_basket_items: baskets with more distinct items are left out of everything, and reported.

    Returns:
        The given itemsets and all their subsets, those in no basket with a count of 0.
    """
    wanted = {tuple(sorted(set(itemset))) for itemset in itemsets}
    closed = {part for items in wanted for size in range(1, len(items) + 1) for part in combinations(items, size)}
    shared = Counter(item for items in closed for item in items)
    names = sorted(shared, key=lambda item: (shared[item], item))
    codes = {item: code for code, item in enumerate(names)}
    levels: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for coded in sorted(tuple(sorted(codes[item] for item in items)) for items in closed):
        levels[len(coded)].append(coded)
    found: list[Itemset] = []
    frequencies: list[int] = []
    with ExitStack() as cached:
        pairs, baskets, oversized = _usable_pairs(basket_items, max_basket_items, cached)
        kinds = {"item": pairs.item.type(), "code": "int32"}
        singles = ibis.memtable({"item": names, "code": list(range(len(names)))}, schema=kinds)
        coded = pairs.join(singles, "item").select("basket_id", "code")
        occurrences = _occurrences_of_items(coded, cached, least_items=1)
        for length in sorted(levels):
            level = levels[length]
            if length > 1:
                numbers = {coded: number for number, coded in enumerate(levels[length - 1])}
                prefixes = [numbers[coded[:-1]] for coded in level]
                known = {
                    "extension": [
                        prefix * len(names) + coded[-1] for prefix, coded in zip(prefixes, level, strict=True)
                    ],
                    "prefix": prefixes,
                    "item": [coded[-1] for coded in level],
                    "itemset": list(range(len(level))),
                }
                grown = _grown(occurrences, len(levels[length - 2]) or 1, len(names))
                occurrences = _kept(grown, ibis.memtable(known, schema=_ITEMSETS))
                occurrences = cached.enter_context(occurrences.cache())
            rows = occurrences.group_by("itemset").agg(baskets=_.count()).to_pandas()
            held = dict(zip(rows["itemset"].tolist(), rows["baskets"].tolist(), strict=True))
            found += [tuple(names[code] for code in coded) for coded in level]
            frequencies += [held.get(number, 0) for number in range(len(level))]
    return Itemsets(_frame(found, frequencies), baskets, oversized)


def count_for_share(share: float, baskets: int) -> int:
    """Smallest number of baskets that is at least `share` of them, exact for a share written in decimals."""
    return ceil(Decimal(str(share)) * baskets)


def _usable_pairs(basket_items: ir.Table, max_basket_items: int, cached: ExitStack) -> tuple[ir.Table, int, int]:
    """Distinct pairs of basket_id and item, without oversized baskets; baskets kept; baskets left out."""
    named = basket_items.filter(_.basket_id.notnull(), _.item.notnull())
    pairs = cached.enter_context(named.select("basket_id", "item").distinct().cache())
    sizes = pairs.group_by("basket_id").agg(size=_.count())
    fits = sizes.size <= max_basket_items
    totals = sizes.agg(all=sizes.count(), kept=fits.cast("int64").sum()).to_pandas().iloc[0]
    baskets, kept = int(totals["all"]), int(totals["kept"]) if totals["all"] else 0
    if kept < baskets:
        pairs = pairs.semi_join(sizes.filter(fits), "basket_id")
    return pairs, kept, baskets - kept


def _in_memory(coded: ir.Table, items: int, needed: int, max_length: int) -> tuple[list[tuple[int, ...]], list[int]]:
    """Frequent sets of two items and more, as codes, and their counts: over bit vectors."""
    if max_length == 1:
        return [], []
    # Texts for baskets would be fetched only to be numbered.
    numbered = coded.select(basket=ibis.dense_rank().over(order_by="basket_id"), code="code")
    rows = (
        coded.select(basket="basket_id", code="code") if coded.basket_id.type().is_integer() else numbered
    ).to_pyarrow()
    found = basket_bits.frequent_sets(rows["basket"].to_numpy(), rows["code"].to_numpy(), items, needed, max_length)
    return [codes for codes, _count in found], [count for _codes, count in found]


def _level_by_level(
    coded: ir.Table, items: int, needed: int, max_length: int, cached: ExitStack
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Frequent sets of two items and more, as codes, and their counts: in the engine, which may spill."""
    level: list[tuple[int, ...]] = [(code,) for code in range(items)]
    found: list[tuple[int, ...]] = []
    frequencies: list[int] = []
    prefixes = 1
    occurrences = _occurrences_of_items(coded, cached)
    for length in range(2, max_length + 1):
        grown = _grown(occurrences, prefixes, items)
        counted = grown.group_by("extension").agg(baskets=_.count()).filter(_.baskets >= needed)
        frequent = counted.mutate(
            prefix=(_.extension // max(1, items)).cast("int32"),
            item=(_.extension % max(1, items)).cast("int32"),
            itemset=_row_numbers(["extension"]),
        )
        frequent = cached.enter_context(frequent.cache())
        rows = frequent.order_by("itemset").to_pandas()
        prefixes = len(level)
        level = [(*level[prefix], item) for prefix, item in zip(rows["prefix"], rows["item"], strict=True)]
        found += level
        frequencies += rows["baskets"].tolist()
        if len(level) <= length or length == max_length:  # a set one longer has more subsets than that
            break
        occurrences = cached.enter_context(_kept(grown, frequent).cache())
    return found, frequencies


def _occurrences_of_items(coded: ir.Table, cached: ExitStack, least_items: int = 2) -> ir.Table:
    """Which basket holds which coded item: basket, prefix, item, itemset, integers all."""
    coded = cached.enter_context(coded.cache())
    baskets = coded.group_by("basket_id").agg(size=_.count()).filter(_.size >= least_items)
    numbered = baskets.select("basket_id", basket=_row_numbers(["basket_id"]))
    occurrences = coded.join(numbered, "basket_id").select(
        "basket", prefix=ibis.literal(0, "int32"), item="code", itemset="code"
    )
    return cached.enter_context(occurrences.cache())


def _grown(occurrences: ir.Table, prefixes: int, items: int) -> ir.Table:
    """Sets one item longer, where two sets of a basket differ in the last item only: basket, extension.

    Basket and prefix are joined as one number, and counted as one number are the set that grew and its new item: one
    column of small numbers is hashed faster than two.
    """
    group = occurrences.basket.cast("int64") * prefixes + occurrences.prefix
    left = occurrences.select("basket", "item", "itemset", group=group)
    right = occurrences.select("item", group=group).view()
    joined = left.join(right, [left.group == right.group, left.item < right.item], rname="{name}_right")
    longer = joined.select("basket", prefix="itemset", item="item_right")
    return longer.select("basket", extension=longer.prefix.cast("int64") * items + longer.item)


def _kept(grown: ir.Table, itemsets: ir.Table) -> ir.Table:
    """The grown sets that are among `itemsets`, by their numbers.

    Prefix and item are joined as one number: an optimiser that joined the prefixes first, as two equalities invite it
    to, would pair every occurrence with every set that extends it.
    """
    known = itemsets.select("extension", "prefix", "item", "itemset")
    return grown.join(known, "extension").select("basket", "prefix", "item", "itemset")


def _row_numbers(order: list[str]) -> ir.IntegerColumn:
    """Numbers from 0 in the given order, as small integers since joins carry millions of them."""
    return ibis.row_number().over(order_by=order).cast("int32")


def _frame(itemsets: list[Itemset], frequencies: list[int]) -> "pd.DataFrame":
    """Itemsets as a frame, each set sorted, the sets by length and items."""
    import pandas as pd

    rows = sorted(
        (len(items), tuple(sorted(items)), baskets) for items, baskets in zip(itemsets, frequencies, strict=True)
    )
    return pd.DataFrame(
        {
            "items": pd.Series([items for _length, items, _baskets in rows], dtype="object"),
            "length": pd.Series([length for length, _items, _baskets in rows], dtype="int64"),
            "baskets": pd.Series([baskets for _length, _items, baskets in rows], dtype="int64"),
        }
    )
