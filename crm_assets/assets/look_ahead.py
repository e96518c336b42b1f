"""Training features beside what they would be, had nothing after their day been known.

Belongs here: making some of them once more from tables cut off at a day. Not here: cutting and comparing
(`mining/look_ahead.py`), features (`features.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import ibis.expr.types as ir

from crm_assets.assets.persons import LINE_COLUMNS, FeatureInputs, features_of_persons
from crm_assets.contracts.registry import TRAINING_FEATURES, contract_of
from crm_assets.lake.layout import Lake
from crm_assets.mining.as_of_days import Hold
from crm_assets.mining.samples import as_floats, sample_customers
from crm_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

_KEY = ["as_of", "customer_id"]
_TABLES = {
    "customer_days": ("profile", "customer_days"),
    "transactions": ("clean", "transactions"),
    "products": ("clean", "products"),
    "customers": ("clean", "customers"),
    "campaign_contacts": ("clean", "campaign_contacts"),
    "identity_members": ("profile", "identity_members"),
    "delivered_customers": ("validated", "customers"),
}
_BY_RECORD = ("customer_days", "transactions", "customers", "campaign_contacts", "delivered_customers")
_LEFT_WHOLE = ("delivered_customers",)
"""Who delivered a record is no event: a record not yet delivered counts as at its first delivery."""


def features_looking_ahead(
    context: dg.AssetExecutionContext,
    lake: Lake,
    training_features: ir.Table,
    as_of: date,
    features: Sequence[str],
    settings: Settings,
) -> dict[str, float]:
    """Which features of a training day need data from after it, with the share of customers; of a sample.

    Rows that came late, and corrections, change what features of a past day are. A difference that is due to them alone
    is no look ahead: made again from whole and from cut tables, the features are then the same. It is logged.
    """
    from crm_assets.mining.look_ahead import SAMPLE, known_by, looking_ahead

    of_day = training_features.filter(training_features.as_of == as_of)
    rows = sample_customers(of_day, SAMPLE, settings.seed)
    trained = rows.select(*_KEY, **as_floats(rows, features)).to_pandas()
    if trained.empty:
        return {}
    with lake.engine.holding() as hold:
        inputs = _of_customers(lake, trained["customer_id"].tolist(), hold)
        cut = {name: known_by(getattr(inputs, name), as_of) for name in _TABLES if name not in _LEFT_WHOLE}
        known = _made(lake, replace(inputs, **cut), as_of, features, settings)
        found = looking_ahead(trained, known, _KEY, features)
        if not found:
            return {}
        ahead = looking_ahead(_made(lake, inputs, as_of, features, settings), known, _KEY, features)
    if ahead or not _changed_since(lake, as_of):
        return ahead or found
    context.log.warning(
        "training features of %s were made from other rows than there are now, such as late ones, which changes %s; "
        "materialise %s again to learn from these",
        as_of,
        ", ".join(found),
        TRAINING_FEATURES.name,
    )
    return {}


def _of_customers(lake: Lake, persons: Sequence[str], hold: Hold) -> FeatureInputs:
    """What features of some persons are built from, kept in the engine."""
    tables = {name: lake.read(layer, contract_of(layer, table)) for name, (layer, table) in _TABLES.items()}
    members = tables["identity_members"]
    members = hold(members.filter(members.person_id.isin(persons)))
    records = sorted({*persons, *members.select("customer_id").to_pyarrow()["customer_id"].to_pylist()})
    kept = {name: tables[name].filter(tables[name]["customer_id"].isin(records)) for name in _BY_RECORD}
    kept["transactions"] = kept["transactions"].select(LINE_COLUMNS)
    return FeatureInputs(**{**tables, **{name: hold(rows) for name, rows in kept.items()}, "identity_members": members})


def _made(
    lake: Lake, inputs: FeatureInputs, as_of: date, features: Sequence[str], settings: Settings
) -> "pd.DataFrame":
    with features_of_persons(lake, inputs, [as_of], settings) as rows:
        return rows.select(*_KEY, **as_floats(rows, features)).to_pandas()


def _changed_since(lake: Lake, as_of: date) -> bool:
    """Whether anything that features of a day are made from was written after they were."""
    month = (as_of.replace(day=1) + timedelta(days=32)).replace(day=1)
    made = lake.written_ns("features", TRAINING_FEATURES).get((month.isoformat(),))
    times = [
        written
        for layer, table in _TABLES.values()
        for part, written in lake.written_ns(layer, contract_of(layer, table)).items()
        if layer != "validated" and (not part or part[0] <= as_of.isoformat())
    ]
    return made is None or any(written > made for written in times)
