"""Contracts of the churn tables and of the figures every model shows.

Belongs here: scores, leaderboard and realised performance. Not here: how they are computed (`mining/churn.py`).
"""

from crm_assets.contracts.model import Column, Shape, Table

RISK_BANDS = ("low", "medium", "high", "very high")
"""From the least likely to leave to the most; `mining/churn.py` says where each ends."""

CHURN_SCORES = Table(
    name="churn_scores",
    description="How likely each active customer is to stop ordering, and why.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "customer_id"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column(
            "customer_id",
            "string",
            "A person with a recent order: the customer_id of the earliest record.",
            required=True,
        ),
        Column("churn_probability", "float64", "Calibrated probability of no order within the horizon.", True, 0, 1),
        Column("risk_band", "string", "The probability in words.", required=True, allowed=RISK_BANDS),
        Column(
            "reasons",
            "array<string>",
            "Up to three signs of leaving, strongest first; one sentence says so if none.",
            required=True,
        ),
        Column("model_id", "string", "Model that scored: its name and the month it was trained for.", required=True),
    ),
)

_FIGURE = (
    Column("metric", "string", "Figure: auc, pr_auc, brier, ece, lift_at_10, mae, ...", required=True),
    Column("value", "float64", "Its value; null where it is not defined."),
    Column("low", "float64", "Lower end of its 95% bootstrap interval."),
    Column("high", "float64", "Upper end of its 95% bootstrap interval."),
)

MODEL_LEADERBOARD = Table(
    name="model_leaderboard",
    description="Each candidate's figures on later days than it was trained on, and which one was promoted.",
    key=("model", "trained_for", "candidate", "metric"),
    columns=(
        Column("model", "string", "What is modelled.", required=True),
        Column("trained_for", "date", "Month the model is for; it saw earlier days only.", required=True),
        Column("candidate", "string", "Way of modelling it; baselines included.", required=True),
        *_FIGURE,
        Column("is_champion", "boolean", "This candidate scores.", required=True),
    ),
)


def performance(name: str, description: str, candidates: str, scored: str, churned: str) -> Table:
    """How the scores of each day turned out.

    Args:
        name: of the table.
        description: of the table.
        candidates: what is judged, in words.
        scored: whom `customers` counts.
        churned: which of them `churned` counts.
    """
    return Table(
        name=name,
        description=description,
        key=("as_of", "candidate", "metric"),
        columns=(
            Column("as_of", "date", "Day of the scores; its horizon has ended.", required=True),
            Column("candidate", "string", candidates, required=True),
            *_FIGURE,
            Column("customers", "int64", scored, required=True, minimum=0),
            Column("churned", "int64", churned, required=True, minimum=0),
        ),
    )


CHURN_PERFORMANCE = performance(
    "churn_performance",
    "How published churn scores turned out, beside the recency rule: of the newest 31 days whose horizon has ended, and of "
    "the last day with scores of each month before. Of more than `training_customers` customers, so many are drawn.",
    candidates="churn_scores as published, or the baseline recency.",
    scored="Customers scored on the day, or drawn of these.",
    churned="Of these, customers without an order within the horizon.",
)
