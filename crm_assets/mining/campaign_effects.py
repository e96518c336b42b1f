"""What a campaign brought: contacted customers beside a randomised control, or beside others who were alike before.

Belongs here: measuring past campaigns. Not here: what the retention queue brought (`retention_outcomes.py`), whom to
contact.

Without a control, contacted customers are matched one to one, without replacement, with customers whom no campaign
reached, on the logit of the propensity to be contacted, within 0.2 of its standard deviation (Rosenbaum and Rubin, 1985;
Austin, Optimal caliper widths for propensity-score matching, 2011). Features are those of the day before the first
contact. The effect is the difference in differences of the pairs, less what a regression among customers not reached
expects of the features in which a pair still differs (Abadie and Imbens, Bias-corrected matching estimators, 2011). Its
interval is a bootstrap of whole pairs (Austin and Small, 2014). What nobody recorded, such as an offer that only some
customers saw, is not accounted for: the placebo, the same difference one window earlier, shows what such things may do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.diagnosis import BEHAVIOUR_CAMPAIGN_EFFECTS, MATCHED, MEASURES, RANDOMISED
from crm_assets.mining import scaling
from crm_assets.mining.samples import sample_customers
from crm_assets.mining.scaling import signed_log
from crm_assets.mining.threads import one_thread

CALIPER = 0.2
"""Widest difference of a pair, in standard deviations of the logit of the propensity (Austin, 2011)."""

LEAST_PAIRS = 20
"""With fewer pairs, or customers on a side of a randomised comparison, no effect is given."""

RESAMPLES = 500

_MONTH, _MONTHS = 30, 90
"""Days that features look back."""

_UNBALANCED = 0.25
"""Largest standardised difference beyond which a comparison is said not to be balanced (Stuart, 2010)."""

FEATURES = (
    "recency_days",
    "tenure_days",
    "order_days",
    "orders_30d",
    "orders_90d",
    "amount",
    "amount_30d",
    "amount_90d",
    "coupon_share_90d",
    "discount_share_90d",
    "contacts_90d",
    "responses",
)
"""What customers are matched on, as of the day before the first contact; recency counts up to 90 days."""

_CONTACTED, _CONTROL, _FREE, _LATER = 1, 0, -1, -2
_OBSERVATIONAL = "observational: no control was held out, customers are compared with others who were alike before"
_TOO_FEW = "too few customers to compare"
_NOT_BALANCED = "not balanced, those compared differed before"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """When a campaign is measured.

    Attributes:
        campaign_id: The campaign.
        starts_on: First day of contact.
        has_placebo: Whether there is a window more before the one before it.
    """

    campaign_id: str
    starts_on: date
    has_placebo: bool


def measurable(contacts: ir.Table, first_day: date, as_of: date, days: int) -> list[Window]:
    """Campaigns whose window has ended, with a window of the same length before it in the data.

    Args:
        contacts: campaign_id, customer_id and the day of contact, held-out customers included.
        first_day: first day of the data.
        as_of: last day seen.
        days: length of a window.
    """
    starts = contacts.group_by("campaign_id").agg(starts_on=contacts.day.min()).order_by("starts_on", "campaign_id")
    return [
        Window(row["campaign_id"], row["starts_on"], row["starts_on"] - timedelta(days=2 * days) >= first_day)
        for row in starts.to_pyarrow().to_pylist()
        if row["starts_on"] - timedelta(days=days) >= first_day and row["starts_on"] + timedelta(days=days - 1) <= as_of
    ]


def campaign_customers(
    customer_days: ir.Table, contacts: ir.Table, windows: Sequence[Window], days: int, most: int, seed: int
) -> ir.Table:
    """Each campaign's customers who had ordered before it, with what they did before and in the window.

    Args:
        customer_days: by person, as `mining.persons.Persons.customer_days` gives it.
        contacts: campaign_id, customer_id, day, is_control and responded_at, by person.
        windows: as `measurable` gives them, at least one.
        days: length of a window.
        most: most customers of all; half of them, if there are so many, were ever contacted.
        seed: other seeds draw other customers.

    Returns:
        campaign_id, customer_id, `FEATURES`, role (1 contacted, 0 held out, -1 neither, -2 later), elsewhere (contacted by another
        campaign from one window before to the end of it), and orders and spend `before_`, `since_` and `earlier_` (the
        window before that one); by campaign_id and customer_id.
    """
    starts = {window.campaign_id: window.starts_on for window in windows}
    known = customer_days.filter(customer_days.customer_id.notnull())
    known = sample_customers(known.semi_join(contacts, "customer_id"), most // 2, seed).union(
        sample_customers(known.anti_join(contacts, "customer_id"), most // 2, seed)
    )
    grid = _grid(starts)
    activity = _activity(known, grid, days)
    reached = _reached(contacts.cross_join(grid.rename(campaign="campaign_id")), days)
    joined = activity.left_join(reached, ["campaign_id", "customer_id"])
    joined = joined.drop("campaign_id_right", "customer_id_right")
    filled = {name: joined[name].fill_null(0) for name in ("contacts_90d", "responses", "elsewhere")}
    return joined.mutate(role=joined.role.fill_null(_FREE), **filled).order_by("campaign_id", "customer_id")


def campaign_effects(
    customers: pd.DataFrame, windows: Sequence[Window], kinds: Mapping[str, str | None], days: int, seed: int
) -> pd.DataFrame:
    """The effect of each campaign on orders and spend.

    Args:
        customers: as `campaign_customers` gives it.
        windows: the campaigns.
        kinds: kind of each campaign, where known.
        days: length of a window.
        seed: of the bootstrap.

    Returns:
        Rows of `contracts.diagnosis.BEHAVIOUR_CAMPAIGN_EFFECTS`, by its key.
    """
    rows: list[dict[str, Any]] = []
    groups = dict(list(customers.groupby("campaign_id", sort=True)))
    for window in windows:
        of_campaign = groups.get(window.campaign_id, customers.iloc[:0]).reset_index(drop=True)
        about = {
            "campaign_id": window.campaign_id,
            "kind": kinds.get(window.campaign_id),
            "starts_on": window.starts_on,
            "days": days,
        }
        rows += [about | figures for figures in _measured(of_campaign, window.has_placebo, seed)]
    frame = pd.DataFrame(rows, columns=list(BEHAVIOUR_CAMPAIGN_EFFECTS.by_name))
    return frame.sort_values(list(BEHAVIOUR_CAMPAIGN_EFFECTS.key), ignore_index=True)


def standardised(features: pd.DataFrame) -> Floats:
    """`FEATURES` on a log scale, nulls as none, with mean 0 and variance 1: shape (customers, features)."""
    values = signed_log(features[list(FEATURES)].astype("float64").fillna(0.0).to_numpy())
    return scaling.standardised(scaling.fit_scale(values), values)


def matched_pairs(values: Floats, contacted: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Contacted customers, and for each one who was not, as positions in `values`.

    Whoever is most likely to be contacted is matched first, as there are fewest others like them.

    Args:
        values: as `standardised` gives them.
        contacted: who was contacted.
    """
    if contacted.all() or not contacted.any():
        return np.array([], np.intp), np.array([], np.intp)
    logit = _logit(values, contacted)
    treated, free = np.flatnonzero(contacted), np.flatnonzero(~contacted)
    treated = treated[np.argsort(-logit[treated], kind="stable")]
    free = free[np.argsort(logit[free], kind="stable")]
    widest = CALIPER * float(np.std(logit))
    positions = np.searchsorted(logit[free], logit[treated])
    # The next free customer on either side, found by following those that are taken.
    left, right = list(range(len(free) + 1)), list(range(len(free) + 1))
    pairs = []
    for one, position in zip(treated, positions, strict=True):
        below, above = _follow(left, int(position)) - 1, _follow(right, int(position))
        candidates = [place for place in (below, above) if 0 <= place < len(free)]
        if not candidates:
            break
        best = min(candidates, key=lambda place: abs(logit[free[place]] - logit[one]))
        if abs(logit[free[best]] - logit[one]) <= widest:
            pairs.append((one, free[best]))
            left[best + 1], right[best] = best, best + 1
    chosen = np.array(pairs, np.intp).reshape(-1, 2)
    return chosen[:, 0], chosen[:, 1]


def _follow(links: list[int], place: int) -> int:
    """Where links lead, which are shortened on the way."""
    end = place
    while links[end] != end:
        end = links[end]
    while links[place] != end:
        links[place], place = end, links[place]
    return end


def _logit(values: Floats, contacted: NDArray[np.bool_]) -> Floats:
    """Logit of the propensity to be contacted."""
    from sklearn.linear_model import LogisticRegression

    with one_thread():
        model = LogisticRegression(max_iter=200).fit(values, contacted)
        return np.asarray(model.decision_function(values), np.float64)


@dataclass(frozen=True)
class _Comparison:
    """Who is compared with whom, as positions, and how an outcome is seen."""

    method: str
    sides: tuple[NDArray[np.intp], NDArray[np.intp]]
    note: str
    imbalance: float | None
    adjusted: Callable[[Floats], Floats]


def _matched(customers: pd.DataFrame, contacted: NDArray[np.bool_], free: NDArray[np.bool_]) -> _Comparison:
    values, pool = standardised(customers), np.flatnonzero(contacted | free)
    ones, others = (pool[side] for side in matched_pairs(values[pool], contacted[pool]))
    imbalance = _imbalance(values[ones], values[others]) if len(ones) else None
    adjusted = _beyond_features(values, np.flatnonzero(free))
    return _Comparison(MATCHED, (ones, others), _OBSERVATIONAL, imbalance, adjusted)


def _measured(customers: pd.DataFrame, has_placebo: bool, seed: int) -> list[dict[str, Any]]:
    """Figures of a campaign, a row for each measure."""
    role, elsewhere = customers["role"].to_numpy(), customers["elsewhere"].to_numpy(bool)
    contacted, held_out = role == _CONTACTED, role == _CONTROL
    if is_random := bool(held_out.any()):
        ends = np.flatnonzero(contacted), np.flatnonzero(held_out)
        compared = _Comparison(RANDOMISED, ends, "randomised control", None, lambda outcome: outcome)
    else:
        compared = _matched(customers, contacted, (role == _FREE) & ~elsewhere)
    sides, note = compared.sides, compared.note
    if min(map(len, sides)) < LEAST_PAIRS:
        note, sides = f"{note}; {_TOO_FEW}", (sides[0][:0], sides[1][:0])
    elif compared.imbalance is not None and compared.imbalance > _UNBALANCED:
        note = f"{note}; {_NOT_BALANCED}"
    shared = {
        "method": compared.method,
        "contacted": int(contacted.sum()),
        "compared": len(sides[0]),
        "controls": len(sides[1]),
        "imbalance": compared.imbalance,
        "contacted_elsewhere": float(elsewhere[contacted].mean()) if contacted.any() else None,
        "note": note,
    }
    rows: list[dict[str, Any]] = [{"measure": measure, **shared} for measure in MEASURES]
    if not len(sides[0]):
        return rows
    drawn = [_draws(len(sides[0]), seed), _draws(len(sides[1]), seed + is_random)]
    for row in rows:
        since, before, earlier = (
            customers[f"{when}_{row['measure']}"].to_numpy(np.float64) for when in ("since", "before", "earlier")
        )
        row |= {"mean_contacted": float(since[sides[0]].mean()), "mean_controls": float(since[sides[1]].mean())}
        effect = _difference(compared.adjusted(since if is_random else since - before), sides, drawn)
        row |= dict(zip(("effect", "low", "high"), effect, strict=True))
        if is_random or has_placebo:
            placebo = _difference(compared.adjusted(before if is_random else before - earlier), sides, drawn)
            row |= dict(zip(("placebo", "placebo_low", "placebo_high"), placebo, strict=True))
    return rows


def _beyond_features(values: Floats, free: NDArray[np.intp]) -> Callable[[Floats], Floats]:
    """Takes off an outcome what a linear regression among customers not reached expects by their features."""
    if not len(free):
        return lambda outcome: outcome
    with one_thread():
        inverse = np.linalg.pinv(values[free] - values[free].mean(axis=0), rcond=1e-6)

    def adjusted(outcome: Floats) -> Floats:
        with one_thread():
            weights = inverse @ (outcome[free] - outcome[free].mean())
            return np.asarray(outcome - values @ weights)

    return adjusted


def _draws(size: int, seed: int) -> NDArray[np.int64]:
    """Positions of each resample; pairs share them, since one seed draws the same positions for both sides."""
    return np.random.default_rng(seed).integers(size, size=(RESAMPLES, size)) if size else np.zeros((0, 0), np.int64)


def _difference(
    outcome: Floats, sides: tuple[NDArray[np.intp], NDArray[np.intp]], drawn: list[NDArray[np.int64]]
) -> tuple[float, float, float]:
    """Difference of the means of two sides, with the interval of 95% of its resamples."""
    values = [outcome[side] for side in sides]
    resampled = values[0][drawn[0]].mean(axis=1) - values[1][drawn[1]].mean(axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(values[0].mean() - values[1].mean()), float(low), float(high)


def _imbalance(ones: Floats, others: Floats) -> float:
    """Largest absolute standardised difference of a feature between the sides of the pairs."""
    spread = np.sqrt((ones.var(axis=0) + others.var(axis=0)) / 2)
    apart = np.abs(ones.mean(axis=0) - others.mean(axis=0))
    return float(np.max(apart / np.where(spread > 0, spread, 1.0)))


def _grid(starts: Mapping[str, date]) -> ir.Table:
    """One row per campaign: campaign_id and its first day."""
    numbers = ibis.array([ibis.literal(number) for number in range(len(starts))]).unnest().name("number").as_table()
    cases = list(enumerate(starts.items()))
    return numbers.select(
        campaign_id=ibis.cases(*[(numbers.number == number, name) for number, (name, _) in cases]),
        starts_on=ibis.cases(*[(numbers.number == number, ibis.literal(day)) for number, (_, day) in cases]),
    )


def _activity(days: ir.Table, grid: ir.Table, length: int) -> ir.Table:
    """What each customer did before each campaign and in its window; those who had not ordered before are left out."""
    everything = days.select("day", "customer_id", "orders", "amount").cross_join(grid)
    everything = everything.filter(everything.day < everything.starts_on)
    ordered = everything.orders > 0
    known = everything.group_by("campaign_id", "starts_on", "customer_id").agg(
        first_on=everything.day.min(where=ordered),
        order_days=ordered.cast("int64").sum(),
        amount=everything.amount.sum(),
    )
    known = known.filter(known.first_on.notnull())
    near = days.cross_join(grid)
    near = near.mutate(
        age=near.starts_on.delta(near.day, unit="day"),
        order_day=(near.orders > 0).cast("int64"),
        reduction=near.discount + near.coupon_discount,
    )
    near = near.filter(near.age > -length, near.age <= max(_MONTHS, 2 * length))
    spans = {
        "since": near.age <= 0,
        "before": (near.age > 0) & (near.age <= length),
        "earlier": (near.age > length) & (near.age <= 2 * length),
    }
    month, months = (near.age > 0) & (near.age <= _MONTH), (near.age > 0) & (near.age <= _MONTHS)
    sums = near.group_by("campaign_id", "customer_id").agg(
        recency_days=near.age.min(where=months & (near.orders > 0)),
        baskets=near.orders.sum(where=months),
        **{name: near[name].sum(where=months) for name in ("coupon_orders", "list_amount", "reduction")},
        orders_30d=near.order_day.sum(where=month),
        orders_90d=near.order_day.sum(where=months),
        amount_30d=near.amount.sum(where=month),
        amount_90d=near.amount.sum(where=months),
        **{f"{name}_orders": near.order_day.sum(where=inside) for name, inside in spans.items()},
        **{f"{name}_spend": near.amount.sum(where=inside) for name, inside in spans.items()},
    )
    key = ["campaign_id", "customer_id"]
    found = known.left_join(sums, key).drop(*(f"{name}_right" for name in key))
    columns = {
        "recency_days": found.recency_days.fill_null(_MONTHS),
        "tenure_days": found.starts_on.delta(found.first_on, unit="day"),
        "coupon_share_90d": found.coupon_orders.cast("float64") / found.baskets.cast("float64").nullif(0),
        "discount_share_90d": found.reduction.cast("float64") / found.list_amount.cast("float64").nullif(0),
    }
    names = [name for name in FEATURES if name not in ("contacts_90d", "responses")]
    names += [f"{when}_{measure}" for when in spans for measure in MEASURES]
    values = {name: columns[name] if name in columns else found[name] for name in names}
    return found.select(*key, **{name: value.cast("float64").fill_null(0) for name, value in values.items()})


def _reached(contacts: ir.Table, length: int) -> ir.Table:
    """What each campaign's customers were contacted for: by it, and by others before and meanwhile."""
    age = contacts.starts_on.delta(contacts.day, unit="day")
    contacts = contacts.mutate(age=age, held_out=contacts.is_control.fill_null(False))
    own = contacts.campaign_id == contacts.campaign
    reached = ~own & ~contacts.held_out
    in_window = own & (contacts.age > -length)
    sums = contacts.group_by(campaign_id="campaign", customer_id="customer_id").agg(
        contacts_90d=contacts.count(where=reached & (contacts.age > 0) & (contacts.age <= _MONTHS)),
        responses=contacts.count(where=reached & (contacts.responded_at.date() < contacts.starts_on)),
        elsewhere=contacts.count(where=reached & (contacts.age > -length) & (contacts.age <= length)),
        contacted=contacts.count(where=in_window & ~contacts.held_out),
        held_out=contacts.count(where=in_window & contacts.held_out),
        later=contacts.count(where=own & ~in_window),
    )
    # Contacted after the window, a customer is neither contacted nor free of the campaign.
    role = ibis.cases(
        (sums.contacted > 0, _CONTACTED), (sums.held_out > 0, _CONTROL), (sums.later > 0, _LATER), else_=_FREE
    )
    rows = sums.mutate(role=role, elsewhere=(sums.elsewhere > 0).cast("int64"))
    return rows.drop("contacted", "held_out", "later")
