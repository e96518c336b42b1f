"""Who answers campaigns: the model of a month, the scores of a day, what past campaigns got, when and where to reach whom.

Belongs here: reading, calling, returning. Not here: how it is told (`mining/response.py`, `mining/uplift.py`) or how
champions are chosen (`mining/response_training.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.behaviour import nothing
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.assets.scoring import scored
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.response import CAMPAIGN_RESPONSES, CONTACT_PREFERENCES, RESPONSE_SCORES
from crm_assets.lake.functions import local_time
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.contact_preferences import contact_choices
from crm_assets.mining.contact_preferences import contact_preferences as prefer
from crm_assets.mining.persons import Persons
from crm_assets.mining.response_cases import campaign_cases, contacted_rows, response_rates, scored_rows
from crm_assets.mining.samples import sample_customers
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_DAY, days, month_of, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from crm_assets.mining.response import ResponsePolicy
    from crm_assets.mining.response_training import TrainedResponses

MODEL = "response_model"


def _inputs(mapping: dg.PartitionMapping) -> dict[str, dg.AssetIn]:
    return {
        "campaign_contacts": dg.AssetIn(["clean", "campaign_contacts"], partition_mapping=mapping),
        "campaigns": dg.AssetIn(["clean", "campaigns"]),
        "customers": dg.AssetIn(["clean", "customers"]),
        "customer_days": dg.AssetIn(["profile", "customer_days"], partition_mapping=mapping),
        "interactions": dg.AssetIn(["clean", "interactions"], partition_mapping=mapping),
        "identity_members": MEMBERS,
    }


@dg.multi_asset(
    name=MODEL,
    ins=_inputs(BEFORE_THE_MONTH),
    outs={
        "model": dg.AssetOut(
            key=["models", MODEL],
            io_manager_key="model_io_manager",
            description="Who answers each kind of campaign and what a contact changes: the champions and their card.",
        ),
        "leaderboard": dg.AssetOut(key=["quality", "leaderboard_response"], description=MODEL_LEADERBOARD.description),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def response_model(
    context: dg.AssetExecutionContext,
    campaign_contacts: ir.Table,
    campaigns: ir.Table,
    customers: ir.Table,
    customer_days: ir.Table,
    interactions: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[object]]:
    """The models of a month by kind of campaign, tested on contacts held out in time, beside their baselines."""
    import pandas as pd

    from crm_assets.mining.response_training import train_responses

    inputs = campaign_contacts, campaigns, customers, customer_days, interactions
    persons, models, boards = Persons.of(identity_members), {}, []
    for month in run_days(context):
        rows, rates = _contacts_before(month, inputs, persons, lake, settings)
        trained = train_responses(
            rows,
            rates,
            month,
            settings.response_horizon_days,
            screening_rows=settings.screening_rows,
            seed=settings.seed,
            threads=settings.threads,
        )
        context.log.info("response model for %s: %s", month, trained.message)
        models[month.isoformat()] = StoredModel(trained.models.to_document() if trained.models else None, trained.card)
        boards.append(trained.leaderboard.assign(trained_for=month, month=month))
    yield dg.Output(models, "model", metadata={"choice": trained.message, **_pictures(trained)})
    yield dg.Output(pd.concat(boards), "leaderboard")


def _contacts_before(
    month: date, inputs: Sequence[ir.Table], persons: Persons, lake: Lake, settings: Settings
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """What was known before each contact that a month learns from, and how many responded on each day."""
    with lake.engine.holding() as hold:
        known = _known_by(month - timedelta(days=1), inputs, persons, hold)
        cases = known[0]
        counts = cases.agg(rows=cases.count(), customers=cases.customer_id.nunique()).to_pyarrow().to_pylist()[0]
        drawn = cases
        if counts["rows"] > settings.training_rows:
            most = max(1, settings.training_rows * counts["customers"] // counts["rows"])
            drawn = sample_customers(cases, most, settings.seed)
        rows = contacted_rows(*known, drawn, hold).to_pandas()
        return rows, response_rates(cases, settings.response_horizon_days).to_pandas()


def _known_by(
    day: date, inputs: Sequence[ir.Table], persons: Persons, hold: Callable[[ir.Table], ir.Table]
) -> tuple[ir.Table, ir.Table, ir.Table, ir.Table]:
    """Contacts of the persons of a day, and what is known of these: activity, demographics and interactions."""
    contacts, campaigns, customers, customer_days, interactions = inputs
    return (
        hold(campaign_cases(persons.rows(contacts, day), campaigns, day)),
        persons.customer_days(customer_days, day),
        persons.founders(customers, day),
        persons.rows(interactions, day),
    )


def _pictures(trained: "TrainedResponses") -> dict[str, dg.MetadataValue]:
    """Gains and lift of the newest month's models, and the Qini curve where customers were held out."""
    from crm_assets.assets import plots, response_plots

    found = {}
    if len(trained.gains):
        found["gains"] = plots.gain_curve(trained.gains, "Responses found among held-out contacts")
        found["lift"] = response_plots.lift_curve(trained.gains)
    if len(trained.uplift):
        found["qini"] = response_plots.qini_curve(trained.uplift)
    return {name: dg.MetadataValue.md(picture) for name, picture in found.items()}


@dg.asset(
    key=["marts", RESPONSE_SCORES.name],
    ins={**_inputs(UP_TO_THE_DAY), "models": dg.AssetIn(["models", MODEL])},
    partitions_def=days,
    backfill_policy=SINGLE_RUN,
    description=RESPONSE_SCORES.description,
)
def response_scores(
    context: dg.AssetExecutionContext,
    campaign_contacts: ir.Table,
    campaigns: ir.Table,
    customers: ir.Table,
    customer_days: ir.Table,
    interactions: ir.Table,
    identity_members: ir.Table,
    models: dict[str, StoredModel],
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """Who answers a campaign of each kind and whom to contact, by the newest model trained before the day."""
    from crm_assets.mining.response import SCORED, ranked_responses

    inputs = campaign_contacts, campaigns, customers, customer_days, interactions
    persons = Persons.of(identity_members)
    with lake.collected(SCORED, _scores(context, lake, inputs, persons, models, settings)) as rows:
        yield dg.Output(ranked_responses(rows, _policy(settings)))


def _scores(
    context: dg.AssetExecutionContext,
    lake: Lake,
    inputs: Sequence[ir.Table],
    persons: Persons,
    models: Mapping[str, StoredModel],
    settings: Settings,
) -> "Iterator[pa.Table]":
    """Scores of the run's days, batch by batch."""
    from crm_assets.mining.response import SCORED, ResponseModels, score_responses

    types, policy = SCORED.to_pyarrow(), _policy(settings)
    for as_of in run_days(context):
        stored = models.get(month_of(as_of).isoformat(), StoredModel(None, {"needs": f"needs one of {as_of:%Y-%m}"}))
        if stored.document is None:
            context.log.info("response scores of %s: %s", as_of, stored.card.get("needs"))
            continue
        model = ResponseModels.from_document(stored.document)
        with lake.engine.holding() as hold:
            known = _known_by(as_of, inputs, persons, hold)
            rates = response_rates(known[0], settings.response_horizon_days).to_pandas()
            rows = scored_rows(*known, sorted(model.kinds), as_of, hold)
            score = partial(score_responses, model, rates=rates, as_of=as_of, policy=policy)
            yield from scored(lake, rows, score, types, settings.threads)


def _policy(settings: Settings) -> "ResponsePolicy":
    from crm_assets.mining.response import ResponsePolicy

    return ResponsePolicy(
        cost=settings.response_contact_cost,
        value=settings.response_value,
        margin=settings.response_margin,
        budget=settings.response_budget,
        least_profit=settings.response_least_profit,
    )


@dg.asset(
    key=["marts", CAMPAIGN_RESPONSES.name],
    ins={
        "campaign_contacts": dg.AssetIn(["clean", "campaign_contacts"]),
        "campaigns": dg.AssetIn(["clean", "campaigns"]),
        "identity_members": MEMBERS,
    },
    description=CAMPAIGN_RESPONSES.description,
)
def campaign_responses(
    context: dg.AssetExecutionContext,
    campaign_contacts: ir.Table,
    campaigns: ir.Table,
    identity_members: ir.Table,
) -> Iterator[dg.Output[ir.Table]]:
    """What each campaign got up to the newest contact or response."""
    from crm_assets.mining.campaign_responses import campaign_response_rates, campaign_response_sums

    newest = ibis.greatest(campaign_contacts.day.max(), campaign_contacts.responded_at.date().max())
    as_of = newest.to_pyarrow().as_py()
    if as_of is None:
        yield nothing(context, CAMPAIGN_RESPONSES, "campaign contacts")
        return
    persons = Persons.of(identity_members)
    cases = campaign_cases(persons.rows(campaign_contacts, as_of), campaigns, as_of)
    found = campaign_response_rates(campaign_response_sums(cases).to_pandas())
    yield dg.Output(ibis.memtable(found, schema=CAMPAIGN_RESPONSES.schema), metadata={"as of": str(as_of)})


@dg.asset(
    key=["marts", CONTACT_PREFERENCES.name],
    ins={
        "interactions": dg.AssetIn(["clean", "interactions"]),
        "customers": dg.AssetIn(["clean", "customers"]),
        "identity_members": MEMBERS,
    },
    description=CONTACT_PREFERENCES.description,
)
def contact_preferences(
    context: dg.AssetExecutionContext,
    interactions: ir.Table,
    customers: ir.Table,
    identity_members: ir.Table,
    lake: dg.ResourceParam[Lake],
    settings: dg.ResourceParam[Settings],
) -> Iterator[dg.Output[ir.Table]]:
    """When and where to reach each customer, as of the newest day with an interaction."""
    as_of = interactions.day.max().to_pyarrow().as_py()
    if as_of is None:
        yield nothing(context, CONTACT_PREFERENCES, "interactions")
        return
    persons = Persons.of(identity_members)
    local = interactions.mutate(occurred_at=local_time(interactions.occurred_at, settings.timezone))
    with lake.engine.holding() as hold:
        choices = hold(contact_choices(persons.rows(local, as_of), as_of, settings.contact_history_days))
        found = prefer(choices, persons.rows(valid_on(customers, as_of), as_of), as_of)
        figures = found.figures.to_markdown(index=False, floatfmt=".3f")
        yield dg.Output(found.customers, metadata={"as of": str(as_of), "figures": dg.MetadataValue.md(figures)})


response_assets = [response_model, response_scores, campaign_responses, contact_preferences]
