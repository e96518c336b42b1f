"""What assets need to count persons instead of records.

Belongs here: the inputs, and features by person. Not here: finding persons (`identity.py`), mapping rows to them
(`mining/persons.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.clean import every_delivery
from crm_assets.contracts.canonical import CUSTOMERS
from crm_assets.contracts.identity import IDENTITY_MEMBERS
from crm_assets.contracts.layers import VALID_FROM
from crm_assets.lake.layout import Lake
from crm_assets.mining.as_of_days import Hold, as_of_chunks, union
from crm_assets.mining.features import customer_features
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import drawn_by_day
from crm_assets.settings import Settings

MEMBERS = dg.AssetIn(["profile", IDENTITY_MEMBERS.name])
"""Who each record stands for; not partitioned, since memberships know their days."""

DELIVERED_CUSTOMERS = every_delivery(CUSTOMERS)
"""When and by which source each record was delivered, which says whose values survive."""

LINE_COLUMNS = ("customer_id", "product_id", "day", "amount", "is_return")
"""What features read of order lines."""

CUSTOMER_DAYS_AT_ONCE = 100_000
"""Most rows of features that are computed together, which keeps them within 1 GB."""


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
    with ExitStack() as kept:
        parts = []
        for days in persons.groups(as_of_days):
            of_group = kept.enter_context(ExitStack())
            hold = of_group.enter_context(lake.engine.holding())
            tables = _of_persons(inputs, persons, days, settings, most, hold)
            chunks = list(as_of_chunks(days, tables.days_at_once))
            if len(chunks) == 1 and len(days) == len(set(as_of_days)):
                yield tables.features(days, hold)
                return
            for chunk in chunks:
                # Only the rows of each chunk are kept, so that memory does not grow with their number.
                with lake.engine.holding() as used:
                    parts.append(kept.enter_context(lake.engine.held(tables.features(chunk, used))))
            of_group.close()
        yield union(parts)


@dataclass(frozen=True)
class _PersonTables:
    """What features of a group of days are built from, by person; whom each day draws, where it draws at all."""

    customer_days: ir.Table
    transactions: ir.Table
    products: ir.Table
    customers: ir.Table
    contacts: ir.Table
    drawn: ir.Table | None
    days_at_once: int

    def features(self, days: Sequence[date], hold: Hold) -> ir.Table:
        """Features of some days; `hold` keeps what they are built from."""
        rows = customer_features(
            self.customer_days, self.transactions, self.products, self.customers, self.contacts, days, hold
        )
        if self.drawn is None:
            return rows
        return rows.semi_join(self.drawn, ["as_of", "customer_id"]).order_by("as_of", "customer_id")


def _of_persons(
    inputs: FeatureInputs,
    persons: Persons,
    days: Sequence[date],
    settings: Settings,
    most: int | None,
    hold: Hold,
) -> _PersonTables:
    """The inputs by person, of those drawn if there are more than `most`."""
    customers = persons.customers(inputs.customers, inputs.delivered_customers, days, settings.source_priority)
    if customers is not inputs.customers:
        customers = hold(customers)
    customer_days = persons.customer_days(inputs.customer_days, days[0])
    transactions = persons.rows(inputs.transactions, days[0])
    contacts = persons.contacts(inputs.campaign_contacts, days[0])
    tables = _PersonTables(customer_days, transactions, inputs.products, customers, contacts, None, 1)
    if len(days) == 1 and most is None:
        return tables
    first_seen = hold(_first_seen(customer_days, contacts, customers))
    known = first_seen.count().to_pyarrow().as_py()
    counted = min(known, most) if most else known
    tables = replace(tables, days_at_once=max(1, CUSTOMER_DAYS_AT_ONCE // max(1, counted)))
    if counted == known:
        return tables
    drawn = hold(drawn_by_day(first_seen, days, counted, settings.seed))
    ever = hold(drawn.select("customer_id").distinct())
    return replace(
        tables,
        customer_days=hold(customer_days.semi_join(ever, "customer_id")),
        transactions=hold(transactions.semi_join(ever, "customer_id").select(LINE_COLUMNS)),
        customers=customers.semi_join(ever, "customer_id"),
        contacts=contacts.semi_join(ever, "customer_id"),
        drawn=drawn,
    )


def _first_seen(customer_days: ir.Table, contacts: ir.Table, customers: ir.Table) -> ir.Table:
    """The first day that each customer is known on: it ordered, was contacted, or has a version."""
    dated = [rows.select("customer_id", rows["day"].cast("date").name("day")) for rows in (customer_days, contacts)]
    seen = union([*dated, customers.select("customer_id", day=VALID_FROM.name)])
    return seen.group_by("customer_id").aggregate(day=seen.day.min())
