"""Sales to come: how each series is forecast in a month, and the forecasts of a day.

Belongs here: reading, calling, returning. Not here: series (`mining/sales_series.py`) or forecasts (`mining/forecast.py`).
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.clean import every_delivery
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.behaviour import TOTAL
from crm_assets.contracts.canonical import CAMPAIGNS
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.forecast import MONTH, REVENUE, SALES_FORECAST, WEEK
from crm_assets.lake.functions import local_day
from crm_assets.lake.models import StoredModel
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_DAY, days, month_of, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

MODEL = "forecaster"


def _inputs(mapping: dg.PartitionMapping) -> dict[str, dg.AssetIn]:
    return {
        "transactions": dg.AssetIn(["clean", "transactions"], partition_mapping=mapping),
        "products": dg.AssetIn(["clean", "products"]),
        "customers": dg.AssetIn(["clean", "customers"]),
        "campaigns": dg.AssetIn(["clean", CAMPAIGNS.name]),
        "told_campaigns": every_delivery(CAMPAIGNS),
    }


@dg.multi_asset(
    name="forecaster_model",
    ins=_inputs(BEFORE_THE_MONTH),
    outs={
        "model": dg.AssetOut(
            key=["models", MODEL],
            io_manager_key="model_io_manager",
            description="How each series of sales is forecast: the champion by its errors from earlier origins.",
        ),
        "leaderboard": dg.AssetOut(key=["quality", "leaderboard_forecast"], description=MODEL_LEADERBOARD.description),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def forecaster_model(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    campaigns: ir.Table,
    told_campaigns: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[object]]:
    """The champion of each series of a month, beside repeating the last period."""
    import pandas as pd

    from crm_assets.mining.forecast import choose_forecasters
    from crm_assets.mining.sales_series import sales_by_day

    models, boards = {}, []
    dated = _dated(campaigns, told_campaigns, settings)
    for month in run_days(context):
        sales = sales_by_day(transactions, products, customers, month - timedelta(days=1)).to_pandas()
        first_day = sales["day"].min().date() if len(sales) else month
        model, board, message = choose_forecasters(
            sales, first_day, month, _horizons(settings), settings.forecast_parts, settings.seed, dated
        )
        context.log.info("forecaster for %s: %s", month, message)
        card = model.card if model else {"model": MODEL, "needs": message}
        models[month.isoformat()] = StoredModel(model.to_document() if model else None, card)
        boards.append(board.assign(month=month))
    figures = boards[-1].drop(columns=["month", "trained_for", "metric"]).to_markdown(index=False, floatfmt=".3f")
    yield dg.Output(models, "model", metadata={"choice": message, "MASE": dg.MetadataValue.md(figures)})
    yield dg.Output(pd.concat(boards), "leaderboard")


@dg.asset(
    key=["marts", SALES_FORECAST.name],
    ins={**_inputs(UP_TO_THE_DAY), "models": dg.AssetIn(["models", MODEL])},
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=SALES_FORECAST.description,
)
def sales_forecast(
    context: dg.AssetExecutionContext,
    transactions: ir.Table,
    products: ir.Table,
    customers: ir.Table,
    campaigns: ir.Table,
    told_campaigns: ir.Table,
    models: dict[str, StoredModel],
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """Revenue and orders of the weeks and months after a day, by the champions of its month."""
    import pandas as pd

    from crm_assets.assets import behaviour_plots
    from crm_assets.mining.forecast import ForecastModel, forecast_sales, series_name
    from crm_assets.mining.sales_series import sales_by_day, whole_periods

    found = []
    dated = _dated(campaigns, told_campaigns, settings)
    for as_of in run_days(context):
        stored = models.get(month_of(as_of).isoformat(), StoredModel(None, {"needs": f"needs one of {as_of:%Y-%m}"}))
        if stored.document is None:
            context.log.warning("sales forecast as of %s: %s", as_of, stored.card.get("needs"))
            continue
        model = ForecastModel.from_document(stored.document)
        sales = sales_by_day(transactions, products, customers, as_of).to_pandas()
        first_day = sales["day"].min().date()
        found.append(forecast_sales(model, sales, first_day, as_of, _horizons(settings), dated))
        key = REVENUE, WEEK, TOTAL, "all"
        past = whole_periods(sales, {TOTAL: ["all"]}, first_day, as_of).get(key)
        ahead = found[-1][found[-1]["series"] == series_name(key)]
        if past is not None and len(ahead):
            drawn = behaviour_plots.sales_to_come(past, ahead)
            context.add_output_metadata({"weekly revenue": dg.MetadataValue.md(drawn)})
    return ibis.memtable(pd.concat(found) if found else [], schema=SALES_FORECAST.schema)


def _dated(campaigns: ir.Table, told_campaigns: ir.Table, settings: Settings) -> "pd.DataFrame":
    """When campaigns run, in the workspace's time zone, and since when that is known."""
    from crm_assets.mining.sales_series import dated_campaigns

    days = {
        name: local_day(campaigns[moment], settings.timezone)
        for name, moment in (("first_day", "start_at"), ("last_day", "end_at"))
    }
    return dated_campaigns(campaigns.mutate(**days), told_campaigns).to_pandas()


def _horizons(settings: Settings) -> dict[str, int]:
    return {WEEK: settings.forecast_weeks, MONTH: settings.forecast_months}


forecast_assets = [forecaster_model, sales_forecast]
