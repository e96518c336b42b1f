"""What is bought together: association rules of baskets, tested and held out.

Belongs here: what a basket and an item are, rules, their measures and value. Not here: counting (`itemsets.py`), tests
of rules (`rule_tests.py`).
Source: Agrawal, Imielinski and Swami, Mining Association Rules between Sets of Items (1993); measures by mlxtend.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.basket import CROSS_SELL_RULES, ITEM_OF_LEVEL, LEVELS
from crm_assets.contracts.model import MONEY
from crm_assets.mining.itemsets import (
    MAX_BASKET_ITEMS,
    MAX_ITEMS,
    Itemsets,
    count_for_share,
    count_itemsets,
    frequent_itemsets,
)
from crm_assets.mining.rule_tests import hypotheses_of, tested_rules
from crm_assets.mining.samples import about

if TYPE_CHECKING:
    import pandas as pd

MINIMUM_SUPPORT: Mapping[str, float] = {"product": 0.001, "product_type": 0.003, "category": 0.01, "brand": 0.003}
"""Default supports: the finer the level, the rarer each item."""


MAX_BASKETS = 2_000_000
"""Rules that a share of a thousandth of the baskets makes rest on 2,000 of them."""


@dataclass(frozen=True)
class CrossSell:
    """Cross-sell rules and what they were mined on.

    Attributes:
        rules: The columns of contract `cross_sell_rules`, ordered by its key; antecedents and consequents are lists.
        levels: One row per level: level, baskets (mined), oversized_baskets (left out of mining and hold-out),
            share (of baskets that were drawn), minimum_count (of baskets), itemsets, hypotheses (rules that could have been found), rules, mined_until
            (last day mined), holdout_baskets (0: none).
    """

    rules: "pd.DataFrame"
    levels: "pd.DataFrame"


def basket_items(transactions: ir.Table, products: ir.Table, level: str, as_of: date) -> ir.Table:
    """The items of each basket up to `as_of`, at a level of the product tree.

    Args:
        transactions: clean order lines; anonymous ones count, returns do not.
        products: versions of the products; the one valid at `as_of` says what an item is.
        level: `product`, `product_type` (the column `subcategory`), `category` or `brand`.
        as_of: last day seen.

    Returns:
        One row per basket and item: basket_id, item, day (the basket's first), amount (paid for the item). Lines
        without a product or without this level of it are left out.

    Raises:
        ValueError: if there is no such level.
    """
    if level not in ITEM_OF_LEVEL:
        raise ValueError(f"baskets are counted at level {' or '.join(LEVELS)}, not {level!r}")
    valid = _valid(products, as_of)
    return _items(_bought(transactions, as_of).join(valid, "product_id"), level)


def cross_sell_rules(
    transactions: ir.Table,
    products: ir.Table,
    as_of: date,
    *,
    levels: tuple[str, ...] = LEVELS,
    minimum_support: float | Mapping[str, float] = MINIMUM_SUPPORT,
    minimum_count: int = 20,
    minimum_confidence: float = 0.25,
    max_length: int = 4,
    max_consequents: int | None = 1,
    holdout_days: int = 28,
    max_basket_items: int = MAX_BASKET_ITEMS,
    max_items: int = MAX_ITEMS,
    max_baskets: int = MAX_BASKETS,
    seed: int = 0,
) -> CrossSell:
    """Association rules at each level, mined up to `holdout_days` before `as_of` and measured again in those days.

    Args:
        transactions: clean order lines; anonymous ones count, returns do not.
        products: versions of the products; the one valid at `as_of` says what an item is.
        as_of: last day seen.
        levels: levels of the product tree, mined apart.
        minimum_support: smallest share of baskets a rule's items are in together, one for all levels or one for each.
        minimum_count: smallest number of them; few baskets make chance rules.
        minimum_confidence: smallest share of the antecedents' baskets that have the consequents too.
        max_length: most items in a rule, both sides together.
        max_consequents: most items to suggest at once; None for no limit. One by default, as in arules: a longer
            consequent repeats what its parts say with more baskets behind them.
        holdout_days: days up to `as_of` held out of mining. A history of less than twice as many days has no hold-out:
            it is mined whole and `holdout_lift` is null. 0: no hold-out.
        max_basket_items: baskets with more distinct items are left out, and counted in `CrossSell.levels`.
        max_items: most items of a level; where more are frequent, the minimum count rises until they are not.
        max_baskets: where there are more baskets, about so many of them are drawn, the same for all levels.
        seed: other seeds draw other baskets.

    Returns:
        The rules and what they were mined on; no rules where nothing is frequent enough.

    Raises:
        ValueError: if a level or a limit makes no sense.
    """
    import pandas as pd

    if isinstance(minimum_support, Mapping) and set(levels) - set(minimum_support):
        raise ValueError(f"minimum_support has no value for level {', '.join(set(levels) - set(minimum_support))}")
    if holdout_days < 0 or not 0 <= minimum_confidence <= 1:
        raise ValueError(
            "cross-sell rules need holdout_days of at least 0 and minimum_confidence from 0 to 1, "
            f"not {holdout_days} and {minimum_confidence}"
        )
    rules, summaries = [], []
    bought, share = about(_bought(transactions, as_of), "basket_id", max_baskets, seed)
    valid = _valid(products, as_of)
    names = {level: _names(valid, level) for level in levels}
    with _coded(bought, valid, names).cache() as lines:
        for level in levels:
            support = minimum_support[level] if isinstance(minimum_support, Mapping) else minimum_support
            with _items(lines, level).cache() as items:
                mined_until = _mined_until(items, as_of, holdout_days)
                itemsets = frequent_itemsets(
                    items.filter(_.day <= mined_until),
                    minimum_count,
                    max_length,
                    minimum_support=support,
                    max_basket_items=max_basket_items,
                    max_items=max_items,
                )
                hypotheses = hypotheses_of(itemsets, max_length, max_consequents)
                frame = tested_rules(_rules(itemsets, minimum_confidence, max_consequents), itemsets, hypotheses)
                frame = _with_value(frame, items.filter(_.day <= mined_until))
                holdout = None
                if mined_until < as_of:
                    itemsets_of_rules = {*frame["antecedents"], *frame["consequents"], *frame["items"]}
                    later = items.filter(_.day > mined_until)
                    holdout = count_itemsets(later, itemsets_of_rules, max_basket_items=max_basket_items)
            rules.append(_with_names(_with_holdout(frame, holdout), names[level]).assign(level=level))
            summaries.append(
                {
                    "level": level,
                    "baskets": itemsets.baskets,
                    "oversized_baskets": itemsets.oversized_baskets + (holdout.oversized_baskets if holdout else 0),
                    "share": share,
                    "minimum_count": itemsets.minimum_count,
                    "itemsets": len(itemsets.frame),
                    "hypotheses": hypotheses,
                    "rules": len(frame),
                    "mined_until": mined_until,
                    "holdout_baskets": holdout.baskets if holdout else 0,
                }
            )
    return CrossSell(_in_contract(pd.concat(rules)), pd.DataFrame(summaries))


def _bought(transactions: ir.Table, as_of: date) -> ir.Table:
    """Lines that put a product into a basket: basket_id, product_id, day, amount."""
    bought = transactions.filter(_.day <= as_of, ~_.is_return.fill_null(False), _.quantity.fill_null(0) >= 0)
    return bought.select("product_id", "day", "amount", basket_id="order_id")


def _valid(products: ir.Table, as_of: date) -> ir.Table:
    """What each product is at each level as of a day."""
    valid = products.filter(_.valid_from <= as_of, _.valid_to.isnull() | (_.valid_to > as_of))
    return valid.select("product_id", **ITEM_OF_LEVEL)


def _items(lines: ir.Table, level: str) -> ir.Table:
    """The items of each basket at a level, with the basket's first day."""
    held = lines.filter(lines[level].notnull())
    pairs = held.group_by("basket_id", item=level).agg(day=_.day.min(), amount=_.amount.sum().cast(MONEY))
    first_days = pairs.group_by("basket_id").agg(day=_.day.min())
    return pairs.drop("day").join(first_days, "basket_id").select("basket_id", "item", "day", "amount")


def _names(valid: ir.Table, level: str) -> list[str]:
    """The items of a level, in order."""
    return sorted(valid.select(item=level).filter(_.item.notnull()).distinct().to_pandas()["item"])


def _coded(bought: ir.Table, valid: ir.Table, names: Mapping[str, list[str]]) -> ir.Table:
    """Lines with numbers for their baskets and, at each level, for their items: both levels count in integers.

    Items are numbered in the order of their names, so sets of numbers are sorted as sets of names are.
    """
    coded = valid
    for level, items in names.items():
        codes = ibis.memtable(
            {level: items, "code": list(range(len(items)))}, schema={level: "string", "code": "int32"}
        )
        coded = coded.left_join(codes, level).drop(f"{level}_right", level).rename({level: "code"})
    baskets = bought.select("basket_id").distinct()
    numbers = baskets.mutate(number=ibis.row_number().over(order_by="basket_id").cast("int32"))
    lines = bought.join(coded, "product_id").join(numbers, "basket_id")
    return lines.select("day", "amount", *names, basket_id="number")


def _with_names(rules: "pd.DataFrame", names: list[str]) -> "pd.DataFrame":
    """The rules with the names of their items."""
    named = rules.copy()
    for side in ("antecedents", "consequents"):
        named[side] = [tuple(names[code] for code in items) for items in rules[side]]
    return named


def _mined_until(items: ir.Table, as_of: date, holdout_days: int) -> date:
    """Last day to mine: `as_of` itself where the history is too short for a hold-out."""
    import pandas as pd

    first_day = items.day.min().to_pandas()
    if holdout_days == 0 or pd.isna(first_day):
        return as_of
    history_days = (as_of - pd.Timestamp(first_day).date()).days + 1
    return as_of if history_days < 2 * holdout_days else as_of - timedelta(days=holdout_days)


def _rules(itemsets: Itemsets, minimum_confidence: float, max_consequents: int | None) -> "pd.DataFrame":
    """The rules of the itemsets with their measures; the two sides and `items`, both together, as tuples."""
    import numpy as np

    rules = _measured(itemsets, minimum_confidence)
    if max_consequents is not None:
        rules = rules[np.array([len(items) <= max_consequents for items in rules["consequents"]], dtype=bool)]
    sides = list(zip(rules["antecedents"], rules["consequents"], strict=True))
    rules = rules.assign(conviction=rules["conviction"].astype("float64").replace(np.inf, np.nan))
    rules["antecedents"] = [tuple(sorted(antecedents)) for antecedents, _consequents in sides]
    rules["consequents"] = [tuple(sorted(consequents)) for _antecedents, consequents in sides]
    rules["items"] = [tuple(sorted(antecedents | consequents)) for antecedents, consequents in sides]
    rules["mined_baskets"] = itemsets.baskets
    counts = itemsets.counts
    for column, side in (("", "items"), ("antecedent_", "antecedents"), ("consequent_", "consequents")):
        rules[f"{column}baskets"] = np.array([counts[items] for items in rules[side]], dtype="int64")
    needed = {n: count_for_share(minimum_confidence, n) for n in rules["antecedent_baskets"].unique().tolist()}
    return rules[rules["baskets"] >= rules["antecedent_baskets"].map(needed)]


def _with_value(rules: "pd.DataFrame", items: ir.Table) -> "pd.DataFrame":
    """The rules with the sales above chance that a basket with the antecedents brings.

    A basket with a consequent spends so much on it on average; confidence less support is how many more there are.
    """
    import numpy as np

    suggested = sorted({item for consequents in rules["consequents"] for item in consequents})
    known = ibis.memtable({"item": suggested}, schema={"item": items.item.type()})
    spent = items.semi_join(known, "item").group_by("item").agg(amount=_.amount.sum(), baskets=_.count()).to_pandas()
    average = dict(zip(spent["item"], spent["amount"].astype("float64") / spent["baskets"], strict=True))
    price = np.array([sum(average[item] for item in consequents) for consequents in rules["consequents"]], dtype=float)
    more = rules["confidence"].to_numpy(dtype=float) - rules["consequent_baskets"].to_numpy() / rules["mined_baskets"]
    return rules.assign(expected_value=price * more)


def _measured(itemsets: Itemsets, minimum_confidence: float) -> "pd.DataFrame":
    """The rules with mlxtend's measures, and a few just below `minimum_confidence`.

    mlxtend divides supports, and so can put a confidence of 12 in 15 a hair below 0.8; the caller compares counts.
    """
    import pandas as pd
    from mlxtend.frequent_patterns import association_rules

    measures = ["support", "confidence", "lift", "leverage", "conviction"]
    frame = itemsets.frame
    if not (frame["length"] > 1).any():
        return pd.DataFrame(columns=["antecedents", "consequents", *measures])
    family = pd.DataFrame({"support": frame["baskets"] / itemsets.baskets, "itemsets": frame["items"].map(frozenset)})
    return association_rules(
        family, metric="confidence", min_threshold=minimum_confidence * (1 - 1e-9), return_metrics=measures
    )


def _with_holdout(rules: "pd.DataFrame", holdout: Itemsets | None) -> "pd.DataFrame":
    """The rules with `holdout_baskets` and `holdout_lift`, both null without a hold-out."""
    import numpy as np
    import pandas as pd

    if holdout is None:
        return rules.assign(holdout_baskets=pd.array([pd.NA] * len(rules), dtype="Int64"), holdout_lift=np.nan)
    counts = holdout.counts
    together, antecedents, consequents = (
        np.array([counts[items] for items in rules[side]], dtype="int64")
        for side in ("items", "antecedents", "consequents")
    )
    chance = antecedents * consequents
    lift = np.full(len(rules), np.nan)
    np.divide(together * holdout.baskets, chance, out=lift, where=chance > 0)
    return rules.assign(holdout_baskets=together, holdout_lift=lift)


def _in_contract(rules: "pd.DataFrame") -> "pd.DataFrame":
    """The columns of the contract in its order, with its types, ordered by its key."""
    rules = rules.sort_values(list(CROSS_SELL_RULES.key), ignore_index=True)
    for side in ("antecedents", "consequents"):
        rules[f"{side[:-1]}_length"] = [len(items) for items in rules[side]]
        rules[side] = [list(items) for items in rules[side]]
    types = {
        column.name: {"int64": "int64", "float64": "float64", "boolean": "bool"}.get(column.dtype, "object")
        for column in CROSS_SELL_RULES.columns
    }
    return rules[list(types)].astype(types | {"holdout_baskets": "Int64"})
