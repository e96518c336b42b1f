"""One person from many records, in and across sources.

Belongs here: from versions of customer records to links, members and the ledger. Not here: normal forms
(`identity_records.py`), scores (`identity_model.py`), joining (`identity_persons.py`), counting persons instead of
records (`persons.py`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.canonical import EARLIEST
from crm_assets.contracts.identity import IDENTITY_LEDGER, IDENTITY_LINKS, IDENTITY_MEMBERS
from crm_assets.contracts.layers import EXPORT_DATE, SOURCE, VALID_FROM, VALID_TO
from crm_assets.mining.identity_comparisons import COMPARISONS, shared_by
from crm_assets.mining.identity_model import (
    MIN_RECORDS,
    IdentityModel,
    probability,
    score_pairs,
    train_identity,
    untrained_model,
    weight_of,
)
from crm_assets.mining.identity_persons import Decisions, Pairs, follow_persons
from crm_assets.mining.identity_records import PERSONAL_FIELDS, SUPPORTING_FIELDS, normal_records

if TYPE_CHECKING:
    import pandas as pd

BEGINNING = date.fromisoformat(EARLIEST)

SHARED_BY = 20
"""An e-mail address or phone number of more records than this is a switchboard's and says nothing of a person."""

SHOWN = 0.1
"""Least match probability of a pair that people are shown."""


@dataclass(frozen=True)
class Identity:
    """What is known of persons: the rows of three tables."""

    links: "pd.DataFrame"
    members: "pd.DataFrame"
    ledger: "pd.DataFrame"


def has_personal_values(customers: ir.Table) -> bool:
    """Whether any record has anything it could be recognised by."""
    known = reduce(or_, [customers[name].notnull() for name in PERSONAL_FIELDS])
    return bool(customers.filter(known).limit(1).count().to_pyarrow().as_py())


def deliveries_of(validated: ir.Table) -> ir.Table:
    """Of each customer: first_day and seen_on, the days of its first and its last export, and the last one's source."""
    day, source = validated[EXPORT_DATE.name], validated[SOURCE.name]
    last = validated.group_by("customer_id").agg(
        first_day=day.min(),
        seen_on=day.max(),
        source=source.first(order_by=[day.desc(), source.asc()]),
    )
    return last


def record_versions(customers: ir.Table, deliveries: ir.Table) -> "pd.DataFrame":
    """Versions of customer records in the order of time.

    Args:
        customers: The clean table of customers.
        deliveries: `deliveries_of`.

    Returns:
        customer_id, `PERSONAL_FIELDS`, `SUPPORTING_FIELDS`, first_day, and day, that of the export that brought the
        version; in the order of day and customer_id.
    """
    versions = customers.left_join(deliveries, "customer_id")
    first = versions[VALID_FROM.name] <= ibis.literal(BEGINNING)
    first_day = versions.first_day.fill_null(versions[VALID_FROM.name])
    chosen = versions.select(
        "customer_id",
        *PERSONAL_FIELDS,
        *SUPPORTING_FIELDS,
        first_day=first_day,
        day=first.ifelse(first_day, versions[VALID_FROM.name]),
    )
    frame = chosen.order_by("day", "customer_id").to_pandas()
    for column in ("first_day", "day"):
        frame[column] = [date(value.year, value.month, value.day) for value in frame[column]]
    return frame


def identity_nodes(versions: "pd.DataFrame", phone_region: str | None = None) -> "pd.DataFrame":
    """Versions of records as they are compared, one row per version that changes anything compared.

    Args:
        versions: `record_versions`.
        phone_region: Region of phone numbers without country code.

    Returns:
        node (numbered from 0 in the order of day and customer_id), customer_id, first_day, day and `COMPARED`.
    """
    normal = normal_records(versions, phone_region)
    content = normal.drop(columns="tokens")
    customer = versions["customer_id"]
    before = content.groupby(customer).shift()
    same = ((content == before) | (content.isna() & before.isna())).all(axis=1)
    changed = ~(same & customer.duplicated())
    nodes = normal.assign(customer_id=customer, first_day=versions["first_day"], day=versions["day"])[changed]
    nodes = nodes.sort_values(["day", "customer_id"], ignore_index=True)
    # Only records up to the day count, so that later ones never change what earlier ones are compared by.
    few = {
        name: nodes[name].where(shared_by(nodes[name], nodes["day"], nodes["customer_id"]) <= SHARED_BY, None)
        for name in ("email", "mailbox", "phone", "phone_end")
    }
    return nodes.assign(node=range(len(nodes)), **few)


def due_model(
    nodes: "pd.DataFrame", known: Mapping[date, IdentityModel], connection: Any, seed: int, retrain: bool = False
) -> tuple[date, IdentityModel] | None:
    """The model that should be trained, and the day from which it holds; None when there is nothing to do.

    The first one holds from the first day on which there are enough records, and learns from those of that day, so that
    it is the same whenever it is made. A later one is only made by choice, and holds from the newest export.
    """
    named = nodes[nodes["family"].notna()].drop_duplicates("customer_id")
    if len(named) < MIN_RECORDS or (known and not retrain):
        return None
    since = nodes["day"].max() if known else named["day"].sort_values(ignore_index=True)[MIN_RECORDS - 1]
    return since, train_identity(nodes[nodes["day"] <= since], connection, seed)


def find_identity(
    nodes: "pd.DataFrame",
    models: Mapping[date, IdentityModel],
    decisions: Decisions,
    connection: Any,
    threshold: float,
) -> Identity:
    """Who every record stands for, from the first export to the last, and why.

    Args:
        nodes: `identity_nodes`.
        models: Trained models by the day from which they hold; before the first the untrained one does.
        decisions: What people decided.
        connection: A DuckDB connection with a schema of its own, to work in.
        threshold: Match probability that some pair of records must reach.
    """
    import pandas as pd

    phases, scored, sure = [], pd.DataFrame(), pd.DataFrame()
    first, last = nodes["day"].min(), nodes["day"].max()
    begin = sorted({BEGINNING: untrained_model(), **models}.items())
    for place, (since, model) in enumerate(begin):
        until = begin[place + 1][0] if place + 1 < len(begin) else None
        if (until is not None and until <= first) or since > last:
            continue
        seen = nodes if until is None else nodes[nodes["day"] < until]
        scored = score_pairs(seen, model, connection)
        sure = scored[["left", "right"]].assign(method=_rule(scored))
        certain = sure[sure["method"].notna()]
        near = scored.take(_joinable(scored, certain, len(nodes), weight_of(threshold)))
        triples = zip(near["left"].tolist(), near["right"].tolist(), near["weight"].tolist(), strict=True)
        phases.append(
            Pairs(since, list(triples), list(zip(certain["left"].tolist(), certain["right"].tolist(), strict=True)))
        )
    first_days = dict(zip(nodes["customer_id"], nodes["first_day"], strict=True))
    versions = list(zip(nodes["customer_id"], nodes["day"], strict=True))
    changes = list(follow_persons(versions, first_days, phases, decisions, weight_of(threshold)))
    ledger = pd.DataFrame(
        [(c.day, c.customer, c.event, c.after, c.before) for c in changes], columns=list(IDENTITY_LEDGER.by_name)
    )
    members = _members(ledger)
    person_of = members[members[VALID_TO.name].isna()].set_index("customer_id")["person_id"]
    return Identity(_links(nodes, scored, sure, decisions, person_of), members, ledger)


def _rule(scored: "pd.DataFrame") -> Any:
    """Which rule, if any, says that a pair is one person: the same e-mail address or phone number."""
    import numpy as np

    methods = np.full(len(scored), None, dtype=object)
    # Members of one household share addresses and numbers; then it is for the model to say.
    other_name = _differs(scored, "name")
    for column, other in (("phone", other_name | _differs(scored, "birth_date")), ("email", other_name)):
        methods[(scored[f"level_{column}"].to_numpy() == 0) & ~other] = column
    return methods


def _differs(scored: "pd.DataFrame", name: str) -> Any:
    differing = [number for number, level in enumerate(COMPARISONS[name][1]) if level.differs]
    return scored[f"level_{name}"].isin(differing).to_numpy()


def _joinable(scored: "pd.DataFrame", certain: "pd.DataFrame", count: int, threshold: float) -> Any:
    """Places of the pairs between nodes that could ever become one person; the others need not be followed."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = scored[(scored["weight"] >= threshold) | scored.index.isin(certain.index)]
    graph = coo_array((np.ones(len(edges)), (edges["left"], edges["right"])), shape=(count, count))
    part = connected_components(graph, directed=False)[1]
    return np.flatnonzero(part[scored["left"]] == part[scored["right"]])


def _members(ledger: "pd.DataFrame") -> "pd.DataFrame":
    """Memberships from the ledger.

    A record that joins a person holds from its first export, so that earlier days stay as they were. What stands alone
    at first, or is in the first export of all, holds from the beginning, as the first version of a dimension does.
    """
    after = ledger.sort_values(["customer_id", "export_date"], ignore_index=True)
    until = after.groupby("customer_id")["export_date"].shift(-1)
    alone = after["event"] == "new"
    at_first = after["previous_person_id"].isna() & (after["export_date"] == after["export_date"].min())
    since = after["export_date"].where(~(alone | at_first), BEGINNING)
    until = until.astype(object).where(until.notna(), None)
    rows = after[["customer_id", "person_id"]].assign(**{VALID_FROM.name: since, VALID_TO.name: until})
    return rows[list(IDENTITY_MEMBERS.by_name)]


def _links(
    nodes: "pd.DataFrame",
    scored: "pd.DataFrame",
    sure: "pd.DataFrame",
    decisions: Decisions,
    person_of: "pd.Series",
) -> "pd.DataFrame":
    """What links current records, with the evidence."""
    import pandas as pd

    current = set(nodes.drop_duplicates("customer_id", keep="last")["node"])
    shown = scored.assign(method=sure["method"])
    shown = shown[(shown["weight"] >= weight_of(SHOWN)) | shown["method"].notna()]
    shown = shown[shown["left"].isin(current) & shown["right"].isin(current)]
    owner = nodes.set_index("node")["customer_id"]
    pairs = [tuple(sorted(pair)) for pair in zip(owner.loc[shown["left"]], owner.loc[shown["right"]], strict=True)]
    table = pd.DataFrame(pairs, columns=["customer_id", "other_customer_id"])
    table["match_probability"] = [round(probability(weight), 9) for weight in shown["weight"]]
    table["method"] = shown["method"].fillna("model").to_numpy()
    table["evidence"] = _evidence(shown)
    decided = {tuple(sorted(pair)): 1.0 for _, *pair in decisions.always}
    decided |= {tuple(sorted(pair)): 0.0 for _, *pair in decisions.never}
    by_people = [pair in decided for pair in pairs]
    table.loc[by_people, "method"] = "manual"
    unscored = [pair for pair in sorted(set(decided) - set(pairs)) if set(pair) <= set(person_of.index)]
    extra = pd.DataFrame(
        [(*pair, decided[pair], "manual", "{}") for pair in unscored],
        columns=["customer_id", "other_customer_id", "match_probability", "method", "evidence"],
    )
    table = pd.concat([table, extra], ignore_index=True) if len(extra) else table
    ends = [person_of.loc[table[name]].to_numpy() for name in ("customer_id", "other_customer_id")]
    table["is_one_person"] = ends[0] == ends[1]
    return table[list(IDENTITY_LINKS.by_name)]


def _evidence(pairs: "pd.DataFrame") -> Sequence[str]:
    """For each pair the outcome of each comparison that could be made, and what it adds, as JSON."""
    parts = []
    for name, (_, levels) in COMPARISONS.items():
        text = {
            (level, bits): f'"{name}": {{"outcome": {json.dumps(levels[level].label)}, "bits": {bits}}}'
            for level, bits in set(zip(pairs[f"level_{name}"], pairs[f"bits_{name}"], strict=True))
            if level >= 0
        }
        parts.append([text.get(key) for key in zip(pairs[f"level_{name}"], pairs[f"bits_{name}"], strict=True)])
    return ["{" + ", ".join(filter(None, found)) + "}" for found in zip(*parts, strict=True)]
