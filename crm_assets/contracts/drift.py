"""Contract of the drift of what models read and say.

Belongs here: the columns. Not here: how they are computed (`mining/drift.py`).
"""

from crm_assets.contracts.model import Column, Shape, Table

VERDICTS = ("stable", "shifted", "another population")
"""From the least drift to the most."""

DRIFT = Table(
    name="drift",
    description="How far customers, or contracts, of a day are from those their model was trained on: features, scores, numbers.",
    shape=Shape.SNAPSHOT,
    key=("as_of", "model", "kind", "name"),
    columns=(
        Column("as_of", "date", "Day of the scores.", required=True),
        Column(
            "model",
            "string",
            "What is modelled: churn, of customers; or subscription_churn, of contracts.",
            required=True,
        ),
        Column("kind", "string", "What is compared.", required=True, allowed=("feature", "score", "population")),
        Column("name", "string", "The feature; score; customers, or contracts.", required=True),
        Column(
            "psi",
            "float64",
            "Population stability index against the newest training day; of the score, against held-out rows. "
            "Null for numbers.",
            minimum=0,
        ),
        Column(
            "verdict",
            "string",
            "Of the index: shifted from 0.1, another population from 0.25, if beyond chance. Of numbers: from 1.25 and 2 "
            "times as many or as few.",
            required=True,
            allowed=VERDICTS,
        ),
        Column("customers", "int64", "Customers, or contracts, scored on the day.", required=True, minimum=0),
        Column("reference_customers", "int64", "Those it is held against.", required=True, minimum=0),
        Column("model_id", "string", "Model that scored: its name and the month it was trained for.", required=True),
    ),
)
