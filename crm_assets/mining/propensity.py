"""Who buys a chosen item soon: which items, what customers did with them, the model of a month, and scores.

Belongs here: items, inputs and scoring. Not here: training and choosing (`propensity_training.py`), what goes with what
(`cross_sell.py`), a list of products for everyone (`recommender.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from ibis import _
from numpy.typing import NDArray

from crm_assets.contracts.basket import ITEM_OF_LEVEL
from crm_assets.contracts.layers import DAY
from crm_assets.contracts.propensity import PROPENSITY_SCORES
from crm_assets.mining.as_of_days import days_table
from crm_assets.mining.linear_models import logistic_chance
from crm_assets.mining.offers import items_of
from crm_assets.mining.purchases import purchase_inputs

FREQUENCY, LOGISTIC = "frequency", "logistic"

RECENT_DAYS = 90

Floats = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Item:
    """What may be bought.

    Attributes:
        level: A key of `contracts.basket.ITEM_OF_LEVEL`.
        name: The product_id, or what the column of the level holds.
    """

    level: str
    name: str

    @classmethod
    def of(cls, text: str) -> "Item":
        """The item of a text such as `category: BEEF`.

        Raises:
            ValueError: there is no such level, or no name.
        """
        level, _colon, name = (part.strip() for part in text.partition(":"))
        if level not in ITEM_OF_LEVEL or not name:
            raise ValueError(
                f"an item is written level: name, with a level of {', '.join(ITEM_OF_LEVEL)}, not {text!r}"
            )
        return cls(level, name)

    def __str__(self) -> str:
        return f"{self.level}: {self.name}"


@dataclass(frozen=True)
class PropensityModels:
    """The models of a month: numbers and text only, so that they can be stored without pickle.

    Attributes:
        model_id: Names the model in the mart.
        horizon_days: Days ahead in which the item is bought.
        items: By item, as text: the `champion` and its `estimator`.
        card: Data window, figures and limits.
    """

    model_id: str
    horizon_days: int
    items: dict[str, dict[str, Any]]
    card: dict[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The models as plain values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "PropensityModels":
        """The models that `to_document` wrote."""
        return cls(**document)


def best_sellers(bought: ir.Table, level: str, count: int) -> list[Item]:
    """The items of a level that most customers bought.

    Args:
        bought: as `mining.offers.products_bought` gives it.
        level: of the product tree.
        count: how many; equal ones are taken by name.
    """
    items = items_of(bought, level)
    counted = items.group_by("item").agg(customers=_.customer_id.nunique())
    found = counted.order_by(_.customers.desc(), "item").limit(count).to_pandas()["item"]
    return [Item(level, name) for name in found]


def item_days(bought: ir.Table, items: Sequence[Item]) -> ir.Table:
    """The days on which customers bought some items.

    Args:
        bought: as `mining.offers.products_bought` gives it.
        items: at least one.

    Returns:
        item (as text), customer_id, day, each once.
    """
    parts = []
    for level in sorted({item.level for item in items}):
        names = {item.name: str(item) for item in items if item.level == level}
        known = ibis.memtable(
            {"item": list(names), "text": list(names.values())}, schema={"item": "string", "text": "string"}
        )
        rows = items_of(bought, level).join(known, "item")
        parts.append(rows.select("customer_id", DAY.name, item="text").distinct())
    return reduce(lambda left, right: left.union(right), parts)


def item_histories(item_days: ir.Table, as_of_days: Sequence[date], horizon_days: int) -> ir.Table:
    """What customers who ever bought an item had done with it by some days, and whether they bought it soon after.

    The caller sees to it that days ahead that are used lie in the data.

    Args:
        item_days: as `item_days` gives it.
        as_of_days: last days seen, at least one.
        horizon_days: days ahead.

    Returns:
        as_of, item, customer_id, bought_days, bought_days_recent (of the newest 90), bought_recency (days since the last;
        null before the first), buys (in the days ahead).
    """
    seen = item_days.cross_join(days_table(as_of_days))
    seen = seen.mutate(ago=seen.as_of.delta(seen[DAY.name], unit="day"))
    near = seen.filter(seen.ago >= -horizon_days)
    return near.group_by("as_of", "item", "customer_id").agg(
        bought_days=near.count(where=near.ago >= 0),
        bought_days_recent=near.count(where=(near.ago >= 0) & (near.ago < RECENT_DAYS)),
        bought_recency=near.ago.min(where=near.ago >= 0).cast("int64"),
        buys=near.count(where=near.ago < 0) > 0,
    )


def chance(candidate: str, estimator: Mapping[str, Any], rows: pd.DataFrame, horizon_days: int) -> Floats:
    """Probability of buying an item within the horizon, by a candidate.

    Args:
        candidate: `FREQUENCY`, the customer's own pace with the item, or `LOGISTIC`.
        estimator: of the latter.
        rows: `PURCHASE_FEATURES`, and bought_days, bought_days_recent, bought_recency; nulls of these are no purchase.
        horizon_days: days ahead.
    """
    if candidate == FREQUENCY:
        days = rows["bought_days"].fillna(0).to_numpy(np.float64)
        return np.asarray(1 - np.exp(-horizon_days * days / (rows["tenure_days"].to_numpy(np.float64) + 1)), np.float64)
    return logistic_chance(estimator, item_inputs(rows))


def item_inputs(rows: pd.DataFrame) -> Floats:
    """What the linear model sees: a customer's purchases in general, and those of the item."""
    days, recent = (rows[name].fillna(0).to_numpy(np.float64) for name in ("bought_days", "bought_days_recent"))
    pause = rows["bought_recency"].to_numpy(np.float64)
    tenure, ordered = (rows[name].to_numpy(np.float64) for name in ("tenure_days", "order_days"))
    values = [
        np.log1p(days),
        np.log1p(recent),
        days == 0,
        # Who never bought it counts as having paused since the first order.
        np.log1p(np.where(np.isnan(pause), tenure, pause)),
        np.log((np.where(np.isnan(pause), tenure, pause) + 1) * (days + 0.5) / (tenure + 21)),
        np.log((days + 0.5) / (tenure + 21)),
        np.log((days + 0.5) / (ordered + 1)),
    ]
    return np.column_stack([purchase_inputs(rows), *(np.asarray(value, np.float64) for value in values)])


def score_item(models: PropensityModels, item: Item, rows: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """Scores of an item, not ranked yet.

    Args:
        models: trained models.
        item: one of theirs.
        rows: customer_id and what `chance` reads, of customers who ordered by the day.
        as_of: last day seen.

    Returns:
        The columns of `contracts.propensity.PROPENSITY_SCORES`, rank being 1.
    """
    model = models.items[str(item)]
    days = rows["bought_days"].fillna(0).astype("int64")
    last, words = _last_bought(days, rows["bought_recency"].astype("float64"), as_of)
    frame = pd.DataFrame(
        {
            "as_of": as_of,
            "level": item.level,
            "item": item.name,
            "customer_id": rows["customer_id"],
            "probability": chance(model["champion"], model["estimator"], rows, models.horizon_days),
            "rank": 1,
            "bought_days": days,
            "last_bought_on": last,
            "reason": words,
            "model_id": models.model_id,
        }
    )
    return frame[list(PROPENSITY_SCORES.by_name)]


def _last_bought(days: pd.Series, ago: pd.Series, as_of: date) -> tuple[pd.Series, pd.Series]:
    """The day an item was last bought on, and what was bought of it in words; few customers differ in both numbers."""
    place, pairs = pd.MultiIndex.from_arrays([days, ago.fillna(-1)]).factorize()
    last = [None if since < 0 else as_of - timedelta(days=int(since)) for _, since in pairs]
    words = [
        f"bought on {count} days so far, last on {on}"
        if count > 1
        else f"bought once, on {on}"
        if count
        else "never bought"
        for (count, _), on in zip(pairs, last, strict=True)
    ]
    told = (np.array(values, dtype=object)[place] for values in (last, words))
    first, second = (pd.Series(values, index=days.index, dtype=object) for values in told)
    return first, second


def ranked_propensities(scores: ir.Table) -> ir.Table:
    """Scores with their ranks, by the key; equal probabilities are ranked by customer_id.

    Args:
        scores: rows of `PROPENSITY_SCORES`, whatever their rank.
    """
    order = [scores.probability.desc(), scores.customer_id]
    place = ibis.row_number().over(ibis.window(group_by=["as_of", "level", "item"], order_by=order))
    return scores.mutate(rank=(place + 1).cast("int64")).order_by(*PROPENSITY_SCORES.key)
