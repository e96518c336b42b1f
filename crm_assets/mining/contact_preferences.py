"""When and where to reach each customer: the hours, the weekday and the channel of their interactions.

Belongs here: what is preferred, how far a customer's own habit counts, how well it foretells. Not here: whom to contact
(`response.py`, `next_best_action.py`).

Few interactions say little, so a customer's shares are drawn to those of all customers: the mean of a Dirichlet
distribution whose prior counts as some interactions of an average customer. How many foretells the newest ones best is
chosen for each dimension. Source: Gelman et al., Bayesian Data Analysis, section 3.4 (multinomial model).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
from ibis import _

from crm_assets.contracts.features import WEEKDAYS
from crm_assets.contracts.layers import DAY
from crm_assets.contracts.response import CONTACT_DIMENSIONS, CONTACT_PREFERENCES

if TYPE_CHECKING:
    import pandas as pd

HOURS = 3
"""Hours of a day that are told apart."""

STRENGTHS = (1, 3, 10, 30, 100)
"""Interactions of an average customer that the prior may count as."""

UNTESTED_STRENGTH = 10
"""What it counts as where no interactions can be held out."""

HELD_OUT_DAYS = 28

CONSENT: Mapping[str, tuple[str, ...]] = {
    "consent_email": ("email", "e-mail", "mail", "邮件", "电子邮件", "邮箱"),
    "consent_phone": ("phone", "sms", "call", "telephone", "text", "电话", "短信", "手机"),
}
"""Channels in lower case that a customer's consent is about."""


@dataclass(frozen=True)
class Preferences:
    """What customers prefer, and how well that foretells.

    Attributes:
        customers: The columns of contract `contact_preferences`, by its key; lazy.
        figures: One row per dimension: dimension, strength (of the prior), later (interactions held out, of customers
            with earlier ones), hit_rate (share of them where and when their customer prefers), baseline (share of them
            where and when most interactions are).
    """

    customers: ir.Table
    figures: "pd.DataFrame"


def contact_choices(interactions: ir.Table, as_of: date, days: int) -> ir.Table:
    """When and where each interaction of the newest days was.

    Args:
        interactions: clean interactions of persons, `occurred_at` in the workspace's time zone; later ones and those
            without a customer are not seen.
        as_of: last day seen.
        days: their number.

    Returns:
        customer_id, day, dimension, value, a row for each dimension of an interaction that tells it: no hours where the
        source told the day only, no channel where it told none.
    """
    day, at = interactions[DAY.name], interactions.occurred_at
    seen = interactions.filter(day <= as_of, day > as_of - timedelta(days=days), _.customer_id.notnull())
    hours = [(first // HOURS, f"{first:02}:00-{first + HOURS:02}:00") for first in range(0, 24, HOURS)]
    values = {
        "hours": (at != at.truncate("D")).ifelse((at.hour() // HOURS).cases(*hours), ibis.null("string")),
        "weekday": day.day_of_week.index().cases(*enumerate(WEEKDAYS)),
        "channel": interactions.channel,
    }
    parts = [
        seen.select("customer_id", DAY.name, dimension=ibis.literal(name), value=value.cast("string"))
        for name, value in values.items()
    ]
    return reduce(lambda left, right: left.union(right), parts).filter(_.value.notnull())


def contact_preferences(choices: ir.Table, customers: ir.Table, as_of: date) -> Preferences:
    """The hours, weekday and channel that are likeliest for each customer's next interaction.

    Args:
        choices: as `contact_choices` gives them.
        customers: customer_id and the consents of `CONSENT`; a channel that a customer refused, on any row, is no
            preference, and one whose consent is not told may be.
        as_of: last day seen.

    Returns:
        Rows for customers with a choice, and the figures; equal shares are settled by the value.
    """
    split = as_of - timedelta(days=HELD_OUT_DAYS)
    before, later = choices.filter(_[DAY.name] <= split), choices.filter(_[DAY.name] > split)
    strengths = _strengths(before, later)
    figures = _figures(before, later, strengths)
    best = _preferred(choices, strengths, _refused(customers))
    # Every interaction tells its weekday.
    total = choices.filter(_.dimension == "weekday").group_by("customer_id").agg(interactions=_.count())
    wide = best.group_by("customer_id").agg(
        **{
            f"{name}{suffix}": best[column].max(where=best.dimension == name)
            for name in CONTACT_DIMENSIONS
            for suffix, column in (("", "value"), ("_share", "share"), ("_lift", "lift"), ("_times", "times"))
        }
    )
    rows = total.left_join(wide, "customer_id").drop("customer_id_right")
    rows = rows.mutate(as_of=ibis.literal(as_of), reason=_reason(rows))
    typed = rows.select(**{column.name: rows[column.name].cast(column.dtype) for column in CONTACT_PREFERENCES.columns})
    return Preferences(typed.order_by(*CONTACT_PREFERENCES.key), figures)


def _counted(choices: ir.Table) -> ir.Table:
    """How often each customer chose what: dimension, customer_id, value, times, total; and share_of_all of the value."""
    own = choices.group_by("dimension", "customer_id", "value").agg(times=_.count())
    window = ibis.window(group_by=["dimension", "customer_id"])
    own = own.mutate(total=own.times.sum().over(window))
    return own.join(_shares(choices), ["dimension", "value"])


def _shares(choices: ir.Table) -> ir.Table:
    """The share of each value among all interactions, and its place by share: dimension, value, share_of_all, place."""
    counted = choices.group_by("dimension", "value").agg(all_times=_.count())
    all_of = counted.all_times.sum().over(ibis.window(group_by="dimension"))
    order = [counted.all_times.desc(), counted["value"]]
    place = ibis.row_number().over(ibis.window(group_by="dimension", order_by=order))
    return counted.select("dimension", "value", share_of_all=counted.all_times / all_of, place=place)


def _strengths(before: ir.Table, later: ir.Table) -> dict[str, float]:
    """The strength of the prior under which the later choices are likeliest, by dimension."""
    own = _counted(before)
    totals = own.select("dimension", "customer_id", "total").distinct()
    told = later.join(totals, ["dimension", "customer_id"]).join(_shares(before), ["dimension", "value"])
    times = own.select("dimension", "customer_id", "value", "times")
    told = told.left_join(times, ["dimension", "customer_id", "value"]).mutate(times=_.times.fill_null(0))
    logs = {
        f"of_{strength}": ((told.times + strength * told.share_of_all) / (told.total + strength)).ln().mean().round(9)
        for strength in STRENGTHS
    }
    frame = told.group_by("dimension").agg(**logs).to_pandas().set_index("dimension")
    found = {name: frame.loc[name].to_numpy() for name in frame.index}
    return {
        name: float(STRENGTHS[int(found[name].argmax())]) if name in found else float(UNTESTED_STRENGTH)
        for name in CONTACT_DIMENSIONS
    }


def _preferred(choices: ir.Table, strengths: Mapping[str, float], refused: ir.Table | None = None) -> ir.Table:
    """The likeliest value of each dimension: dimension, customer_id, value, times, share, lift."""
    own = _counted(choices)
    everyone = own.select("dimension", "customer_id", "total").distinct()
    # Of what a customer never chose, the likeliest is what most choose.
    usual = everyone.join(_shares(choices).filter(_.place == 0), "dimension")
    usual = usual.anti_join(own, ["dimension", "customer_id", "value"]).mutate(times=ibis.literal(0, "int64"))
    names = ["dimension", "customer_id", "value", "times", "total", "share_of_all"]
    every = own.select(*names).union(usual.select(*names))
    if refused is not None:
        every = every.mutate(lower=every["value"].lower()).anti_join(refused, ["dimension", "customer_id", "lower"])
    strength = every.dimension.cases(*strengths.items())
    every = every.mutate(share=(every.times + strength * every.share_of_all) / (every.total + strength))
    every = every.mutate(lift=every.share / every.share_of_all)
    order = [every.share.desc(), every["value"]]
    place = ibis.row_number().over(ibis.window(group_by=["dimension", "customer_id"], order_by=order))
    return every.mutate(place=place).filter(_.place == 0).drop("place")


def _refused(customers: ir.Table) -> ir.Table:
    """Channels that customers have not consented to: dimension, customer_id, lower."""
    parts = []
    for consent, channels in CONSENT.items():
        named = ibis.memtable({"lower": list(channels)}, schema={"lower": "string"})
        without = customers.filter(~customers[consent]).select("customer_id", dimension=ibis.literal("channel"))
        parts.append(without.cross_join(named))
    return reduce(lambda left, right: left.union(right), parts)


def _figures(before: ir.Table, later: ir.Table, strengths: Mapping[str, float]) -> "pd.DataFrame":
    """How often later choices are those preferred before, beside what most customers choose."""
    import pandas as pd

    preferred = _preferred(before, strengths).select("dimension", "customer_id", preferred="value")
    usual = _shares(before).filter(_.place == 0).select("dimension", usual="value")
    told = later.join(preferred, ["dimension", "customer_id"]).join(usual, "dimension")
    counted = told.group_by("dimension").agg(
        later=told.count(),
        hits=told.count(where=told["value"] == told.preferred),
        usual_hits=told.count(where=told["value"] == told.usual),
    )
    rows = pd.DataFrame(
        {"dimension": list(CONTACT_DIMENSIONS), "strength": [strengths[it] for it in CONTACT_DIMENSIONS]}
    )
    found = rows.merge(counted.to_pandas(), on="dimension", how="left").fillna({"later": 0, "hits": 0, "usual_hits": 0})
    later_ones = found["later"].astype("float64").where(found["later"] > 0)
    return found.assign(
        later=found["later"].astype("int64"),
        hit_rate=found["hits"] / later_ones,
        baseline=found["usual_hits"] / later_ones,
    ).drop(columns=["hits", "usual_hits"])


def _reason(rows: ir.Table) -> ir.StringValue:
    """Of so many interactions, how many were when and where the customer is best reached."""
    plural = (rows.interactions == 1).ifelse(" interaction", " interactions")
    words = ibis.literal("of ") + rows.interactions.cast("string") + plural
    for name, before in (("hours", " at "), ("weekday", " on "), ("channel", " by ")):
        said = ibis.literal(", ") + rows[f"{name}_times"].cast("string") + before + rows[name]
        words = words + said.fill_null("")
    return words
