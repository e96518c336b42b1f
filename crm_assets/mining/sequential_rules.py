"""What customers buy next who bought something else: rules of purchases in time, one item after another.

Belongs here: who held what on a day and bought what after it, the test, the figures. Not here: rules of one basket
(`cross_sell.py`), offers (`offers.py`).

Customers who buy much buy more of everything, so two items that have nothing to do with each other follow one another
more often than their shares of customers say. Customers are therefore compared with those who bought as much as they did,
in strata. Sources: the landmark method, Anderson, Cain and Gelber, Analysis of Survival by Tumor Response (1983); the
test, Mantel and Haenszel, Statistical Aspects of the Analysis of Data from Retrospective Studies of Disease (1959); when
it holds, Mantel and Fleiss, Minimum Expected Cell Size Requirements for the Mantel-Haenszel One-Degree-of-Freedom
Chi-Square Test (1980).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
from ibis import _
from numpy.typing import NDArray

from crm_assets.contracts.basket import FALSE_DISCOVERY_RATE, LEVELS, SEQUENTIAL_RULES
from crm_assets.contracts.layers import DAY
from crm_assets.mining.offers import items_of, products_bought
from crm_assets.mining.samples import about

if TYPE_CHECKING:
    import pandas as pd

STRATUM_CUSTOMERS = 250
"""Customers a stratum has at least, where there are as many."""

MOST_STRATA = 20
LEAST_EXPECTED = 5.0
"""Mantel and Fleiss: with fewer customers expected to follow, the distribution of the test is not a normal one."""

Floats = NDArray[np.float64]
Hold = Callable[[ir.Table], ir.Table]


@dataclass(frozen=True)
class SequenceLimits:
    """What counts as a sequence, and how much of it makes a rule.

    Attributes:
        history_days: Days up to the landmark in which the antecedent was bought, and the consequent was not.
        within_days: Days after it in which the consequent is bought.
        max_items: Most items of a level, those that most customers bought.
        max_customers: Where there are more customers, about so many of them are drawn, the same for all levels.
        least_lift: Least lift of a rule; of many customers, a difference may be beyond chance and too small to use.
        least_expected: Followers that must be expected by chance for a pair to be tested.
    """

    history_days: int = 90
    within_days: int = 30
    max_items: int = 300
    max_customers: int = 200_000
    least_lift: float = 1.1
    least_expected: float = LEAST_EXPECTED

    def __post_init__(self) -> None:
        if min(self.history_days, self.within_days) < 1 or self.max_items < 2 or self.least_lift < 1:
            raise ValueError(f"sequential rules need a day at least, two items and a lift of at least 1: {self}")


@dataclass(frozen=True)
class SequentialRules:
    """Sequential rules and what they were mined on.

    Attributes:
        rules: The columns of contract `sequential_rules`, ordered by its key.
        levels: One row per level: level, share (of customers that were drawn), customers (who bought before the
            landmark), strata, items, hypotheses (pairs
            that were tested), rules, landmark (last day of the first purchases), holdout (that of the hold-out, None
            without).
    """

    rules: "pd.DataFrame"
    levels: "pd.DataFrame"


@dataclass(frozen=True)
class _Counts:
    """Customers at a landmark, by stratum (axis 0) and items (axes 1 and 2: the earlier and the later one).

    Attributes:
        size: Customers of the stratum.
        held: Those who bought the item before.
        new: Those who did not buy the item before, and bought it after.
        both: Those who bought both items before.
        followed: Those who bought the one before, and the other only after.
    """

    size: Floats
    held: Floats
    new: Floats
    both: Floats
    followed: Floats

    def exposed(self) -> Floats:
        """Customers who bought the one item before and not the other."""
        return self.held[:, :, None] - self.both

    def chance(self) -> Floats:
        """Share of a stratum's customers without an item who bought it after: strata × items."""
        lacking = self.size[:, None] - self.held
        return np.divide(self.new, lacking, out=np.zeros_like(self.new), where=lacking > 0)

    def expected(self) -> Floats:
        """Customers who would buy the other after, if those with the one item were like the rest of their stratum."""
        return (self.exposed() * self.chance()[:, None, :]).sum(axis=0)

    def variance(self) -> Floats:
        """Variance of how many follow, with the margins of each stratum given (hypergeometric)."""
        exposed, lacking = self.exposed(), (self.size[:, None] - self.held)[:, None, :]
        rest = np.divide(lacking - exposed, lacking - 1, out=np.zeros_like(exposed), where=lacking > 1)
        chance = self.chance()[:, None, :]
        return (exposed * rest * chance * (1 - chance)).sum(axis=0)


def sequential_rules(
    transactions: ir.Table,
    products: ir.Table,
    as_of: date,
    limits: SequenceLimits = SequenceLimits(),
    levels: Sequence[str] = LEVELS,
    seed: int = 0,
) -> SequentialRules:
    """Pairs of items of which customers who bought the one, and not the other, buy the other soon more than others do.

    A customer who bought the antecedent in the days of history up to a landmark, and not the consequent, follows the
    rule by buying the consequent within the days after it. Rules are found at the landmark that many days before the
    newest one, and measured again at the newest, whose days after it end at `as_of`.

    Args:
        transactions: clean order lines of persons; later ones, returns and those without a customer are not seen.
        products: versions of the products; the one valid at `as_of` says what an item is.
        as_of: last day seen.
        limits: what counts, and how much of it makes a rule.
        levels: levels of the product tree, mined apart.
        seed: other seeds draw other customers, where there are too many.

    Returns:
        Rules with a false discovery rate of at most 5% over all pairs tested. Where there are fewer days than the two
        landmarks need, rules are found at the newest one and not measured again.
    """
    import pandas as pd

    bought = products_bought(transactions, products, as_of, limits.history_days + 2 * limits.within_days)
    bought, share = about(bought, "customer_id", limits.max_customers, seed)
    rules, summaries = [], []
    for level in levels:
        items = items_of(bought, level).group_by("customer_id", DAY.name, "item").agg(amount=_.amount.sum())
        found, summary = _of_level(items, as_of, limits)
        rules.append(found.assign(level=level, within_days=limits.within_days))
        summaries.append({"level": level, "share": share, **summary})
    every = pd.concat(rules).sort_values(list(SEQUENTIAL_RULES.key), ignore_index=True)
    return SequentialRules(every[list(SEQUENTIAL_RULES.by_name)], pd.DataFrame(summaries))


def _of_level(items: ir.Table, as_of: date, limits: SequenceLimits) -> "tuple[pd.DataFrame, dict[str, object]]":
    """The rules of a level, and what they were found in."""
    import pandas as pd

    with ExitStack() as held:

        def hold(table: ir.Table) -> ir.Table:
            return held.enter_context(table.cache())

        items = hold(items)
        newest = as_of - timedelta(days=limits.within_days)
        earlier = newest - timedelta(days=limits.within_days)
        first_day = items[DAY.name].min().to_pandas()
        is_long = not pd.isna(first_day) and pd.Timestamp(first_day).date() <= earlier - timedelta(limits.within_days)
        at = _Landmark.of(items, earlier if is_long else newest, limits, hold)
        names = at.before.group_by("item").agg(customers=_.count())
        names = names.order_by(_.customers.desc(), "item").limit(limits.max_items).to_pandas()["item"]
        counts = at.counts(sorted(names), hold)
        found, hypotheses = _found(sorted(names), counts, limits)
        found["holdout_lift"] = np.nan
        if is_long and len(found):
            of_rules = sorted({*found["antecedent"], *found["consequent"]})
            later = _Landmark.of(items, newest, limits, hold).counts(of_rules, hold)
            found["holdout_lift"] = _lifts(found, of_rules, later)
        found = _with_value(found, items.filter(items[DAY.name] <= at.day))
    return found, {
        "customers": int(counts.size.sum()),
        "strata": len(counts.size),
        "items": len(names),
        "hypotheses": hypotheses,
        "rules": len(found),
        "landmark": at.day,
        "holdout": newest if is_long else None,
    }


@dataclass(frozen=True)
class _Landmark:
    """Customers on a day, in strata of those who bought alike many items alike often.

    Attributes:
        day: Last day of what they bought before.
        before: customer_id, item, stratum.
        strata: customer_id, stratum.
        after: customer_id, item: bought in the days after.
        sizes: Customers of each stratum, from stratum 0.
    """

    day: date
    before: ir.Table
    strata: ir.Table
    after: ir.Table
    sizes: Floats

    @classmethod
    def of(cls, items: ir.Table, landmark: date, limits: SequenceLimits, hold: Hold) -> "_Landmark":
        day = items[DAY.name]
        bought = items.filter(day <= landmark, day > landmark - timedelta(days=limits.history_days))
        bought = hold(bought.group_by("customer_id", "item").agg(times=_.count()))
        activity = bought.group_by("customer_id").agg(bought=_.times.sum())
        strata = max(1, min(MOST_STRATA, activity.count().to_pyarrow().as_py() // STRATUM_CUSTOMERS))
        place = ibis.ntile(strata).over(order_by=[activity.bought, activity.customer_id])
        activity = hold(activity.select("customer_id", stratum=place.cast("int64")))
        sizes = activity.group_by("stratum").agg(customers=_.count()).order_by("stratum").to_pandas()["customers"]
        before = hold(bought.join(activity, "customer_id").select("customer_id", "item", "stratum"))
        after = items.filter(day > landmark, day <= landmark + timedelta(days=limits.within_days))
        return cls(
            landmark, before, activity, after.select("customer_id", "item").distinct(), sizes.to_numpy(np.float64)
        )

    def counts(self, names: Sequence[str], hold: Hold) -> _Counts:
        """The customers who bought some items, counted by the engine."""
        numbered = {"item": list(names), "code": list(range(len(names)))}
        codes = ibis.memtable(numbered, schema={"item": "string", "code": "int32"})
        known = hold(self.before.join(codes, "item").select("customer_id", "stratum", "code"))
        after = self.after.join(codes, "item").join(self.strata, "customer_id")
        new = hold(after.anti_join(known, ["customer_id", "code"]).select("customer_id", "stratum", "code"))
        shape = (len(self.sizes), len(names))

        def single(rows: ir.Table) -> Floats:
            return _dense(rows.group_by("stratum", "code").agg(customers=_.count()), ("code",), shape)

        def pairs(later: ir.Table, wanted: ibis.Deferred) -> Floats:
            together = known.join(later.select("customer_id", other="code"), "customer_id").filter(wanted)
            counted = together.group_by("stratum", "code", "other").agg(customers=_.count())
            return _dense(counted, ("code", "other"), (*shape, len(names)))

        both = pairs(known, _.code < _.other)
        both += both.transpose(0, 2, 1)
        return _Counts(self.sizes, single(known), single(new), both, pairs(new, _.code != _.other))


def _dense(counted: ir.Table, items: tuple[str, ...], shape: tuple[int, ...]) -> Floats:
    frame, found = counted.to_pandas(), np.zeros(shape)
    found[(frame["stratum"].to_numpy(), *(frame[name].to_numpy() for name in items))] = frame["customers"].to_numpy()
    return found


def _found(names: Sequence[str], counts: _Counts, limits: SequenceLimits) -> "tuple[pd.DataFrame, int]":
    """The rules that are no chance finding, with their test, and the number of pairs that were tested."""
    import pandas as pd
    from scipy.stats import false_discovery_control, norm

    followed, expected, variance = counts.followed.sum(axis=0), counts.expected(), counts.variance()
    is_tested = (expected >= limits.least_expected) & (variance > 0) & ~np.eye(len(names), dtype=bool)
    p_values, q_values = np.ones_like(expected), np.ones_like(expected)
    # One customer counts half, since customers are counted whole and the normal distribution is not.
    p_values[is_tested] = norm.sf((followed - expected - 0.5)[is_tested] / np.sqrt(variance[is_tested]))
    if is_tested.any():
        q_values[is_tested] = false_discovery_control(p_values[is_tested])
    is_rule = is_tested & (q_values <= FALSE_DISCOVERY_RATE) & (followed >= limits.least_lift * expected)
    first, second = np.nonzero(is_rule)
    customers = counts.exposed().sum(axis=0)
    found = pd.DataFrame(
        {
            "antecedent": np.array(names, dtype=object)[first],
            "consequent": np.array(names, dtype=object)[second],
            "customers": customers[is_rule].astype("int64"),
            "followers": followed[is_rule].astype("int64"),
            "confidence": followed[is_rule] / customers[is_rule],
            "expected_confidence": expected[is_rule] / customers[is_rule],
            "lift": followed[is_rule] / expected[is_rule],
            "p_value": p_values[is_rule],
            "q_value": q_values[is_rule],
        }
    )
    return found, int(is_tested.sum())


def _lifts(rules: "pd.DataFrame", names: Sequence[str], counts: _Counts) -> Floats:
    """The lift of rules by other counts of their items; NaN where nobody is expected to follow."""
    code = {name: number for number, name in enumerate(names)}
    pairs = (rules["antecedent"].map(code).to_numpy(), rules["consequent"].map(code).to_numpy())
    expected = counts.expected()[pairs]
    return np.divide(counts.followed.sum(axis=0)[pairs], expected, out=np.full(len(rules), np.nan), where=expected > 0)


def _with_value(rules: "pd.DataFrame", items: ir.Table) -> "pd.DataFrame":
    """The rules with the sales above chance that a customer who meets them brings.

    A customer spends so much on the consequent on a day with it, on average.
    """
    wanted = sorted(set(rules["consequent"]))
    known = ibis.memtable({"item": wanted}, schema={"item": "string"})
    spent = items.semi_join(known, "item").group_by("item").agg(amount=_.amount.sum(), days=_.count()).to_pandas()
    average = dict(zip(spent["item"], spent["amount"].astype("float64") / spent["days"], strict=True))
    more = rules["confidence"] - rules["expected_confidence"]
    return rules.assign(expected_value=more * rules["consequent"].map(average).astype("float64"))
