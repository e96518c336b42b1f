"""From validated rows to clean tables: one row per key, one way to write each value, outliers flagged.

Belongs here: versions of dimensions, normal forms and outlier flags. Not here: which row of a key is true (`truth.py`),
rejecting rows, which is validation (`sources/rows.py`).
"""

from datetime import date
from functools import reduce
from operator import or_

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.canonical import EARLIEST
from crm_assets.contracts.layers import DAY, VALID_FROM, VALID_TO
from crm_assets.contracts.model import Column, Shape, Table
from crm_assets.mining.as_of_days import Hold
from crm_assets.mining.truth import (
    IS_PRESENT,
    NO_FULL_EXPORTS,
    STATE_DATE,
    FullExports,
    states,
    true_events,
)

OUTLIER_SCORE = 5.0
"""Modified z-scores beyond this are outliers; Iglewicz and Hoaglin's 3.5 flags 1 to 2% of skewed retail amounts."""

OUTLIER_ROWS = 30
"""A day with fewer rows says too little about what is usual."""

_FULL_WIDTH = "".join(map(chr, range(0xFF01, 0xFF5F))) + "\u3000"
_HALF_WIDTH = "".join(map(chr, range(0x21, 0x7F))) + " "

_GENDERS = {
    "female": ("female", "f", "woman", "w", "女", "女士", "女性"),
    "male": ("male", "m", "man", "男", "先生", "男性"),
}


def clean_events(
    rows: ir.Table,
    contract: Table,
    first: date,
    last: date,
    full_exports: FullExports = NO_FULL_EXPORTS,
    hold: Hold = lambda table: table,
) -> ir.Table:
    """Clean rows of an event table, of a range of days.

    Args:
        rows: Validated rows with `day`, the event day, of every delivery and all days.
        contract: The canonical table.
        first: First day wanted.
        last: Last day wanted.
        full_exports: Exports from which a missing key counts as deleted.
        hold: Keeps tables that are used several times.

    Returns:
        One row per key that is true (`truth.py`) and falls on these days: the contract's columns, normalised,
        `is_outlier`, and `day`. Whatever the order of deliveries, the rows are the same, and those of a range are
        those of its days.
    """
    found = true_events(rows, contract, first, last, full_exports, hold)
    normal = normalise(found.select(*contract.by_name, DAY.name), contract)
    return flag_outliers(normal, contract, hold)


def clean_dimension(rows: ir.Table, contract: Table, full_exports: FullExports = NO_FULL_EXPORTS) -> ir.Table:
    """Versions of each thing a dimension describes.

    Args:
        rows: Validated rows of every delivery.
        contract: The canonical table.
        full_exports: Exports from which a missing key counts as deleted.

    Returns:
        One row per key and change: the contract's columns, normalised, `valid_from`, the date of the first export with
        these values, and `valid_to`, that of the next change or of the full export that lacks the key. The first
        version is valid from the beginning; a key that comes again has a new version.
    """
    told = normalise(states(rows, contract, full_exports), contract)
    history = ibis.window(group_by=list(contract.key), order_by=STATE_DATE)
    others = [IS_PRESENT, *(name for name in contract.by_name if name not in contract.key)]
    changes = [~told[name].identical_to(told[name].lag().over(history)) for name in others]
    first = ibis.row_number().over(history) == 0
    changed = told.mutate(_first=first, _changed=reduce(or_, changes, first)).filter(ibis._["_changed"])
    beginning = ibis.literal(date.fromisoformat(EARLIEST))
    versions = changed.mutate(
        **{
            VALID_FROM.name: changed["_first"].ifelse(beginning, changed[STATE_DATE]),
            VALID_TO.name: changed[STATE_DATE].lead().over(history),
        }
    )
    return versions.filter(versions[IS_PRESENT]).select(*contract.by_name, VALID_FROM.name, VALID_TO.name)


def valid_on(versions: ir.Table, day: date | None) -> ir.Table:
    """The versions of a dimension valid on a day; the current ones when it is None."""
    if day is None:
        return versions.filter(versions[VALID_TO.name].isnull())
    until = versions[VALID_TO.name].isnull() | (versions[VALID_TO.name] > day)
    return versions.filter(versions[VALID_FROM.name] <= day, until)


def normalise(rows: ir.Table, contract: Table) -> ir.Table:
    """The same rows with each value written in one way, and what follows from other columns filled in."""
    # Identifiers are kept as they are but for blanks around them, which validation took away.
    texts = {
        column.name: rows[column.name].re_replace(r"\s+", " ").strip().nullif("")
        for column in contract.columns
        if column.dtype == "string" and not column.name.endswith("_id") and column.name not in ("attributes", "text")
    }
    rows = rows.mutate(**texts)
    special = {"customers": _normal_customers, "transactions": _normal_transactions}
    return special[contract.name](rows) if contract.name in special else rows


def flag_outliers(rows: ir.Table, contract: Table, hold: Hold = lambda table: table) -> ir.Table:
    """Add `is_outlier`: some measure lies far outside that day's.

    A measure is far outside when the modified z-score of ``log(1 + |x|)`` among the day's rows exceeds
    `OUTLIER_SCORE`, which rests on the median and the median absolute deviation and so is not moved by the outliers
    themselves (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993). Only the day's own rows are used, so a
    later delivery of another day changes nothing. Measures whose deviation is zero, as prices with one usual value,
    flag nothing.
    """
    measures = [column.name for column in contract.columns if _is_measure(column)]
    if not measures or contract.shape is not Shape.EVENT:
        return rows.mutate(is_outlier=ibis.literal(False))
    sizes = hold(rows.select(DAY.name, **{name: rows[name].cast("float64").abs() for name in measures}))
    limits = sizes.group_by(DAY.name).agg(_rows=ibis._.count())
    for name in measures:
        limits = limits.left_join(hold(_usual(sizes, name)), DAY.name).drop(f"{DAY.name}_right")
    judged = rows.left_join(hold(limits), DAY.name)
    far = [
        (
            (judged[f"_spread_{name}"] > 0)
            & (
                0.6745 * (_scaled(judged[name]) - judged[f"_middle_{name}"]).abs()
                > OUTLIER_SCORE * judged[f"_spread_{name}"]
            )
        ).fill_null(False)
        for name in measures
    ]
    is_outlier = (judged["_rows"] >= OUTLIER_ROWS) & reduce(or_, far)
    return judged.mutate(is_outlier=is_outlier).select(*rows.columns, "is_outlier")


def _usual(sizes: ir.Table, name: str) -> ir.Table:
    """Median and median absolute deviation of a measure on each day, from how often each size occurs."""
    counted = sizes.filter(sizes[name].notnull()).group_by(DAY.name, name).agg(_count=ibis._.count())
    values = counted.select(DAY.name, "_count", _value=_scaled(counted[name]))
    middles = _medians(values, f"_middle_{name}")
    far = values.inner_join(middles, DAY.name)
    far = far.select(DAY.name, "_count", _value=(far["_value"] - far[f"_middle_{name}"]).abs())
    return middles.inner_join(_medians(far, f"_spread_{name}"), DAY.name)


def _medians(values: ir.Table, name: str) -> ir.Table:
    """The median of each day's values, of which each stands for `_count` rows."""
    of_day = ibis.window(group_by=DAY.name)
    so_far = ibis.window(group_by=DAY.name, order_by="_value", preceding=None, following=0)
    counted = values.mutate(_upto=values["_count"].sum().over(so_far), _all=values["_count"].sum().over(of_day))
    twice, value = 2 * counted["_upto"], counted["_value"]
    # Of an even number of rows the median lies between the two in the middle.
    lower, upper = value.min(where=twice >= counted["_all"]), value.min(where=twice > counted["_all"])
    return counted.group_by(DAY.name).agg(**{name: (lower + upper) / 2})


def _scaled(measure: ir.NumericValue) -> ir.FloatingValue:
    return (measure.cast("float64").abs() + 1).ln()


def _is_measure(column: Column) -> bool:
    """Whether a column is a size that has a usual range; discounts are nothing on most rows, so they have none."""
    is_number = column.dtype.startswith("decimal") or column.dtype == "float64"
    return is_number and "discount" not in column.name


def _normal_customers(rows: ir.Table) -> ir.Table:
    gender = _half_width(rows["gender"]).lower()
    return rows.mutate(
        email=_half_width(rows["email"]).lower().replace(" ", ""),
        phone=_half_width(rows["phone"]).re_replace(r"[\s().-]", "").nullif(""),
        gender=ibis.cases(
            *[(gender.isin(words), normal) for normal, words in _GENDERS.items()],
            (gender.isnull(), ibis.null("string")),
            else_="other",
        ),
    )


def _normal_transactions(rows: ir.Table) -> ir.Table:
    is_return = ibis.coalesce(rows["is_return"], (rows["quantity"] < 0) | (rows["amount"] < 0))
    rows = rows.mutate(is_return=is_return)
    quantity = rows["is_return"].ifelse(-rows["quantity"].abs(), rows["quantity"])
    amount = rows["is_return"].ifelse(-rows["amount"].abs(), rows["amount"])
    # The quotient of decimals is a float in one engine and a decimal in another.
    price = (rows["amount"].cast("float64") / rows["quantity"].cast("float64").nullif(0)).abs().round(4)
    return rows.mutate(
        quantity=quantity.cast(rows["quantity"].type()),
        amount=amount.cast(rows["amount"].type()),
        unit_price=ibis.coalesce(rows["unit_price"], price.try_cast(rows["unit_price"].type())),
    )


def _half_width(text: ir.StringValue) -> ir.StringValue:
    return text.translate(_FULL_WIDTH, _HALF_WIDTH)
