"""Identity: one person from many records.

Belongs here: the model of identity, who each record stands for, and what is known of each person. Not here: how it is
found (`mining/identity.py`).
"""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import ibis
import ibis.expr.types as ir

from crm_assets.assets.clean import every_delivery
from crm_assets.contracts.canonical import CUSTOMERS
from crm_assets.contracts.identity import (
    IDENTITY_LEDGER,
    IDENTITY_LINKS,
    IDENTITY_MEMBERS,
    IDENTITY_QUALITY,
    PERSONS,
)
from crm_assets.contracts.layers import VALID_TO
from crm_assets.contracts.model import Table
from crm_assets.lake.io_manager import MADE_WITH
from crm_assets.lake.layout import Lake
from crm_assets.lake.models import StoredModel, read_json_models
from crm_assets.mining.identity import (
    BEGINNING,
    deliveries_of,
    due_model,
    find_identity,
    has_personal_values,
    identity_nodes,
    record_versions,
)
from crm_assets.mining.identity_model import IdentityModel, untrained_model
from crm_assets.mining.identity_pairs import read_decisions, read_labels
from crm_assets.mining.identity_persons import Decisions
from crm_assets.mining.identity_quality import measure_decisions, measure_labels
from crm_assets.mining.identity_survivors import surviving_customers
from crm_assets.settings import Settings

MODEL = dg.AssetKey(["models", "identity_model"])
IDENTITY_ASSETS = [
    list(MODEL.path),
    *(["profile", table.name] for table in (IDENTITY_LINKS, IDENTITY_MEMBERS, IDENTITY_LEDGER, PERSONS)),
    ["quality", IDENTITY_QUALITY.name],
]
"""Keys of the assets here, in the order data flows."""

_RECORDS = {"customers": dg.AssetIn(["clean", CUSTOMERS.name]), "validated": every_delivery(CUSTOMERS)}


def persons_made_with(settings: Settings) -> str:
    """The settings that persons depend on; when they change, persons are found anew."""
    wanted = {"identity_threshold", "phone_region", "source_priority"}
    return json.dumps(settings.model_dump(mode="json", include=wanted), sort_keys=True)


class IdentityTraining(dg.Config):
    """How the identity model is made.

    Attributes:
        retrain: Learn anew from all records; the new model holds from the newest export.
    """

    retrain: bool = False


@dg.asset(key=MODEL, ins=_RECORDS, io_manager_key="json_model_io_manager")
def identity_model(
    context: dg.AssetExecutionContext,
    config: IdentityTraining,
    customers: ir.Table,
    validated: ir.Table,
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> dict[str, StoredModel]:
    """How probable it is that two records are one person: trained once there are enough records, then kept."""
    kept = read_json_models(settings.models / MODEL.path[-1])
    known = _trained(kept)
    if not has_personal_values(customers) or (known and not config.retrain):
        return kept
    nodes = identity_nodes(record_versions(customers, deliveries_of(validated)), settings.phone_region)
    with lake.engine.scratch() as connection:
        due = due_model(nodes, known, connection, settings.seed, config.retrain)
    since, model = due or (BEGINNING, untrained_model())
    if known and not due:
        return kept
    context.log.info("identity model from %s: %s", since, model.card()["choice"])
    return {**kept, since.isoformat(): StoredModel(model.to_document(), {"holds_from": str(since), **model.card()})}


@dg.multi_asset(
    name="identity",
    ins={**_RECORDS, "models": dg.AssetIn(MODEL)},
    outs={
        table.name: dg.AssetOut(key=["profile", table.name], description=table.description)
        for table in (IDENTITY_LINKS, IDENTITY_MEMBERS, IDENTITY_LEDGER)
    },
)
def identity(
    context: dg.AssetExecutionContext,
    customers: ir.Table,
    validated: ir.Table,
    models: dict[str, StoredModel],
    settings: dg.ResourceParam[Settings],
    lake: dg.ResourceParam[Lake],
) -> Iterator[dg.Output[object]]:
    """Which records are one person, why, and since when."""
    decisions = _decisions(settings)
    made_with = {MADE_WITH: persons_made_with(settings)}
    if not has_personal_values(customers):
        for table in (IDENTITY_LINKS, IDENTITY_MEMBERS, IDENTITY_LEDGER):
            yield dg.Output(_empty(table), table.name, metadata=made_with)
        return
    nodes = identity_nodes(record_versions(customers, deliveries_of(validated)), settings.phone_region)
    with lake.engine.scratch() as connection:
        found = find_identity(nodes, _trained(models), decisions, connection, settings.identity_threshold)
    named = {customer for _, *pair in (*decisions.always, *decisions.never) for customer in pair}
    if unknown := sorted(named - set(nodes["customer_id"])):
        context.log.warning("%s names records that were not delivered: %s", settings.identity_pairs.name, unknown[:20])
    events = found.ledger["event"].value_counts().sort_index().to_dict()
    yield dg.Output(ibis.memtable(found.links, schema=IDENTITY_LINKS.schema), IDENTITY_LINKS.name)
    yield dg.Output(
        ibis.memtable(found.members, schema=IDENTITY_MEMBERS.schema), IDENTITY_MEMBERS.name, metadata=made_with
    )
    yield dg.Output(
        ibis.memtable(found.ledger, schema=IDENTITY_LEDGER.schema), IDENTITY_LEDGER.name, metadata={"events": events}
    )


@dg.asset(
    key=["profile", PERSONS.name],
    ins={
        "customers_current": dg.AssetIn(["profile", "customers_current"]),
        "members": dg.AssetIn(["profile", IDENTITY_MEMBERS.name]),
        "validated": every_delivery(CUSTOMERS),
    },
    description=PERSONS.description,
)
def persons(
    customers_current: ir.Table, members: ir.Table, validated: ir.Table, settings: dg.ResourceParam[Settings]
) -> ir.Table:
    """What is known of each person, and from which record."""
    if not members.limit(1).count().to_pyarrow().as_py():
        return _empty(PERSONS)
    return surviving_customers(customers_current, members, deliveries_of(validated), settings.source_priority)


@dg.asset(
    key=["quality", IDENTITY_QUALITY.name],
    ins={
        "links": dg.AssetIn(["profile", IDENTITY_LINKS.name]),
        "members": dg.AssetIn(["profile", IDENTITY_MEMBERS.name]),
    },
    description=IDENTITY_QUALITY.description,
)
def identity_quality(
    context: dg.AssetExecutionContext, links: ir.Table, members: ir.Table, settings: dg.ResourceParam[Settings]
) -> ir.Table:
    """Precision and recall of persons against what people decided and labelled."""
    import pandas as pd

    decisions = _decisions(settings)
    truth = settings.identity_truth
    labels = read_labels(_lines(truth), truth.name) if truth.exists() else {}
    if not labels and not decisions.always and not decisions.never:
        return _empty(IDENTITY_QUALITY)
    pairs = links.select("customer_id", "other_customer_id", "match_probability", "evidence").to_pandas()
    measured = [measure_decisions(decisions, pairs, settings.identity_threshold)]
    if labels:
        current = members.filter(members[VALID_TO.name].isnull()).select("customer_id", "person_id").to_pandas()
        person_of = dict(zip(current["customer_id"], current["person_id"], strict=True))
        measured.append(measure_labels(labels, person_of, pairs, settings.identity_threshold))
    rows = pd.concat([frame for frame in measured if len(frame)], ignore_index=True)
    context.add_output_metadata({"figures": dg.MetadataValue.md(rows.to_markdown(index=False, floatfmt=".3f"))})
    return ibis.memtable(rows, schema=IDENTITY_QUALITY.schema)


def _trained(models: dict[str, StoredModel]) -> dict[date, IdentityModel]:
    documents = {date.fromisoformat(day): model.document for day, model in models.items() if model.document}
    return {
        day: IdentityModel.from_document(document) for day, document in documents.items() if document["records"] > 0
    }


def _decisions(settings: Settings) -> Decisions:
    path = settings.identity_pairs
    return read_decisions(_lines(path), path.name) if path.exists() else Decisions()


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8-sig").splitlines()


def _empty(table: Table) -> ir.Table:
    return ibis.memtable([], schema=table.schema)


identity_assets = [identity_model, identity, persons, identity_quality]
