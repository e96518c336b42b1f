"""What the sales of each month were added up from, so that a month nothing touched is not added up again.

Belongs here: what tells one state of a month from another, and the first month that is not as it was. Not here: adding up
(`behaviour_sales.py`).

Sales of a month by channel and category depend on its order lines, on the categories of its products, and on which of its
customers are one person and had ordered before. Each is counted to the first month that it can matter in.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.behaviour import BEHAVIOUR_SALES
from crm_assets.mining.as_of_days import union
from crm_assets.mining.behaviour_sales import newest_categories

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "2"
"""Another one where sales are added up in another way than before."""


def mattered(transactions: ir.Table, customer_days: ir.Table, products: ir.Table, others: ir.Table | None) -> ir.Table:
    """What sales depend on besides order lines, by the first month it matters in.

    Args:
        transactions: Clean order lines, by record.
        customer_days: What each record of a customer did on each day.
        products: Product versions.
        others: customer_id and person_id of records that stand for another one; None where there are none.

    Returns:
        month, what, value, in this order: products with their category, since they were first sold; and records with
        the record of the same person that ordered first, since they ordered first.
    """
    sold = transactions.group_by("product_id").agg(since=transactions.day.min())
    named = newest_categories(products)
    rows = sold.left_join(named, "product_id")
    found = [rows.select(month=rows.since.truncate("M"), what=rows.product_id, value=rows.category)]
    if others is not None:
        found.append(_followers(customer_days, others))
    return union(found).order_by("month", "what", "value")


def states(made: Iterable[tuple[str, int]], told: "Iterable[pa.Table]") -> dict[str, str]:
    """What tells the state of each month from another.

    Args:
        made: Days as text, and when what is read of them was made; each day several times, in order.
        told: Rows of `mattered`, part by part.

    Returns:
        A digest by month, such as ``2024-02``.
    """
    # Rows with other columns than now are none to keep.
    months: defaultdict[str, Any] = defaultdict(lambda: hashlib.md5(f"{VERSION} {BEHAVIOUR_SALES.schema}".encode()))
    for day, made_ns in made:
        months[day[:7]].update(f"{day} {made_ns}\n".encode())
    for part in told:
        for row in part.to_pylist():
            months[str(row["month"])[:7]].update(f"{row['what']!r} {row['value']!r}\n".encode())
    return {month: digest.hexdigest() for month, digest in sorted(months.items())}


def changed_since(before: Mapping[str, str], now: Mapping[str, str]) -> date | None:
    """First day of the first month whose state changed, or else of the newest one; None where no month stays."""
    months = sorted(before.keys() | now.keys())
    kept = list(takewhile(lambda month: before.get(month) == now.get(month), months[:-1]))
    return date.fromisoformat(f"{months[len(kept)]}-01") if kept else None


def _followers(customer_days: ir.Table, others: ir.Table) -> ir.Table:
    """Records that ordered later than another one of the same person, with the one that ordered first.

    A person is one customer under whatever name; what matters is that two records are not two customers.
    """
    ordered = customer_days.filter(customer_days.orders > 0)
    first = ordered.group_by("customer_id").agg(since=ordered.day.min())
    persons = first.left_join(others, "customer_id", rname="{name}_of_other")
    persons = persons.mutate(person_id=ibis.coalesce(persons.person_id, persons.customer_id))
    in_order = ibis.window(group_by="person_id", order_by=["since", "customer_id"])
    ranked = persons.mutate(leader=persons.customer_id.first().over(in_order))
    followers = ranked.filter(ranked.customer_id != ranked.leader)
    return followers.select(month=followers.since.truncate("M"), what=followers.customer_id, value=followers.leader)
