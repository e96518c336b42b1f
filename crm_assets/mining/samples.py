"""What models and rules learn from: at most so many customers or baskets, the same ones each time and on every engine.

Belongs here: drawing them, and columns as the numbers models read. Not here: which rows a model needs
(`churn.py`, `clustering.py`).
"""

from collections.abc import Sequence
from datetime import date

import ibis
import ibis.expr.types as ir

from crm_assets.mining.as_of_days import union

_CUSTOMER = "customer_id"

_DIGITS = 8
"""Hexadecimal digits of a digest that say whether a key is drawn."""


def digest(texts: Sequence[ir.StringValue], seed: int | None = None) -> ir.StringValue:
    """A digest of some texts, which spreads rows evenly and is the same on every engine, as hashes are not."""
    given = [text.fill_null("") for text in texts]
    return ibis.literal("\x1f").join([ibis.literal(str(seed)), *given] if seed is not None else given).hexdigest("md5")


def sample_customers(rows: ir.Table, most: int, seed: int) -> ir.Table:
    """The rows of at most `most` customers.

    Customers are drawn by a digest of their identifier, so that whoever is drawn for one day is drawn for others as long
    as there are as many customers, and more rows of a customer change nothing.

    Args:
        rows: Any table with `customer_id`.
        most: Most customers.
        seed: Other seeds draw other customers.

    Returns:
        All rows of those drawn; `rows` itself where no customer is left out.
    """
    customers = rows.select(_CUSTOMER).distinct()
    if customers.limit(most + 1).count().to_pyarrow().as_py() <= most:
        return rows
    drawn = customers.mutate(_digest=digest([customers[_CUSTOMER]], seed)).order_by("_digest", _CUSTOMER).limit(most)
    return rows.semi_join(drawn.select(_CUSTOMER), _CUSTOMER)


def about(rows: ir.Table, key: str, most: int, seed: int) -> tuple[ir.Table, float]:
    """The rows of about `most` keys, where there are more.

    A key is drawn where its digest is low enough, which takes no sorting and no join.

    Args:
        rows: Any table with the key, such as order lines with their basket.
        key: The column; rows without one are never left out.
        most: Keys to draw, about.
        seed: Other seeds draw other keys.

    Returns:
        All rows of those drawn, and the share of keys that were; `rows` itself and 1 where no key is left out.
    """
    if rows.limit(most + 1).count().to_pyarrow().as_py() <= most:
        return rows, 1.0
    keys = rows[key].nunique().to_pyarrow().as_py()
    if keys <= most:
        return rows, 1.0
    least = f"{int(most / keys * 16**_DIGITS):0{_DIGITS}x}"
    return rows.filter(rows[key].isnull() | (digest([rows[key]], seed).left(_DIGITS) < least)), most / keys


def drawn_by_day(first_seen: ir.Table, as_of_days: Sequence[date], most: int, seed: int) -> ir.Table:
    """On each of some days, at most `most` of the customers that are known by then.

    Each day draws for itself, so that other days change nothing; since customers are drawn by the same digest, most of
    those of one day are drawn on the next one too.

    Args:
        first_seen: One row per customer: customer_id and `day`, the first day it is known on.
        as_of_days: The days.
        most: Most customers of a day.
        seed: Other seeds draw other customers.

    Returns:
        One row per day and customer drawn: as_of, customer_id.
    """
    ranked = first_seen.mutate(_digest=digest([first_seen[_CUSTOMER]], seed))
    days = []
    for as_of in sorted(set(as_of_days)):
        known = ranked.filter(ranked["day"] <= ibis.literal(as_of))
        days.append(known.order_by("_digest", _CUSTOMER).limit(most).select(_CUSTOMER, as_of=ibis.literal(as_of)))
    return union(days).select("as_of", _CUSTOMER)


def bounded(rows: ir.Table, most: int, rows_a_customer: int, seed: int) -> ir.Table:
    """The rows, or where these are more than `most`, those of so many customers that they are not.

    Args:
        rows: Any table with `customer_id`.
        most: Most rows.
        rows_a_customer: Most rows that a customer has.
        seed: Other seeds draw other customers.
    """
    if rows.limit(most + 1).count().to_pyarrow().as_py() <= most:
        return rows
    return sample_customers(rows, max(1, most // rows_a_customer), seed)


def as_floats(rows: ir.Table, columns: Sequence[str]) -> dict[str, ir.Value]:
    """Columns as models read them, whatever numbers they are: decimals are slow to fetch one by one."""
    return {name: rows[name].cast("float64") for name in columns}
