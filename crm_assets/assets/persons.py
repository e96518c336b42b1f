"""What assets need to count persons instead of records.

Belongs here: the inputs, and features by person. Not here: finding persons (`identity.py`), mapping rows to them
(`mining/persons.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.clean import every_delivery
from crm_assets.contracts.canonical import CUSTOMERS
from crm_assets.contracts.identity import IDENTITY_MEMBERS
from crm_assets.contracts.layers import VALID_FROM
from crm_assets.lake.layout import Lake
from crm_assets.mining.as_of_days import Hold, union
from crm_assets.mining.features import customer_features
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import drawn_by_day
from crm_assets.settings import Settings

MEMBERS = dg.AssetIn(["profile", IDENTITY_MEMBERS.name])
"""Who each record stands for; not partitioned, since memberships know their days."""

DELIVERED_CUSTOMERS = every_delivery(CUSTOMERS)
"""When and by which source each record was delivered, which says whose values survive."""


@dataclass(frozen=True)
class FeatureInputs:
    """What features of persons are built from, by record: the inputs of the assets and who stands for whom."""

    customer_days: ir.Table
    transactions: ir.Table
    products: ir.Table
    customers: ir.Table
    campaign_contacts: ir.Table
    identity_members: ir.Table
    delivered_customers: ir.Table


@contextmanager
def features_of_persons(
    lake: Lake, inputs: FeatureInputs, as_of_days: Sequence[date], settings: Settings, most: int | None = None
) -> Iterator[ir.Table]:
    """Features of the persons of some days; what they are built from is kept in the engine until they are written.

    Args:
        lake: The lake.
        inputs: What they are built from.
        as_of_days: Last days seen.
        settings: Whose values of a person survive, and the seed.
        most: Most persons of a day, drawn by digest; None for all of them.
    """
    persons = Persons.of(inputs.identity_members)
    groups = persons.groups(as_of_days)
    with ExitStack() as kept:
        if len(groups) == 1:
            yield _features(lake, inputs, persons, groups[0], settings, most, kept)
            return
        parts = []
        for days in groups:
            # Only the rows of each group are kept, so that memory does not grow with their number.
            with ExitStack() as used:
                rows = _features(lake, inputs, persons, days, settings, most, used)
                parts.append(kept.enter_context(lake.engine.held(rows)))
        yield union(parts)


def _features(
    lake: Lake,
    inputs: FeatureInputs,
    persons: Persons,
    days: Sequence[date],
    settings: Settings,
    most: int | None,
    used: ExitStack,
) -> ir.Table:
    def hold(table: ir.Table) -> ir.Table:
        return used.enter_context(lake.engine.held(table))

    customers = persons.customers(inputs.customers, inputs.delivered_customers, days, settings.source_priority)
    if customers is not inputs.customers:
        customers = hold(customers)
    customer_days = persons.customer_days(inputs.customer_days, days[0])
    transactions = persons.rows(inputs.transactions, days[0])
    contacts = persons.contacts(inputs.campaign_contacts, days[0])
    drawn = _drawn(customer_days, contacts, customers, days, settings.seed, most, hold) if most else None
    if drawn is None:
        return customer_features(customer_days, transactions, inputs.products, customers, contacts, days, hold)
    ever = hold(drawn.select("customer_id").distinct())
    rows = customer_features(
        customer_days.semi_join(ever, "customer_id"),
        transactions.semi_join(ever, "customer_id"),
        inputs.products,
        customers.semi_join(ever, "customer_id"),
        contacts.semi_join(ever, "customer_id"),
        days,
        hold,
    )
    return rows.semi_join(drawn, ["as_of", "customer_id"]).order_by("as_of", "customer_id")


def _drawn(
    customer_days: ir.Table,
    contacts: ir.Table,
    customers: ir.Table,
    days: Sequence[date],
    seed: int,
    most: int,
    hold: Hold,
) -> ir.Table | None:
    """Whom each day draws; None where all that are known are few enough."""
    dated = [rows.select("customer_id", rows["day"].cast("date").name("day")) for rows in (customer_days, contacts)]
    seen = union([*dated, customers.select("customer_id", day=VALID_FROM.name)])
    first_seen = hold(seen.group_by("customer_id").aggregate(day=seen.day.min()))
    if first_seen.count().to_pyarrow().as_py() <= most:
        return None
    return hold(drawn_by_day(first_seen, days, most, seed))
