"""What customers do: sales, cohorts, repeat rates and the time between orders, as of the newest day with a sale.

Belongs here: assets that describe. Not here: how they are computed (`mining/behaviour_*.py`), why revenue moves
(`diagnosis.py`), what customers will do (`purchases.py`).
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.persons import MEMBERS
from crm_assets.contracts.behaviour import BEHAVIOUR_COHORTS, BEHAVIOUR_GAPS, BEHAVIOUR_REPEATS, BEHAVIOUR_SALES
from crm_assets.contracts.canonical import TRANSACTIONS
from crm_assets.contracts.features import CUSTOMER_DAYS as CUSTOMER_DAYS_OF_RECORDS
from crm_assets.contracts.model import Table
from crm_assets.contracts.registry import contract_of
from crm_assets.lake.io_manager import MADE_WITH
from crm_assets.lake.layout import Lake
from crm_assets.mining import sales_months
from crm_assets.mining.behaviour_cohorts import cohorts
from crm_assets.mining.behaviour_sales import Earlier, sales
from crm_assets.mining.persons import Persons

CUSTOMER_DAYS = dg.AssetIn(["profile", "customer_days"])


@dg.asset(
    key=["marts", BEHAVIOUR_SALES.name],
    ins={
        "transactions": dg.AssetIn(["clean", "transactions"]),
        "customer_days": CUSTOMER_DAYS,
        "products": dg.AssetIn(["clean", "products"]),
        "customers": dg.AssetIn(["profile", "customers_current"]),
        "identity_members": MEMBERS,
    },
    description=BEHAVIOUR_SALES.description,
)
def behaviour_sales(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    customer_days: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.Output[ir.Table]]:
    """Sales of every day, week and month up to the newest day with a sale.

    Periods before the first month that anything changed in since they were last made stay as they are.
    """
    # Looked at before anything is read: what is made anew meanwhile is found to be so the next time.
    made = sorted(
        (day, made_ns)
        for table in (("clean", TRANSACTIONS.name), ("profile", CUSTOMER_DAYS_OF_RECORDS.name))
        for (day,), made_ns in lake.written_ns(table[0], contract_of(*table)).items()
    )
    span, persons = span_of(transactions), Persons.of(identity_members)
    if span is None:
        yield nothing(context, BEHAVIOUR_SALES, "transactions")
        return
    told = sales_months.mattered(transactions, customer_days, products, persons.stand_on(span[1]))
    states = sales_months.states(made, lake.engine.batches(told))
    earlier = _earlier_sales(lake, states)
    if earlier:
        context.log.info("sales by channel and category before %s are as they were", earlier.since)
    with lake.engine.holding() as hold:
        rows = sales(
            persons.rows(transactions, span[1]),
            persons.rows(customer_days, span[1]),
            products,
            persons.rows(customers.select("customer_id", "region"), span[1]),
            *span,
            hold,
            earlier,
        )
        yield dg.Output(rows, metadata={"as of": str(span[1]), MADE_WITH: json.dumps(states)})


def _earlier_sales(lake: Lake, states: Mapping[str, str]) -> Earlier | None:
    """Sales that were added up before, as far as what they were added up from is as it was."""
    made_with = lake.note("marts", BEHAVIOUR_SALES)
    since = sales_months.changed_since(json.loads(made_with), states) if made_with else None
    return Earlier(lake.read("marts", BEHAVIOUR_SALES), since) if since else None


@dg.asset(
    key=["marts", BEHAVIOUR_COHORTS.name],
    ins={"customer_days": CUSTOMER_DAYS, "identity_members": MEMBERS},
    description=BEHAVIOUR_COHORTS.description,
)
def behaviour_cohorts(
    context: dg.AssetExecutionContext, customer_days: ir.Table, identity_members: ir.Table
) -> Iterator[dg.Output[ir.Table]]:
    """Retention and value of each monthly cohort up to the newest day with a sale."""
    from crm_assets.assets import behaviour_plots

    span = span_of(customer_days)
    if span is None:
        yield nothing(context, BEHAVIOUR_COHORTS, "transactions of customers")
        return
    rows = cohorts(_of_persons(customer_days, identity_members, span[1]), *span).to_pandas()
    drawn = behaviour_plots.cohort_retention(rows[rows["is_complete"]])
    found = ibis.memtable(rows, schema=BEHAVIOUR_COHORTS.schema)
    yield dg.Output(found, metadata={"as of": str(span[1]), "retention": dg.MetadataValue.md(drawn)})


@dg.asset(
    key=["marts", BEHAVIOUR_REPEATS.name],
    ins={"customer_days": CUSTOMER_DAYS, "identity_members": MEMBERS},
    description=BEHAVIOUR_REPEATS.description,
)
def behaviour_repeats(
    context: dg.AssetExecutionContext, customer_days: ir.Table, identity_members: ir.Table
) -> Iterator[dg.Output[ir.Table]]:
    """How soon customers placed their next orders, up to the newest day with a sale."""
    from crm_assets.assets import behaviour_plots
    from crm_assets.mining.behaviour_repeats import repeat_curves

    span = span_of(customer_days)
    if span is None:
        yield nothing(context, BEHAVIOUR_REPEATS, "transactions of customers")
        return
    rows = repeat_curves(_of_persons(customer_days, identity_members, span[1]), span[1])
    drawn = behaviour_plots.repeat_rates(rows)
    found = ibis.memtable(rows, schema=BEHAVIOUR_REPEATS.schema)
    yield dg.Output(found, metadata={"as of": str(span[1]), "repeat rates": dg.MetadataValue.md(drawn)})


@dg.asset(
    key=["marts", BEHAVIOUR_GAPS.name],
    ins={"customer_days": CUSTOMER_DAYS, "identity_members": MEMBERS},
    description=BEHAVIOUR_GAPS.description,
)
def behaviour_gaps(
    context: dg.AssetExecutionContext, customer_days: ir.Table, identity_members: ir.Table
) -> Iterator[dg.Output[ir.Table]]:
    """The days between orders, up to the newest day with a sale."""
    from crm_assets.mining.behaviour_repeats import order_gaps

    span = span_of(customer_days)
    if span is None:
        yield nothing(context, BEHAVIOUR_GAPS, "transactions of customers")
        return
    rows = order_gaps(_of_persons(customer_days, identity_members, span[1]), span[1])
    yield dg.Output(ibis.memtable(rows, schema=BEHAVIOUR_GAPS.schema), metadata={"as of": str(span[1])})


def span_of(events: ir.Table) -> tuple[date, date] | None:
    """First and last day of some events; None without any."""
    found = events.agg(first=events.day.min(), last=events.day.max()).to_pyarrow().to_pylist()[0]
    return None if found["last"] is None else (found["first"], found["last"])


def _of_persons(customer_days: ir.Table, identity_members: ir.Table, day: date) -> ir.Table:
    """What cohorts and gaps read, by the persons of a day."""
    return Persons.of(identity_members).rows(customer_days.select("day", "customer_id", "orders", "amount"), day)


def nothing(context: dg.AssetExecutionContext, contract: Table, what: str) -> dg.Output[ir.Table]:
    """No rows, and a line in the log that says what is missing."""
    context.log.warning("%s: needs %s: 0 rows", contract.name.replace("_", " "), what)
    return dg.Output(ibis.memtable([], schema=contract.schema))


behaviour_assets = [behaviour_sales, behaviour_cohorts, behaviour_repeats, behaviour_gaps]
