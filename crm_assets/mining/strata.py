"""Strata of customers, and a stratified sample of them.

Belongs here: strata by chosen fields, quotas, and who is drawn. Not here: the fields (`customer_dimensions.py`,
`segments.py`).

Source: Cochran, Sampling Techniques (1977): proportional allocation, and weights of N / n.
"""

from collections.abc import Mapping, Sequence

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.segmentation import CUSTOMER_STRATA
from crm_assets.mining.samples import digest

SEPARATOR = " / "
UNKNOWN = "unknown"
"""Level of a customer without a value."""


def with_strata(customers: ir.Table, fields: Sequence[str]) -> ir.Table:
    """Customers with the stratum each is in.

    Args:
        customers: as_of, customer_id and the fields.
        fields: columns whose values make a stratum; one stratum of everyone without any.

    Returns:
        as_of, customer_id, stratum.

    Raises:
        ValueError: a field is no column.
    """
    missing = [field for field in fields if field not in customers.columns]
    if missing:
        known = [name for name in customers.columns if name not in ("as_of", "customer_id")]
        raise ValueError(
            f"strata_fields names {missing[0]!r}, which customers do not have. Choose of: {', '.join(known)}"
        )
    levels = [customers[field].cast("string").fill_null(UNKNOWN) for field in fields]
    stratum = ibis.literal(SEPARATOR).join(levels) if levels else ibis.literal("everyone")
    return customers.select("as_of", "customer_id", stratum=stratum)


def allocate(sizes: Mapping[str, int], sample: int, quotas: Mapping[str, int]) -> dict[str, int]:
    """How many customers to draw from each stratum.

    Quotas that are given are kept, as far as there are so many customers. What is left of the sample goes to the other
    strata in proportion to their size, by largest remainder (ties to the name first in order), with at least one for each
    where it suffices.

    Args:
        sizes: customers by stratum.
        sample: customers to draw in all.
        quotas: customers to draw by stratum, which win over `sample`.
    """
    drawn = {name: min(quotas[name], size) for name, size in sizes.items() if name in quotas}
    others = {name: sizes[name] for name in sorted(sizes) if name not in quotas}
    left = min(max(0, sample - sum(drawn.values())), sum(others.values()))
    least = 1 if left >= len(others) else 0
    rest = left - least * len(others)
    total = sum(size - least for size in others.values())
    exact = {name: rest * (size - least) / total if total else 0.0 for name, size in others.items()}
    drawn |= {name: least + int(exact[name]) for name in others}
    remainders = sorted(others, key=lambda name: (-(exact[name] - int(exact[name])), name))
    for name in remainders[: left - sum(drawn[name] for name in others)]:
        drawn[name] += 1
    return drawn


def draw_strata(strata: ir.Table, quotas: Mapping[str, int], seed: int) -> ir.Table:
    """Who is drawn from each stratum: those whose digest comes first, the same ones each time.

    Args:
        strata: as from `with_strata`, of one day.
        quotas: customers to draw by stratum, as from `allocate`.
        seed: other seeds draw others.

    Returns:
        Rows of `contracts.segmentation.CUSTOMER_STRATA`, by customer_id.
    """
    asked = ibis.memtable(
        {"stratum": list(quotas), "quota": list(quotas.values())}, schema={"stratum": "string", "quota": "int64"}
    )
    rows = strata.mutate(_digest=digest([strata.customer_id], seed)).left_join(asked, "stratum").drop("stratum_right")
    within = ibis.window(group_by="stratum", order_by=["_digest", "customer_id"])
    placed = rows.select(
        "as_of",
        "customer_id",
        "stratum",
        stratum_customers=rows.count().over(ibis.window(group_by="stratum")),
        quota=rows.quota.fill_null(0),
        place=ibis.row_number().over(within),
    )
    is_sampled = placed.place < placed.quota
    weight = placed.stratum_customers.cast("float64") / placed.quota.cast("float64").nullif(0.0)
    found = placed.mutate(is_sampled=is_sampled, weight=is_sampled.ifelse(weight, ibis.null("float64")))
    return found.select(*CUSTOMER_STRATA.by_name).order_by("customer_id")
