"""Sales as series over weeks and months.

Belongs here: adding up order lines to days of a total and its parts, and days to whole periods. Not here: forecasting
them (`forecast.py`), describing them (`behaviour_sales.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.behaviour import ALL, CATEGORY, CHANNEL, REGION, TOTAL, UNKNOWN
from crm_assets.contracts.forecast import MONTH, ORDERS, REVENUE, WEEK
from crm_assets.contracts.layers import EXPORT_DATE, VALID_FROM, VALID_TO
from crm_assets.contracts.model import MONEY
from crm_assets.mining.as_of_days import union
from crm_assets.mining.cleaning import valid_on

OTHER = "other"
"""What the small parts of a dimension are together."""

Key = tuple[str, str, str, str]
"""Measure, grain, dimension and value."""


def sales_by_day(transactions: ir.Table, products: ir.Table, customers: ir.Table, as_of: date) -> ir.Table:
    """Revenue and orders of each day, in all and by region, channel and category.

    Args:
        transactions: Clean order lines; later ones than `as_of` are ignored.
        products: Product versions; those valid on the day give categories.
        customers: Customer versions likewise, for regions.
        as_of: Last day seen.

    Returns:
        dimension, value, day, revenue, orders; in this order. An order counts in one region and channel, the first by
        name of its lines, so that parts add up to the total; orders are null by category, as one may hold several.
    """
    seen = transactions.filter(transactions.day <= as_of)
    regions = valid_on(customers, as_of).select("customer_id", "region")
    lines = seen.select(
        "day",
        "order_id",
        "customer_id",
        "product_id",
        "channel",
        # Decimals add up to the same whatever the order of the threads.
        revenue=seen.amount.cast(MONEY).fill_null(0),
        ordered=(~seen.is_return.fill_null(False)).cast("int64"),
    ).left_join(regions, "customer_id")
    orders = lines.group_by("day", "order_id", "customer_id").agg(
        revenue=lines.revenue.sum(), ordered=lines.ordered.max(), channel=lines.channel.min(), region=lines.region.min()
    )
    parts = []
    for dimension in (TOTAL, REGION, CHANNEL):
        value = ibis.literal(ALL) if dimension == TOTAL else orders[dimension].fill_null(UNKNOWN)
        rows = orders.mutate(value=value)
        parts.append(
            rows.group_by("value", "day").agg(
                revenue=rows.revenue.sum().cast("float64"),
                orders=rows.ordered.sum().cast("float64"),
                dimension=ibis.literal(dimension),
            )
        )
    of_products = lines.left_join(valid_on(products, as_of).select("product_id", "category"), "product_id")
    named = of_products.mutate(value=of_products.category.fill_null(UNKNOWN))
    parts.append(
        named.group_by("value", "day").agg(
            revenue=named.revenue.sum().cast("float64"), orders=ibis.null("float64"), dimension=ibis.literal(CATEGORY)
        )
    )
    columns = ["dimension", "value", "day", "revenue", "orders"]
    return union([rows.select(columns) for rows in parts]).order_by(columns[:3])


def largest_parts(days: pd.DataFrame, most: int) -> dict[str, list[str]]:
    """The parts of each dimension with most revenue, largest first; names decide between equals."""
    sums = days.groupby(["dimension", "value"])["revenue"].sum().reset_index()
    ordered = sums.sort_values("value").sort_values("revenue", ascending=False, kind="stable")
    return {str(name): rows["value"].head(most).tolist() for name, rows in ordered.groupby("dimension")}


def whole_periods(
    days: pd.DataFrame, parts: Mapping[str, Sequence[str]], first_day: date, as_of: date
) -> dict[Key, pd.Series]:
    """Each series over the periods that lie whole within the data, gaps filled with 0.

    Args:
        days: As `sales_by_day` gives them.
        parts: Values of each dimension with a series of their own; the rest is `OTHER`.
        first_day: First day of the data.
        as_of: Last day seen.

    Returns:
        By measure, grain, dimension and value: float64 by the first day of the period. A dimension of a single part
        says nothing beside the total and is left out.
    """
    found: dict[Key, pd.Series] = {}
    for grain in (WEEK, MONTH):
        whole = _whole(grain, first_day, as_of)
        starts = pd.to_datetime(days["day"]).dt.to_period(_FREQUENCY[grain]).dt.start_time
        inside = days.assign(start=starts)[starts.isin(whole)]
        for dimension, values in parts.items():
            of_dimension = inside[inside["dimension"] == dimension]
            kept = of_dimension["value"].where(of_dimension["value"].isin(values), OTHER)
            if dimension != TOTAL and kept.nunique() < 2:
                continue
            for measure in (REVENUE, ORDERS):
                if of_dimension[measure].isna().all():
                    continue
                sums = of_dimension.groupby([kept, "start"])[measure].sum().unstack("start").reindex(columns=whole)
                for value, row in sums.fillna(0.0).iterrows():
                    found[measure, grain, dimension, str(value)] = row.astype("float64")
    return found


def dated_campaigns(campaigns: ir.Table, delivered: ir.Table) -> ir.Table:
    """Versions of campaigns that have a start and an end, with the day of the first export that told of each.

    Args:
        campaigns: Campaign versions, with the days they start and end on as first_day and last_day.
        delivered: Validated rows of campaigns, of all exports.

    Returns:
        campaign_id, first_day, last_day, valid_from, valid_to, told; in order of campaign and version.
    """
    told = delivered.group_by("campaign_id").agg(told=delivered[EXPORT_DATE.name].min())
    known = campaigns.filter(campaigns.first_day.notnull(), campaigns.last_day.notnull())
    columns = ("campaign_id", "first_day", "last_day", VALID_FROM.name, VALID_TO.name, "told")
    return known.left_join(told, "campaign_id").select(columns).order_by("campaign_id", VALID_FROM.name)


def campaigns_running(
    campaigns: pd.DataFrame, starts: pd.DatetimeIndex, grain: str, last_day: date
) -> NDArray[np.float64]:
    """How many campaigns run on the mean day of each period, as far as it is known by a day.

    Args:
        campaigns: As `dated_campaigns` gives them.
        starts: First days of the periods.
        grain: Their length.
        last_day: Last day seen. A campaign is known from the day it begins, and one that is planned from the day of the
            export that told of it.
    """
    seen = pd.Timestamp(last_day)
    dates = {
        name: pd.to_datetime(campaigns[name]) for name in ("valid_from", "valid_to", "told", "first_day", "last_day")
    }
    newest = (dates["valid_from"] <= seen) & (dates["valid_to"].isna() | (dates["valid_to"] > seen))
    known = newest & ((dates["told"] <= seen) | (dates["first_day"] <= seen))
    first, last = (dates[name][known].to_numpy().astype("datetime64[D]") for name in ("first_day", "last_day"))
    periods = starts.to_period(_FREQUENCY[grain])
    opens, closes = (
        moments.to_numpy().astype("datetime64[D]")[:, None] for moments in (periods.start_time, periods.end_time)
    )
    shared = (np.minimum(closes, last) - np.maximum(opens, first)).astype(np.int64) + 1
    return np.asarray(np.maximum(shared, 0).sum(axis=1) / ((closes - opens).astype(np.int64)[:, 0] + 1))


def later_periods(grain: str, after: pd.Timestamp, count: int) -> pd.DatetimeIndex:
    """First days of the periods that follow one."""
    return pd.period_range(after.to_period(_FREQUENCY[grain]) + 1, periods=count).to_timestamp()


def _whole(grain: str, first_day: date, as_of: date) -> pd.DatetimeIndex:
    frequency = _FREQUENCY[grain]
    first = pd.Period(first_day, frequency)
    first = first if first.start_time.date() == first_day else first + 1
    last = pd.Period(as_of + timedelta(days=1), frequency) - 1
    return pd.period_range(first, last, freq=frequency).to_timestamp()


_FREQUENCY = {WEEK: "W-SUN", MONTH: "M"}
