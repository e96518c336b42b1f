"""Contracts of the scores of running contracts, and of how they turned out.

Belongs here: the columns. Not here: how they are computed (`mining/subscription_churn.py`).
"""

from crm_assets.contracts.churn import RISK_BANDS, performance
from crm_assets.contracts.model import Column, Shape, Table

SUBSCRIPTION_CHURN_SCORES = Table(
    name="subscription_churn_scores",
    description="How likely each running contract is to end, and why.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "subscription_id"),
    columns=(
        Column("as_of", "date", "Last day seen.", required=True),
        Column("subscription_id", "string", "A contract that runs at the end of the day.", required=True),
        Column(
            "customer_id", "string", "The person whose it is: the customer_id of the earliest record.", required=True
        ),
        Column("churn_probability", "float64", "Calibrated probability that it ends within the horizon.", True, 0, 1),
        Column("risk_band", "string", "The probability in words.", required=True, allowed=RISK_BANDS),
        Column(
            "reasons",
            "array<string>",
            "Up to three fields without which the probability would be lower, strongest first; one sentence says so if none.",
            required=True,
        ),
        Column("model_id", "string", "Model that scored: its name and the month it was trained for.", required=True),
    ),
)

SUBSCRIPTION_PERFORMANCE = performance(
    "subscription_performance",
    "How published scores of running contracts turned out, beside the rule that young contracts end: of the days and "
    "customers that `churn_performance` would look at.",
    candidates="subscription_churn_scores as published, or the baseline tenure.",
    scored="Contracts scored on the day, of the customers drawn, of which it is known by now.",
    churned="Of these, contracts that ended within the horizon.",
)
