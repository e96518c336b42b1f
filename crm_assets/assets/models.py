"""Models: trained once a month, on days before the month.

Belongs here: one asset per model, with its leaderboard and plots. Not here: scoring (`marts.py`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.contracts.segments import RFM_CUTS
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import CARD_FILE, StoredModel, read_cards, read_model
from crm_assets.mining.as_of_days import alike_neighbours, union
from crm_assets.mining.persons import Persons
from crm_assets.mining.rfm import rfm_cuts as fit_rfm_cuts
from crm_assets.mining.rfm import rfm_measures
from crm_assets.mining.samples import as_floats, bounded
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_MONTH, month_of, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from crm_assets.mining.churn import ChurnModel
    from crm_assets.mining.churn_terms import ChurnTerms

CHURN_MODEL = "churn_model"
TRAINED_CHURN = dg.AssetDep(["models", CHURN_MODEL])
"""For assets that read what the cards of churn models say."""

CUSTOMER_DAYS_BEFORE = dg.AssetIn(["profile", "customer_days"], partition_mapping=BEFORE_THE_MONTH)


@dg.asset(
    key=["models", RFM_CUTS.name],
    ins={"customer_days": CUSTOMER_DAYS_BEFORE, "identity_members": MEMBERS},
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
    description=RFM_CUTS.description,
)
def rfm_cuts(
    context: dg.AssetExecutionContext,
    customer_days: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> ir.Table:
    """Cut points as of the day before the month, frozen for the month."""
    cuts, persons = [], Persons.of(identity_members)
    for month in run_days(context):
        last = month - timedelta(days=1)
        measures = rfm_measures(persons.customer_days(customer_days, last), last)
        fitted = fit_rfm_cuts(measures, settings.rfm_bins, settings.rfm_weights)
        cuts.append(fitted.mutate(month=ibis.literal(month)))
    return reduce(lambda left, right: left.union(right), cuts)


@dg.multi_asset(
    name=CHURN_MODEL,
    ins={
        "training_features": dg.AssetIn(["features", TRAINING_FEATURES.name], partition_mapping=UP_TO_THE_MONTH),
        "customer_days": CUSTOMER_DAYS_BEFORE,
        "identity_members": MEMBERS,
    },
    outs={
        "model": dg.AssetOut(
            key=["models", CHURN_MODEL],
            io_manager_key="model_io_manager",
            description="Who places no order within the horizon: the champion of the month and its card.",
        ),
        "leaderboard": dg.AssetOut(key=["quality", "leaderboard_churn"], description=MODEL_LEADERBOARD.description),
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
)
def churn_model(
    context: dg.AssetExecutionContext,
    training_features: ir.Table,
    customer_days: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.Output[object]]:
    """The churn model of a month, trained on labels that had ended before it, beside its baselines."""
    import pandas as pd

    from crm_assets.assets.look_ahead import features_looking_ahead
    from crm_assets.mining.churn import CHURN_FEATURES, churn_training_days
    from crm_assets.mining.churn_training import train_churn, without_model
    from crm_assets.mining.look_ahead import look_ahead_message

    persons = Persons.of(identity_members)
    first_day = customer_days.day.min().to_pyarrow().as_py()
    terms = terms_by_month(customer_days, persons, run_days(context), settings)
    months_days = {
        month: churn_training_days(month, first_day, of_month.horizon_days) if first_day else []
        for month, of_month in terms.items()
    }
    models: dict[str, StoredModel] = {}
    leaderboards = []
    histories = _histories(training_features, months_days, settings)
    looked_at = _looked_at(months_days, lake)
    stopped = None
    if looked_at:
        ahead = features_looking_ahead(context, lake, training_features, looked_at, CHURN_FEATURES, settings)
        stopped = without_model(look_ahead_message(ahead, looked_at), leaks=ahead) if ahead else None
    for month, (features, labels) in _training_rows(
        training_features, customer_days, persons, months_days, terms, settings, lake
    ):
        trained = stopped or train_churn(
            features,
            labels,
            month,
            histories=histories,
            previous=previous_model(models, CHURN_MODEL, month, settings),
            screening_rows=settings.screening_rows,
            terms=terms[month],
            seed=settings.seed,
            threads=settings.threads,
        )
        context.log.info("churn model for %s: %s", month, trained.message)
        models[month.isoformat()] = StoredModel(trained.model.to_document() if trained.model else None, trained.card)
        leaderboards.append(trained.leaderboard.assign(trained_for=month, month=month))
    yield dg.Output(
        saying_who(models, training_features, settings),
        "model",
        metadata={"choice": trained.message, **card_metadata(trained.card), **_importance_plot(trained.model)},
    )
    yield dg.Output(pd.concat(leaderboards), "leaderboard")


def terms_by_month(
    customer_days: ir.Table, persons: Persons, wanted: Iterable[date], settings: Settings
) -> "dict[date, ChurnTerms]":
    """What counts as churn for the models of some months and the days they score, in order."""
    from crm_assets.mining.churn_terms import churn_terms

    found, orders = {}, customer_days.select("day", "customer_id", "orders")
    for month in sorted(set(wanted)):
        last = month - timedelta(days=1)
        given = settings.churn_horizon_days, settings.churn_active_days
        found[month] = churn_terms(persons.rows(orders, last), last, *given)
    return found


def terms_of_days(
    rows: ir.Table, customer_days: ir.Table, persons: Persons, settings: Settings
) -> "dict[date, ChurnTerms]":
    """What counted as churn for the model that scored, for each as_of day of a table.

    Cards say so. Only models stored without are told from the gaps again, which late rows may have changed since.
    """
    from crm_assets.mining.churn_terms import ChurnTerms

    of_day = {day: ChurnTerms.of_card(card) for day, card in cards_of_days(rows, CHURN_MODEL, settings).items()}
    silent = {month_of(day) for day, terms in of_day.items() if terms is None}
    derived = terms_by_month(customer_days, persons, silent, settings)
    return {day: terms or derived[month_of(day)] for day, terms in of_day.items()}


def cards_of_days(rows: ir.Table, model: str, settings: Settings) -> dict[date, Mapping[str, Any]]:
    """The card of the month's model for each as_of day of a table, in order; without a model it is empty."""
    as_of_days = rows.select("as_of").distinct().order_by("as_of").to_pyarrow()["as_of"].to_pylist()
    cards = read_cards(settings.models, model)
    return {day: cards.get(month_of(day).isoformat(), {}) for day in as_of_days}


def saying_who(
    models: Mapping[str, StoredModel], training_features: ir.Table, settings: Settings
) -> dict[str, StoredModel]:
    """The models, whose cards say whether they learnt from all customers or from drawn ones."""
    of_days = training_features.group_by("as_of").agg(customers=training_features.count())
    most = of_days.customers.max().to_pyarrow().as_py() or 0
    drawn = f"at most {settings.training_customers:,} a day, drawn by a digest of their identifier"
    who = {"customers": drawn if most >= settings.training_customers else "all"}
    return {month: replace(stored, card={**stored.card, **who}) for month, stored in models.items()}


def card_metadata(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the UI shows of a card beside the whole of it: the grade, the data and the candidates' figures."""
    import pandas as pd

    if "figures" not in card:
        return {}
    figures = pd.DataFrame(card["figures"]).T.rename_axis("candidate").reset_index()
    days = card["training_days"]
    return {
        "grade": card["grade"]["grade"],
        "trained on": f"{card['rows']} rows of {days[0]} to {days[-1]}, known by {card['labels_end']}",
        "missing": card["missing"],
        "figures": dg.MetadataValue.md(figures.to_markdown(index=False, floatfmt=".3f")),
    }


def _looked_at(months_days: Mapping[date, list[date]], lake: Lake) -> date | None:
    """The day whose features are looked at for those that look ahead: once for all months, with the newest one.

    It is the newest training day that is followed by days of its month, which such a feature has seen.
    """
    newest = max((month for (month,) in lake.partitions("features", TRAINING_FEATURES)), default="")
    wanted = sorted({day for of_month in months_days.values() for day in of_month})
    if not wanted or max(months_days).isoformat() < newest:
        return None
    return next((day for day in reversed(wanted) if (day + timedelta(days=1)).day > 1), wanted[-1])


def previous_model(
    models: Mapping[str, StoredModel], name: str, month: date, settings: Settings
) -> "ChurnModel | None":
    """The model of the month before, of this run or as it is stored."""
    from crm_assets.mining.churn import ChurnModel

    before = (month - timedelta(days=1)).replace(day=1).isoformat()
    folder = settings.models / name / before
    stored = models.get(before) or (read_model(folder) if (folder / CARD_FILE).exists() else None)
    return ChurnModel.from_document(stored.document) if stored is not None and stored.document else None


def _histories(
    training_features: ir.Table, months_days: Mapping[date, list[date]], settings: Settings
) -> "pd.DataFrame | None":
    """Order histories of the training days, for the order process."""
    from crm_assets.mining.churn import order_histories

    every_day = sorted({day for wanted in months_days.values() for day in wanted})
    if not every_day:
        return None
    return order_histories(training_features, every_day, settings.training_rows, settings.seed).to_pandas()


def _importance_plot(model: "ChurnModel | None") -> dict[str, dg.MarkdownMetadataValue]:
    from crm_assets.assets import plots
    from crm_assets.mining.churn import feature_importance

    importance = feature_importance(model) if model else None
    if importance is None or importance.empty:
        return {}
    return {"feature importance": dg.MetadataValue.md(plots.feature_importance(importance))}


def _training_rows(
    training_features: ir.Table,
    customer_days: ir.Table,
    persons: Persons,
    months_days: Mapping[date, list[date]],
    terms: "Mapping[date, ChurnTerms]",
    settings: Settings,
    lake: Lake,
) -> "Iterator[tuple[date, tuple[pd.DataFrame, pd.DataFrame]]]":
    """Features and labels that each month learns from, of no more customers than the settings allow."""
    for of_group, alike in alike_neighbours(terms):
        days_alike = {month: months_days[month] for month in alike}
        yield from _rows_alike(training_features, customer_days, persons, days_alike, of_group, settings, lake)


def _rows_alike(
    training_features: ir.Table,
    customer_days: ir.Table,
    persons: Persons,
    months_days: Mapping[date, list[date]],
    terms: "ChurnTerms",
    settings: Settings,
    lake: Lake,
) -> "Iterator[tuple[date, tuple[pd.DataFrame, pd.DataFrame]]]":
    """The same of months whose labels are alike."""
    import pandas as pd

    from crm_assets.mining.churn import CHURN_FEATURES, churn_labels

    key = ["as_of", "customer_id"]

    def fetched(labels: ir.Table) -> "tuple[pd.DataFrame, pd.DataFrame]":
        rows = training_features.semi_join(labels, key)
        return rows.select(*key, **as_floats(rows, CHURN_FEATURES)).to_pandas(), labels.to_pandas()

    every_day = sorted({day for wanted in months_days.values() for day in wanted})
    if not every_day:
        nothing = pd.DataFrame(columns=[*key, *CHURN_FEATURES]), pd.DataFrame(columns=[*key, "churned"])
        yield from ((month, nothing) for month in months_days)
        return
    groups = persons.customer_days_of(customer_days, every_day)
    lengths = terms.horizon_days, terms.active_days
    known = union([churn_labels(rows, days, *lengths) for days, rows in groups]).semi_join(training_features, key)
    with lake.engine.held(known) as labels:
        if labels.count().to_pyarrow().as_py() <= settings.training_rows:
            # Months share most of their days, so rows are fetched once for all months of the run.
            features, known = fetched(labels)
            days = pd.to_datetime(known["as_of"])
            for month, wanted in months_days.items():
                yield month, (features, known[days.isin(pd.to_datetime(wanted))])
            return
        for month, wanted in months_days.items():
            of_month = labels.filter(labels.as_of.isin(wanted)) if wanted else labels.limit(0)
            yield month, fetched(bounded(of_month, settings.training_rows, max(1, len(wanted)), settings.seed))


model_assets = [rfm_cuts, churn_model]
