"""What is known of a person: of the values of all its records, the one that survives.

Belongs here: survivorship and provenance, now and as of a day. Not here: which records are one person
(`identity_persons.py`).
"""

from collections.abc import Sequence
from datetime import date

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.identity import PERSON_COLUMNS, PERSONS
from crm_assets.contracts.layers import EXPORT_DATE, SOURCE, VALID_FROM, VALID_TO
from crm_assets.mining.as_of_days import days_table

_NAMES = [column.name for column in PERSON_COLUMNS]


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
    rows = rows.mutate(person_id=ibis.coalesce(rows.person_id, rows.customer_id))
    best = _best(rows, source_priority)
    # One value of record, source and day: three columns picked apart could come from different rows.
    origin = ibis.struct(
        {"customer_id": rows.customer_id, "source": rows["_source"], "export_date": rows.seen_on.cast("string")}
    )
    persons = rows.group_by("person_id").agg(
        **_surviving(rows, best),
        **{f"_{name}": origin.first(where=rows[name].notnull(), order_by=best) for name in _NAMES},
        records=rows.count(),
        customer_ids=rows.customer_id.collect(order_by=rows.customer_id.asc()),
    )
    parts = [
        persons[f"_{name}"]
        .notnull()
        .ifelse(ibis.literal(f'"{name}": ') + _json(persons[f"_{name}"]), ibis.null("string"))
        for name in _NAMES
    ]
    provenance = ibis.literal("{") + ibis.literal(", ").join(parts) + "}"
    return persons.mutate(provenance=provenance).select(*PERSONS.by_name)


def surviving_versions(
    customers: ir.Table,
    members: ir.Table,
    deliveries: ir.Table,
    days: Sequence[date],
    source_priority: Sequence[str] = (),
) -> ir.Table:
    """What survived of each person on each of some days, by the versions and deliveries of that day.

    Args:
        customers: Versions of customer records.
        members: customer_id and person_id of every record of the persons wanted, as they are on all of the days.
        deliveries: Validated customers; records that were not delivered by a day count as at their first delivery, as
            their first version is valid from the beginning.
        days: The days.
        source_priority: Sources, the most trusted first.

    Returns:
        The columns of `customers`, with the person in `customer_id`; each row is valid on its one day.
    """
    grid = days_table(days)
    rows = customers.inner_join(members, "customer_id").cross_join(grid)
    until = rows[VALID_TO.name].isnull() | (rows[VALID_TO.name] > rows.as_of)
    rows = rows.filter(rows[VALID_FROM.name] <= rows.as_of, until)
    delivered = _delivered_by(deliveries.semi_join(members, "customer_id"), grid)
    rows = rows.left_join(delivered, ["as_of", "customer_id"]).drop("as_of_right", "customer_id_right")
    persons = rows.group_by("as_of", "person_id").agg(**_surviving(rows, _best(rows, source_priority)))
    versions = persons.mutate(
        customer_id=persons.person_id,
        **{VALID_FROM.name: persons.as_of, VALID_TO.name: (persons.as_of + ibis.interval(days=1)).cast("date")},
    )
    return versions.select(*customers.columns)


def _delivered_by(deliveries: ir.Table, grid: ir.Table) -> ir.Table:
    """Last export by each day of each customer, as seen_on, and its source."""
    rows = deliveries.select("customer_id", day=EXPORT_DATE.name, source=SOURCE.name).distinct()
    rows = rows.mutate(first_day=rows.day.min().over(ibis.window(group_by="customer_id"))).cross_join(grid)
    rows = rows.filter((rows.day <= rows.as_of) | (rows.day == rows.first_day))
    return rows.group_by("as_of", "customer_id").agg(
        seen_on=rows.day.max(), _source=rows.source.first(order_by=[rows.day.desc(), rows.source.asc()])
    )


def _best(rows: ir.Table, source_priority: Sequence[str]) -> list[ir.Value]:
    """Order of the records of a person, the one whose values survive first."""
    ranks = [(rows["_source"] == source, rank) for rank, source in enumerate(source_priority)]
    rank = ibis.cases(*ranks, else_=len(ranks)) if ranks else ibis.literal(0)
    return [rank.asc(), rows.seen_on.desc(), rows.customer_id.asc()]


def _surviving(rows: ir.Table, best: Sequence[ir.Value]) -> dict[str, ir.Value]:
    return {name: rows[name].first(where=rows[name].notnull(), order_by=best) for name in _NAMES}


def _json(origin: ir.StructValue) -> ir.StringValue:
    return origin.cast("json").cast("string")
