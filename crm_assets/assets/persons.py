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
from crm_assets.lake.layout import Lake
from crm_assets.mining.as_of_days import union
from crm_assets.mining.features import customer_features
from crm_assets.mining.persons import Persons

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
    lake: Lake, inputs: FeatureInputs, as_of_days: Sequence[date], source_priority: Sequence[str]
) -> Iterator[ir.Table]:
    """Features of the persons of some days; what they are built from is kept in the engine until they are written."""
    persons = Persons.of(inputs.identity_members)
    groups = persons.groups(as_of_days)
    with ExitStack() as kept:
        if len(groups) == 1:
            yield _features(lake, inputs, persons, groups[0], source_priority, kept)
            return
        parts = []
        for days in groups:
            # Only the rows of each group are kept, so that memory does not grow with their number.
            with ExitStack() as used:
                rows = _features(lake, inputs, persons, days, source_priority, used)
                parts.append(kept.enter_context(lake.engine.held(rows)))
        yield union(parts)


def _features(
    lake: Lake,
    inputs: FeatureInputs,
    persons: Persons,
    days: Sequence[date],
    source_priority: Sequence[str],
    used: ExitStack,
) -> ir.Table:
    def hold(table: ir.Table) -> ir.Table:
        return used.enter_context(lake.engine.held(table))

    customers = persons.customers(inputs.customers, inputs.delivered_customers, days, source_priority)
    return customer_features(
        persons.customer_days(inputs.customer_days, days[0]),
        persons.rows(inputs.transactions, days[0]),
        inputs.products,
        customers if customers is inputs.customers else hold(customers),
        persons.contacts(inputs.campaign_contacts, days[0]),
        days,
        hold,
    )
