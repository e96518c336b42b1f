"""Which contracts end soon: the model of a month and the mart of a day.

Belongs here: reading, calling, returning. Not here: how it is told (`mining/subscription_churn.py`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.clean import every_delivery
from crm_assets.assets.models import card_metadata, previous_model
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.assets.scoring import scored
from crm_assets.assets.touched import full_exports
from crm_assets.contracts.canonical import SUBSCRIPTIONS
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.subscriptions import SUBSCRIPTION_CHURN_SCORES
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.as_of_days import union
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import bounded, sample_customers
from crm_assets.mining.subscriptions import contract_versions, label_days, running_subscriptions
from crm_assets.mining.truth import FullExports
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_DAY, days, month_of, months
from crm_assets.settings import Settings
from crm_assets.sources.mapping import read_sources

if TYPE_CHECKING:
    import pyarrow as pa

MODEL = "subscription_churn"

_TABLES = ("subscriptions", "delivered", "customers", "customer_days", "identity_members")


def contract_inputs(mapping: dg.PartitionMapping) -> dict[str, dg.AssetIn]:
    """What contracts are looked at with, by `contracts_told`."""
    return {
        "subscriptions": dg.AssetIn(["clean", "subscriptions"], partition_mapping=mapping),
        "delivered": every_delivery(SUBSCRIPTIONS),
        "customers": dg.AssetIn(["clean", "customers"]),
        "customer_days": dg.AssetIn(["profile", "customer_days"], partition_mapping=mapping),
        "identity_members": MEMBERS,
    }


@dg.multi_asset(
    name="subscription_churn_model",
    ins=contract_inputs(BEFORE_THE_MONTH),
    outs={
        "model": dg.AssetOut(
            key=["models", MODEL],
            io_manager_key="model_io_manager",
            description="Which contracts end within the horizon: the champion of the month and its card.",
        ),
        "leaderboard": dg.AssetOut(key=["quality", f"leaderboard_{MODEL}"], description=MODEL_LEADERBOARD.description),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def subscription_churn_model(
    context: dg.AssetExecutionContext,
    subscriptions: ir.Table,
    delivered: ir.Table,
    customers: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.Output[object]]:
    """The model of contracts of a month, trained on labels that had ended before it, beside its baselines."""
    import pandas as pd

    from crm_assets.mining.churn_training import without_model
    from crm_assets.mining.subscription_churn import train_subscription_churn

    horizon, seed = settings.subscription_horizon_days, settings.seed
    first_end = subscriptions.ended_at.date().min().to_pyarrow().as_py()
    models: dict[str, StoredModel] = {}
    boards = []
    tables = subscriptions, delivered, customers, customer_days, identity_members
    with contracts_told(lake, settings, tables) as contracts:
        for month in run_days(context):
            wanted = label_days(month, first_end, horizon) if first_end else []
            trained = without_model("needs contracts that ended: 0 rows", MODEL)
            if wanted:
                rows = bounded(contracts.running(wanted), settings.training_rows, len(wanted), seed)
                trained = train_subscription_churn(
                    rows.to_pandas(),
                    month,
                    known=contracts.as_known_by(wanted[-1], seed).to_pandas(),
                    previous=previous_model(models, MODEL, month, settings),
                    horizon_days=horizon,
                    screening_rows=settings.screening_rows,
                    seed=seed,
                    threads=settings.threads,
                )
            context.log.info("subscription churn model for %s: %s", month, trained.message)
            document = trained.model.to_document() if trained.model else None
            models[month.isoformat()] = StoredModel(document, trained.card)
            boards.append(trained.leaderboard.assign(trained_for=month, month=month))
    yield dg.Output(models, "model", metadata={"choice": trained.message, **card_metadata(trained.card)})
    yield dg.Output(pd.concat(boards), "leaderboard")


@dg.asset(
    key=["marts", SUBSCRIPTION_CHURN_SCORES.name],
    ins={**contract_inputs(UP_TO_THE_DAY), "models": dg.AssetIn(["models", MODEL])},
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=SUBSCRIPTION_CHURN_SCORES.description,
)
def subscription_churn_scores(
    context: dg.AssetExecutionContext,
    subscriptions: ir.Table,
    delivered: ir.Table,
    customers: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    models: dict[str, StoredModel],
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.Output[ir.Table]]:
    """How likely each running contract is to end, scored by the newest model trained before the day."""
    tables = subscriptions, delivered, customers, customer_days, identity_members
    with (
        contracts_told(lake, settings, tables) as contracts,
        lake.collected(SUBSCRIPTION_CHURN_SCORES.schema, _scores(context, lake, contracts, models, settings)) as rows,
    ):
        yield dg.Output(rows)


def _scores(
    context: dg.AssetExecutionContext,
    lake: Lake,
    contracts: "Contracts",
    models: Mapping[str, StoredModel],
    settings: Settings,
) -> "Iterator[pa.Table]":
    """Scores of the run's days, batch by batch."""
    from crm_assets.mining.churn import ChurnModel
    from crm_assets.mining.subscription_churn import score_subscriptions

    types = SUBSCRIPTION_CHURN_SCORES.schema.to_pyarrow()
    for as_of in run_days(context):
        needs = {"needs": f"needs a model of contracts for {as_of:%Y-%m}"}
        stored = models.get(month_of(as_of).isoformat(), StoredModel(None, needs))
        if stored.document is None:
            context.log.info("subscription churn scores of %s: %s", as_of, stored.card.get("needs"))
            continue
        model = ChurnModel.from_document(stored.document)
        running = contracts.running([as_of])
        yield from scored(lake, running, partial(score_subscriptions, model), types, settings.threads)


@dataclass(frozen=True)
class Contracts:
    """What is known of contracts, by record."""

    subscriptions: ir.Table
    delivered: ir.Table
    customers: ir.Table
    customer_days: ir.Table
    identity_members: ir.Table
    full_exports: FullExports
    versions: ir.Table
    horizon_days: int

    def running(self, wanted: list[date]) -> ir.Table:
        """Contracts that run on each day, of the persons of the day."""
        persons = Persons.of(self.identity_members)
        recorded = self.subscriptions.mutate(record_id=self.subscriptions.customer_id)
        parts = [
            running_subscriptions(
                persons.rows(recorded, group[0]),
                self.customers,
                persons.customer_days(self.customer_days, group[0]),
                group,
                self.horizon_days,
                self.versions,
            )
            for group in persons.groups(wanted)
        ]
        return union(parts).order_by(["as_of", "subscription_id"])

    def as_known_by(self, as_of: date, seed: int) -> ir.Table:
        """Some of the contracts that run on a day and were delivered by then, by tables with nothing from after it."""
        from crm_assets.mining.look_ahead import SAMPLE, known_by

        tables = {name: known_by(getattr(self, name), as_of) for name in _TABLES}
        full = {source: [day for day in dates if day <= as_of] for source, dates in self.full_exports.items()}
        cut = replace(self, **tables, full_exports=full, versions=contract_versions(tables["delivered"], full))
        known = cut.running([as_of]).semi_join(cut.delivered, "subscription_id")
        return sample_customers(known, SAMPLE, seed)


@contextmanager
def contracts_told(
    lake: Lake, settings: Settings, tables: tuple[ir.Table, ir.Table, ir.Table, ir.Table, ir.Table]
) -> Iterator[Contracts]:
    """Contracts with their versions, which every day reads, kept in the engine."""
    full = full_exports(lake, read_sources(settings.sources), SUBSCRIPTIONS)
    _, delivered, *_ = tables
    with lake.engine.held(contract_versions(delivered, full)) as versions:
        yield Contracts(*tables, full, versions, settings.subscription_horizon_days)


subscription_assets = [subscription_churn_model, subscription_churn_scores]
