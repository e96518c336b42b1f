"""Rules that explain segments: what is learnt for a month.

Belongs here: the monthly model. Not here: how rules are learnt (`mining/segment_trees.py`), the marts of a day
(`segment_marts.py`), clusters (`clusters.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.models import CUSTOMER_DAYS_BEFORE, saying_who, terms_by_month
from crm_assets.assets.persons import MEMBERS
from crm_assets.assets.policies import SINGLE_RUN, run_days
from crm_assets.contracts.registry import TRAINING_FEATURES
from crm_assets.contracts.segments import CHURN, RESPONSE, RULE_TARGETS, VALUE
from crm_assets.lake.models import StoredModel
from crm_assets.mining.as_of_days import alike_neighbours, union
from crm_assets.mining.persons import Persons
from crm_assets.mining.samples import as_floats, bounded
from crm_assets.partitions import BEFORE_THE_MONTH, UP_TO_THE_MONTH, months
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from crm_assets.mining.churn_terms import ChurnTerms
    from crm_assets.mining.segment_rules import Rule

KEY = ["as_of", "customer_id"]

Labels = Callable[[Sequence[date]], ir.Table]
Days = Mapping[date, Mapping[str, tuple[list[date], list[date]]]]
Learnt = tuple[tuple["Rule", ...], str | None]


@dg.asset(
    key=["models", "segment_rules"],
    ins={
        "training_features": dg.AssetIn(["features", TRAINING_FEATURES.name], partition_mapping=UP_TO_THE_MONTH),
        "customer_days": CUSTOMER_DAYS_BEFORE,
        "campaign_contacts": dg.AssetIn(["clean", "campaign_contacts"], partition_mapping=BEFORE_THE_MONTH),
        "identity_members": MEMBERS,
    },
    partitions_def=months,
    backfill_policy=SINGLE_RUN,
    io_manager_key="model_io_manager",
)
def segment_rules_model(
    context: dg.AssetExecutionContext,
    training_features: ir.Table,
    customer_days: ir.Table,
    campaign_contacts: ir.Table,
    identity_members: ir.Table,
    settings: dg.ResourceParam[Settings],
) -> dict[str, StoredModel]:
    """Readable rules from decision trees that explain value, churn and response, measured on later days."""
    from crm_assets.mining.segment_rules import SegmentRules

    persons = Persons.of(identity_members)
    first_day = customer_days.day.min(where=customer_days.orders > 0).to_pyarrow().as_py()
    found: dict[date, dict[str, Learnt]] = {}
    for terms, wanted in alike_neighbours(terms_by_month(customer_days, persons, run_days(context), settings)):
        labels = _labels(customer_days, campaign_contacts, persons, terms, settings)
        found |= _learnt(training_features, labels, _days(labels, first_day, wanted), settings)
    models = {}
    for month, by_target in found.items():
        rules = SegmentRules({target: by_target[target][0] for target in RULE_TARGETS})
        models[month.isoformat()] = StoredModel(rules.to_document(), _card(month, by_target))
    return saying_who(models, training_features, settings)


def _days(labels: Mapping[str, tuple[int, Labels]], first_day: date | None, wanted: Sequence[date]) -> Days:
    """For each month and target, the days that are learnt from and those held out."""
    from crm_assets.mining.segment_trees import rule_days

    return {
        month: {
            target: rule_days(month, first_day, horizon_days) if first_day else ([], [])
            for target, (horizon_days, _) in labels.items()
        }
        for month in wanted
    }


def _learnt(
    training_features: ir.Table, labels: Mapping[str, tuple[int, Labels]], days: Days, settings: Settings
) -> dict[date, dict[str, Learnt]]:
    """Rules of each month and target, or what they need; months share rows where they are few enough for all."""
    from crm_assets.mining.segment_trees import NEEDS, learn_rules

    rows = _rows_of(training_features, days)
    if len(days) > 1 and rows is not None and rows.count().to_pyarrow().as_py() > settings.training_rows:
        # What a month learns from must not depend on the months it is trained with.
        alone = (_learnt(training_features, labels, {month: days[month]}, settings) for month in days)
        return {month: by_target for found in alone for month, by_target in found.items()}
    known = _known(rows, len(_every_day(days)), settings) if rows is not None else None
    found: dict[date, dict[str, Learnt]] = {month: {} for month in days}
    for target, (_, labelled) in labels.items():
        of_target = {month: by_target[target] for month, by_target in days.items() if by_target[target][0]}
        used = sorted({day for parts in of_target.values() for some in parts for day in some})
        cases = _with_labels(known, labelled(used), used, target) if used and known is not None else None
        for month in days:
            if cases is None or month not in of_target:
                found[month][target] = (), NEEDS[target]
                continue
            inside, later = (cases[cases["as_of"].isin(some)] for some in of_target[month])
            found[month][target] = learn_rules(target, inside, later, settings.seed)
    return found


def _every_day(days: Days) -> list[date]:
    return sorted({day for targets in days.values() for parts in targets.values() for some in parts for day in some})


def _rows_of(training_features: ir.Table, days: Days) -> ir.Table | None:
    """What rules may be about, of the customers of every day; None without any day."""
    from crm_assets.mining.segment_trees import NUMBERS, WORDS

    every_day = _every_day(days)
    if not every_day:
        return None
    rows = training_features.filter(training_features.as_of.isin(every_day), training_features.orders_365d > 0)
    return rows.select(*KEY, *WORDS, **as_floats(rows, NUMBERS))


def _labels(
    customer_days: ir.Table, contacts: ir.Table, persons: Persons, terms: "ChurnTerms", settings: Settings
) -> dict[str, tuple[int, Labels]]:
    """For each target, days until a label is known, and the labels of some days."""
    from crm_assets.mining.churn import churn_labels
    from crm_assets.mining.segment_trees import CONTACT_DAYS, response_labels
    from crm_assets.mining.value_measures import later_spend

    def spent(days: Sequence[date]) -> ir.Table:
        groups = persons.customer_days_of(customer_days, days)
        found = union([later_spend(rows, some, settings.value_holdout_days) for some, rows in groups])
        return found.select("as_of", "customer_id", label="spend")

    def left(days: Sequence[date]) -> ir.Table:
        groups = persons.customer_days_of(customer_days, days)
        lengths = terms.horizon_days, terms.active_days
        found = union([churn_labels(rows, some, *lengths) for some, rows in groups])
        return found.select("as_of", "customer_id", label=found.churned.cast("float64"))

    def answered(days: Sequence[date]) -> ir.Table:
        groups = persons.groups(days)
        found = union([response_labels(persons.contacts(contacts, some[0]), some) for some in groups])
        return found.select("as_of", "customer_id", label=found.responded.cast("float64"))

    return {
        VALUE: (settings.value_holdout_days, spent),
        CHURN: (terms.horizon_days, left),
        RESPONSE: (2 * CONTACT_DAYS, answered),
    }


def _known(rows: ir.Table, days: int, settings: Settings) -> "pd.DataFrame":
    """The rows, of no more customers than the settings allow."""
    frame = bounded(rows, settings.training_rows, days, settings.seed).order_by(*KEY).to_pandas()
    return frame.assign(as_of=frame["as_of"].dt.date)


def _with_labels(known: "pd.DataFrame", labels: ir.Table, days: Sequence[date], target: str) -> "pd.DataFrame":
    """The customers of some days with what became of them."""
    import pyarrow as pa

    of_days = known[known["as_of"].isin(days)]
    customers = pa.table({"customer_id": pa.array(of_days["customer_id"].unique(), pa.string())})
    found = labels.semi_join(ibis.memtable(customers), "customer_id").to_pandas()
    found = found.assign(as_of=found["as_of"].dt.date)
    # Who spent nothing has no label of spend; who was not active or not contacted is no case at all.
    if target == VALUE:
        joined = of_days.merge(found, "left", KEY)
        return joined.assign(label=joined["label"].fillna(0.0))
    return of_days.merge(found, "inner", KEY)


def _card(month: date, by_target: Mapping[str, Learnt]) -> dict[str, object]:
    missing = {target: needs for target, (_, needs) in by_target.items() if needs}
    return {
        "model": "segment_rules",
        "trained_for": month.isoformat(),
        "method": "a decision tree for each target, thresholds rounded; figures are of the rounded rules",
        "rules": {
            target: [{"rule": rule.text(), **rule.figures} for rule in rules]
            for target, (rules, _) in by_target.items()
        },
        **({"needs": missing} if missing else {}),
    }


segment_model_assets = [segment_rules_model]
