"""What is known of a person: of the values of all its records, the one that survives.

Belongs here: survivorship and provenance. Not here: which records are one person (`identity_persons.py`).
"""

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.identity import PERSON_COLUMNS, PERSONS
from crm_assets.contracts.layers import VALID_TO


def surviving_customers(
    customers: ir.Table, members: ir.Table, deliveries: ir.Table, source_priority: Sequence[str] = ()
) -> ir.Table:
    """One row per person with the surviving value of each field.

    Of the values that are not null, the one from the first source of `source_priority` survives; sources not named
    come last. Of equals the one whose record was delivered last survives, then that of the smallest identifier.

    Args:
        customers: Current customer records, one row each.
        members: `profile.identity_members`.
        deliveries: Of each customer: seen_on, the day of its last export, and its source.
        source_priority: Sources, the most trusted first.

    Returns:
        The columns of `PERSONS`.
    """
    current = members.filter(members[VALID_TO.name].isnull()).select("customer_id", "person_id")
    rows = customers.left_join(current, "customer_id").drop("customer_id_right")
    rows = rows.left_join(deliveries.select("customer_id", "seen_on", _source="source"), "customer_id")
    rows = rows.drop("customer_id_right")
    ranks = [(rows["_source"] == source, rank) for rank, source in enumerate(source_priority)]
    rank = ibis.cases(*ranks, else_=len(ranks)) if ranks else ibis.literal(0)
    rows = rows.mutate(person_id=ibis.coalesce(rows.person_id, rows.customer_id), _rank=rank)
    best = [rows["_rank"].asc(), rows.seen_on.desc(), rows.customer_id.asc()]
    # One value of record, source and day: three columns picked apart could come from different rows.
    origin = ibis.struct(
        {"customer_id": rows.customer_id, "source": rows["_source"], "export_date": rows.seen_on.cast("string")}
    )
    names = [column.name for column in PERSON_COLUMNS]
    persons = rows.group_by("person_id").agg(
        **{name: rows[name].first(where=rows[name].notnull(), order_by=best) for name in names},
        **{f"_{name}": origin.first(where=rows[name].notnull(), order_by=best) for name in names},
        records=rows.count(),
        customer_ids=rows.customer_id.collect(order_by=rows.customer_id.asc()),
    )
    parts = [
        persons[f"_{name}"]
        .notnull()
        .ifelse(ibis.literal(f'"{name}": ') + _json(persons[f"_{name}"]), ibis.null("string"))
        for name in names
    ]
    provenance = ibis.literal("{") + ibis.literal(", ").join(parts) + "}"
    return persons.mutate(provenance=provenance).select(*PERSONS.by_name)


def _json(origin: ir.StructValue) -> ir.StringValue:
    return origin.cast("json").cast("string")
