"""Which rules make offers, and how they are put to people.

Belongs here: rules of baskets and sequential ones side by side, the choice among them, reasons. Not here: mining rules
(`cross_sell.py`, `sequential_rules.py`), who meets them (`offers.py`).
"""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.basket import FALSE_DISCOVERY_RATE
from crm_assets.contracts.offers import MISSING_ITEM, NEXT_PURCHASE, RULE
from crm_assets.mining.cleaning import valid_on

if TYPE_CHECKING:
    import pandas as pd

RULES_AN_ITEM = 5
"""Rules of each kind and length that offer one item, the most confident: so many bound what is joined for each customer."""

_MEASURES = {"confidence": "float64", "lift": "float64", "holdout_lift": "float64", "expected_value": "float64"}
_TEXTS = {"level": "string", "item": "string", "kind": "string", "antecedents": "array<string>", "reason": "string"}
CHOSEN = {"rule": "int32", **_TEXTS, **_MEASURES, "expected_sales": "float64"}
"""Columns of rules that make offers, and their types."""


def chosen_rules(
    rules: ir.Table, sequences: ir.Table, products: ir.Table, as_of: date, history_days: int
) -> "pd.DataFrame":
    """The rules that make offers, numbered from the one that speaks first, with the reason of what they offer.

    Used are rules that suggest one item, are no chance finding or redundant, and lift sales, also in held-out days where
    there were some: of each level, item, kind and length the five most confident ones. The most confident speaks first,
    of equal ones that with fewer antecedents.

    Args:
        rules: as in `contracts.basket.CROSS_SELL_RULES`.
        sequences: as in `contracts.basket.SEQUENTIAL_RULES`.
        products: versions of the products; names are those valid at `as_of`.
        as_of: last day seen.
        history_days: days in which the antecedents were bought, for the reason.

    Returns:
        The columns of `CHOSEN`, antecedent_length, within_days (0 for rules of baskets) and target, the number of the item
        by `numbered_items`. expected_value is sales above chance as the rule tells them, expected_sales is with those.
    """
    found = _of_baskets(rules).union(_of_sequences(sequences))
    holds = found.holdout_lift.isnull() | (found.holdout_lift > 1)
    found = found.filter(found.q_value <= FALSE_DISCOVERY_RATE, found.lift > 1, holds, found.expected_value > 0)
    order = [ibis.desc("confidence"), "antecedents"]
    group = ["level", "item", "kind", "antecedent_length"]
    found = found.mutate(place=ibis.row_number().over(group_by=group, order_by=order))
    chosen = found.filter(found.place < RULES_AN_ITEM).drop("place", "q_value").to_pandas()
    # As tuples they sort, and as objects they stay lists where there are none.
    chosen["antecedents"] = chosen["antecedents"].map(tuple).astype("object")
    preference = ["confidence", "antecedent_length", "kind", "level", "item", "antecedents"]
    chosen = chosen.sort_values(preference, ascending=[False, *[True] * 5], ignore_index=True)
    chosen["rule"] = range(len(chosen))
    codes = numbered_items(chosen).rename(columns={"code": "target"})
    chosen = chosen.merge(codes, on=["level", "item"], how="left")
    # The value is the part of the sales by which the lift is above 1.
    chosen["expected_sales"] = chosen["expected_value"] * chosen["lift"] / (chosen["lift"] - 1)
    chosen["reason"] = _reasons(chosen, products, as_of, history_days)
    return chosen


def numbered_items(chosen: "pd.DataFrame") -> "pd.DataFrame":
    """The items of `chosen_rules` with a number of each, by level and name: level, item, code."""
    import pandas as pd

    sides = chosen[["level", "antecedents"]].explode("antecedents").rename(columns={"antecedents": "item"})
    items = pd.concat([sides, chosen[["level", "item"]]]).drop_duplicates()
    return items.sort_values(["level", "item"], ignore_index=True).assign(code=range(len(items)))


def _of_baskets(rules: ir.Table) -> ir.Table:
    """Rules of baskets that suggest one item, none of whose antecedents is superfluous."""
    found = rules.filter(rules.consequent_length == 1, ~rules.is_redundant)
    return found.select(
        "level",
        "antecedents",
        "antecedent_length",
        "q_value",
        *_MEASURES,
        item=found.consequents[0],
        kind=(found.antecedent_length > 1).ifelse(MISSING_ITEM, RULE),
        within_days=ibis.literal(0, "int64"),
    )


def _of_sequences(sequences: ir.Table) -> ir.Table:
    """Sequential rules with the columns of rules of baskets."""
    return sequences.select(
        "level",
        "q_value",
        "within_days",
        *_MEASURES,
        antecedents=ibis.array([sequences.antecedent]),
        antecedent_length=ibis.literal(1, "int64"),
        item=sequences.consequent,
        kind=ibis.literal(NEXT_PURCHASE),
    )


def _reasons(chosen: "pd.DataFrame", products: ir.Table, as_of: date, history_days: int) -> list[str]:
    """Why each rule offers its item, for people."""
    names = _product_names(chosen, products, as_of)
    columns = ("level", "kind", "antecedents", "item", "confidence", "lift", "within_days")
    rows, reasons = zip(*(chosen[name] for name in columns), strict=True), []
    for level, kind, antecedents, item, confidence, lift, within in rows:
        said = {name: names.get(name, name) if level == "product" else name for name in (*antecedents, item)}
        if kind == NEXT_PURCHASE:
            of_whom, than_whom = f"of those who did buy it within {within} days", "as of others who buy as much"
        else:
            of_whom = f"of baskets with {'these' if len(antecedents) > 1 else 'it'} have it"
            than_whom = "as by chance"
        bought = f"bought {_listed([said[name] for name in antecedents])} in the last {history_days} days"
        reasons.append(
            f"{bought}, but not {said[item]}: {confidence:.0%} {of_whom}, {lift:.1f} times as many {than_whom}"
        )
    return reasons


def _product_names(chosen: "pd.DataFrame", products: ir.Table, as_of: date) -> dict[str, str]:
    """Names of the products of rules, by id; products without a name are left out."""
    of_products = chosen[chosen["level"] == "product"]
    ids = sorted({*of_products["item"], *(item for items in of_products["antecedents"] for item in items)})
    if not ids:
        return {}
    wanted = ibis.memtable({"product_id": ids}, schema={"product_id": "string"})
    valid = valid_on(products, as_of).semi_join(wanted, "product_id").filter(_.product_name.notnull())
    named = valid.group_by("product_id").agg(name=_.product_name.max()).to_pandas()
    return dict(zip(named["product_id"], named["name"], strict=True))


def _listed(items: Sequence[str]) -> str:
    """Items as people list them: a, b and c."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
