"""Who answers a campaign: scores of every person for each kind of campaign, and whom to contact.

Belongs here: the models of a month as plain values, scoring, the choice within a budget. Not here: training
(`response_training.py`), what a contact changes (`uplift.py`), reading contacts (`response_cases.py`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd

from crm_assets.contracts.response import RESPONSE_SCORES
from crm_assets.mining.calibration import calibrated
from crm_assets.mining.classifiers import raw_scores
from crm_assets.mining.response_inputs import Floats, ResponseInputs, levels
from crm_assets.mining.uplift import Uplift, uplift_of

_PRIORITY, _VALUE = "_priority", "_value"


@dataclass(frozen=True)
class ResponseModel:
    """The champion of a kind of campaign, as plain values.

    Attributes:
        model_id: Names the model in scores.
        champion: A learner, `past_responses` or `base_rate`.
        estimator: What it learnt, as `classifiers` gives it.
        calibration: From raw score to probability.
        inputs: How rows become numbers, see `response_inputs.ResponseInputs`.
    """

    model_id: str
    champion: str
    estimator: dict[str, Any]
    calibration: dict[str, Any]
    inputs: dict[str, Any]

    def probability(self, rows: pd.DataFrame, level: Floats, threads: int = 1) -> Floats:
        """Probability that each of the rows responds, at a level of log-odds."""
        if rows.empty:
            return np.zeros(0)
        matrix = ResponseInputs.from_document(self.inputs).matrix(rows, level)
        return calibrated(self.calibration, raw_scores(self.estimator, matrix, threads))


@dataclass(frozen=True)
class KindModel:
    """What is known of a kind of campaign.

    Attributes:
        customers: Model of those who have bought; None where nobody contacted had.
        prospects: Model without purchases.
        value: What a response was worth on average, workspace currency; None where no contact tells.
        horizon_days: Days from the contact in which a response counts.
        uplift: What a contact changes; None without held-out customers.
    """

    customers: ResponseModel | None
    prospects: ResponseModel
    value: float | None
    horizon_days: int
    uplift: Uplift | None = None


@dataclass(frozen=True)
class ResponseModels:
    """The models of a month, by kind of campaign."""

    kinds: dict[str, KindModel]

    def to_document(self) -> dict[str, Any]:
        """The models as plain values."""
        return {kind: asdict(model) for kind, model in self.kinds.items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ResponseModels":
        """What `to_document` wrote."""
        kinds = {
            kind: KindModel(
                customers=ResponseModel(**model["customers"]) if model["customers"] else None,
                prospects=ResponseModel(**model["prospects"]),
                value=model["value"],
                horizon_days=model["horizon_days"],
                uplift=Uplift(**model["uplift"]) if model["uplift"] else None,
            )
            for kind, model in document.items()
        }
        return cls(kinds)


@dataclass(frozen=True)
class ResponsePolicy:
    """What a contact costs and brings.

    Attributes:
        cost: What a contact costs, workspace currency.
        value: Profit of a response; None for the average value of past responses times the margin.
        margin: Share of the value of a response that is profit.
        budget: Most to spend on the contacts of a kind on a day; None for no limit.
        least_profit: Least profit expected of a contact.
    """

    cost: float
    value: float | None
    margin: float
    budget: float | None
    least_profit: float = 0.0

    @property
    def most_contacts(self) -> int | None:
        """Contacts that the budget pays for; None for no limit."""
        if self.budget is None or self.cost <= 0:
            return None
        # As written: 0.3 pays for three contacts of 0.1, which floats make 2.9999999999999996.
        return int(Decimal(str(self.budget)) // Decimal(str(self.cost)))

    def profit_of(self, average: float | None) -> float | None:
        """Profit of a response, where it is known."""
        if self.value is not None:
            return self.value
        return average * self.margin if average is not None else None


SCORED = ibis.schema(
    {
        **{
            column.name: column.dtype
            for column in RESPONSE_SCORES.columns
            if column.name not in ("rank", "decile", "contact")
        },
        _PRIORITY: "float64",
    }
)
"""Scores before they are ranked, and what they are ranked by."""


def score_responses(
    models: ResponseModels,
    rows: pd.DataFrame,
    rates: pd.DataFrame,
    as_of: date,
    policy: ResponsePolicy,
) -> pd.DataFrame:
    """Probability of a response, uplift and expected profit of each row, not ranked yet.

    The profit expected of a contact is what it adds to the chance of a response, times the profit of a response, less its
    cost. What it adds is the uplift where customers were held out, else the probability itself.

    Args:
        models: of the month.
        rows: as `response_cases.scored_rows` gives them.
        rates: as `response_cases.response_rates` gives them.
        as_of: last day seen.
        policy: what a response is worth.

    Returns:
        The columns of `SCORED`.
    """
    parts = [
        _scored(models.kinds[str(kind)], some, rates[rates["campaign_kind"] == kind], as_of, policy)
        for kind, some in rows.groupby("campaign_kind", sort=True)
        if kind in models.kinds
    ]
    if not parts:
        return pd.DataFrame(columns=list(SCORED.names))
    return pd.concat(parts, ignore_index=True).assign(as_of=as_of)[list(SCORED.names)]


def ranked_responses(scored: ir.Table, policy: ResponsePolicy) -> ir.Table:
    """Scores with ranks, and whom to contact.

    Persons are ranked by uplift where a model of uplift was promoted, else by the probability. Contacted are those with the
    highest ranks whose profit is high enough, as many as the budget pays for.

    Args:
        scored: rows of `SCORED`.
        policy: what a contact costs, and the budget.

    Returns:
        Rows of `contracts.response.RESPONSE_SCORES`, by its key; `contact` is null where neither what a response is worth
        nor a budget is known.
    """
    kind = ["as_of", "campaign_kind"]
    order = [scored[_PRIORITY].desc(), scored.customer_id]
    ranked = scored.mutate(
        rank=ibis.row_number().over(ibis.window(group_by=kind, order_by=order)) + 1,
        persons=scored.count().over(ibis.window(group_by=kind)),
    )
    pays = ranked.expected_profit >= policy.least_profit
    if policy.budget is not None:
        most = policy.most_contacts
        pays = pays.fill_null(True) & (ranked["rank"] <= most if most is not None else ibis.literal(True))
    columns = {
        **{name: ranked[name] for name in RESPONSE_SCORES.by_name if name in ranked.columns},
        "decile": ((ranked["rank"] - 1) * 10 // ranked.persons) + 1,
        "contact": pays,
    }
    return ranked.select(
        **{column.name: columns[column.name].cast(column.dtype) for column in RESPONSE_SCORES.columns}
    ).order_by(list(RESPONSE_SCORES.key))


def _scored(
    model: KindModel, rows: pd.DataFrame, rates: pd.DataFrame, as_of: date, policy: ResponsePolicy
) -> pd.DataFrame:
    level = levels(rates, np.array([as_of], dtype="datetime64[D]"), model.horizon_days)[0]
    is_prospect = rows["order_days"].to_numpy(np.float64) <= 0
    probability = np.zeros(len(rows))
    customers = model.customers or model.prospects
    for side, champion in ((is_prospect, model.prospects), (~is_prospect, customers)):
        probability[side] = champion.probability(rows[side], np.full(int(side.sum()), level))
    found = uplift_of(model.uplift, rows) if model.uplift else None
    profit = policy.profit_of(model.value)
    adds = found.uplift if found else probability
    return rows[["campaign_kind", "customer_id"]].assign(
        response_probability=probability,
        uplift=found.uplift if found else np.nan,
        uplift_group=pd.Series(found.groups if found else None, index=rows.index, dtype=object),
        is_prospect=is_prospect,
        expected_profit=np.nan if profit is None else adds * profit - policy.cost,
        model_id=np.where(is_prospect, model.prospects.model_id, customers.model_id),
        **{_PRIORITY: found.uplift if found and found.is_promoted else probability},
    )
