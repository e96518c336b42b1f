"""Training the churn model of a month.

Belongs here: labelled rows, what is missing, the card. Not here: how the champion is chosen (`model_choice.py`), scoring
(`churn.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from crm_assets.mining.bg_nbd import TooFewOrdersError, fit_bg_nbd
from crm_assets.mining.challenger import against_previous
from crm_assets.mining.churn import ChurnModel, feature_matrix
from crm_assets.mining.churn_terms import DEFAULT_TERMS, ChurnTerms
from crm_assets.mining.classifiers import order_process, parameters, rule, visible
from crm_assets.mining.drift import reference_of
from crm_assets.mining.leaks import leak_message, leaking_features
from crm_assets.mining.model_choice import LEADERBOARD_COLUMNS, Choice, choose
from crm_assets.mining.model_folds import Estimator, Problem
from crm_assets.mining.model_grade import grade

RULE = "recency"
"""The rule every model must beat: the longer ago the last order, the likelier is churn."""

SCREENING_ROWS = 5_000

HISTORY_COLUMNS = ("as_of", "frequency", "recency", "age", "customers")

_MODEL = "churn"
_LEAST_REPEATERS = 30


@dataclass(frozen=True)
class TrainedChurn:
    """What came of training a month.

    Attributes:
        model: The champion, or None when there was nothing to learn from or a feature leaks.
        leaderboard: Figures of every candidate on the held-out days, in `LEADERBOARD_COLUMNS`.
        message: One line on the choice, or on what is missing.
        leaks: AUC of features that alone tell who leaves.
        name: Of what is modelled.
        challenge: How the champion compares with the previous month's model, see `challenger.against_previous`.
    """

    model: ChurnModel | None
    leaderboard: pd.DataFrame
    message: str
    leaks: dict[str, float]
    name: str = _MODEL
    challenge: dict[str, Any] | None = None

    @property
    def card(self) -> dict[str, Any]:
        """The model's card, or what was missing."""
        if self.model is None:
            return {"model": self.name, "needs": self.message, "leaks": self.leaks}
        # The stored model does not depend on which month was trained before, so its own card does not say.
        return {**self.model.card, "challenge": self.challenge or "no previous model with held-out days of its own"}


def train_churn(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    month_start: date,
    *,
    histories: pd.DataFrame | None = None,
    previous: ChurnModel | None = None,
    terms: ChurnTerms = DEFAULT_TERMS,
    screening_rows: int = SCREENING_ROWS,
    seed: int = 0,
    threads: int = 2,
) -> TrainedChurn:
    """Train the churn model of a month on labels that had ended before it.

    Args:
        features: rows of `customer_features` on the training days; others are ignored.
        labels: as `churn_labels` gives them, with the same horizon and active days.
        month_start: first day the model may score; labels not ended before it are ignored.
        histories: order histories of all customers as of the training days, in `HISTORY_COLUMNS`, alike ones in one row;
            without them the order process is no candidate.
        previous: the model of the month before, to compare with; what is trained does not depend on it.
        terms: length of the label, and who was labelled.
        screening_rows: most rows that candidates which seldom win learn from on the newest fold.
        seed: of bagging and bootstrap.
        threads: fits at a time; the result does not depend on it.

    Returns:
        The champion, the leaderboard and a line that says why.
    """
    horizon_days = terms.horizon_days
    rows = _labelled_rows(features, labels, month_start, horizon_days)
    needs = _missing(rows)
    if needs:
        return without_model(needs)
    inputs = feature_matrix(rows)
    outcome = rows["churned"].to_numpy(dtype=float)
    leaks = leaking_features(inputs, outcome)
    if leaks:
        return without_model(leak_message(leaks), leaks=leaks)
    days = rows["as_of"].to_numpy().astype("datetime64[D]")
    problem = Problem(
        inputs=inputs,
        outcome=outcome,
        days=days,
        customers=rows["customer_id"],
        horizon_days=horizon_days,
        rule_name=RULE,
        rule=rule("recency_days", 1),
        order_process=_process(histories, horizon_days),
    )
    choice = choose(problem, seed, threads, screening_rows)
    month = month_start.isoformat()
    typical = {str(name): None if np.isnan(value) else float(value) for name, value in inputs.median().items()}
    recency = inputs["recency_days"].to_numpy()[choice.judged]
    model = ChurnModel(
        model_id=f"{_MODEL}-{month}-{choice.champion}",
        champion=choice.champion,
        estimator=choice.estimator,
        calibration=choice.calibration,
        typical=typical,
        card={
            "model": _MODEL,
            "trained_for": month,
            **terms.on_card(),
            **card_of(problem, choice, seed, screening_rows),
            "grade": grade(outcome[choice.judged], choice.chance, recency, horizon_days).card(),
            "limits": "Ranks customers by likelihood; says nothing of what would keep them. No demographics are used.",
        },
        reference=reference_of(visible(_newest(inputs, days)), choice.chance),
        active_days=terms.active_days,
    )
    challenge = None
    alike = previous is not None and previous.card["definition"] == model.card["definition"]
    if previous is not None and alike and previous.features == model.features:
        judged = rows.loc[choice.judged, ["as_of", "customer_id", "churned"]]
        seen = previous.card["training_days"]
        challenge = against_previous(
            previous.model_id, previous.estimator, seen, judged, inputs[choice.judged], choice.chance, seed
        )
    return TrainedChurn(model, choice.leaderboard(_MODEL, month_start), choice.message, {}, challenge=challenge)


def card_of(problem: Problem, choice: Choice, seed: int, screening_rows: int) -> dict[str, Any]:
    """What the cards of all churn models say of data, method and figures."""
    days = [str(day) for day in np.unique(problem.days)]
    return {
        "champion": choice.champion,
        "choice": choice.message,
        "missing": choice.missing or "nothing",
        "method": (
            f"All candidates were tried on the newest fold; those but boosted trees, logistic regression and their blend "
            f"learnt from at most {screening_rows} rows. The best learner, the preferred one of those it does not beat "
            "beyond chance, the order process and the rule went on to all folds and all rows. The preferred one of those "
            "that the best does not beat beyond chance is champion, if its mean AUC is above the rule's beyond chance; it "
            "is calibrated on the newest held-out rows and learnt again from every row. Probabilities of a learner that was "
            "held out in time are moved half of the way to the share that churned among these rows."
        ),
        "training_days": days,
        "held_out_days": choice.folds[0] if choice.folds else [],
        "folds": choice.folds,
        "rows": len(problem.outcome),
        "churned": int(problem.outcome.sum()),
        "labels_end": str(problem.days.max() + np.timedelta64(problem.horizon_days)),
        "figures": choice.figures,
        "features": [name for name in problem.inputs.columns if not name.startswith("_")],
        "parameters": parameters(choice.champion),
        "seed": seed,
        "versions": {name: version(name) for name in ("lightgbm", "scikit-learn", "numpy", "pandas")},
    }


def _process(histories: pd.DataFrame | None, horizon_days: int) -> Callable[[date], Estimator | None]:
    """The order process as of a day, fitted to the order histories of the newest day up to it."""
    if histories is None or histories.empty:
        return lambda day: None
    known = histories.assign(as_of=_days(histories["as_of"]))
    fitted: dict[Any, Estimator | None] = {}

    def as_of(day: date) -> Estimator | None:
        newest = known.loc[known["as_of"] <= pd.Timestamp(day), "as_of"].max()
        if newest not in fitted:
            rows = known[known["as_of"] == newest].sort_values(["frequency", "recency", "age"])
            fitted[newest] = _fitted_process(rows, horizon_days)
        return fitted[newest]

    return as_of


def _fitted_process(rows: pd.DataFrame, horizon_days: int) -> Estimator | None:
    if rows.loc[rows["frequency"] > 0, "customers"].sum() < _LEAST_REPEATERS:
        return None
    try:
        process = fit_bg_nbd(rows["frequency"], rows["recency"], rows["age"], rows["customers"])
    except TooFewOrdersError:
        return None
    return order_process(process, horizon_days)


def _newest(inputs: pd.DataFrame, days: np.ndarray) -> pd.DataFrame:
    """Rows of the newest training day, which stand for what the model was trained on."""
    return inputs[days == days.max()]


def without_model(message: str, name: str = _MODEL, leaks: dict[str, float] | None = None) -> TrainedChurn:
    """Nothing was trained, and why."""
    return TrainedChurn(None, pd.DataFrame(columns=list(LEADERBOARD_COLUMNS)), message, leaks or {}, name)


def _labelled_rows(features: pd.DataFrame, labels: pd.DataFrame, month_start: date, horizon_days: int) -> pd.DataFrame:
    latest = month_start - timedelta(horizon_days + 1)
    labels = labels.assign(as_of=_days(labels["as_of"]))
    labels = labels[labels["as_of"] <= pd.Timestamp(latest)]
    features = features.assign(as_of=_days(features["as_of"]))
    rows = labels.merge(features, on=["as_of", "customer_id"], how="inner", validate="one_to_one")
    return rows.sort_values(["as_of", "customer_id"]).reset_index(drop=True)


def _days(days: pd.Series) -> pd.Series:
    """Days given as dates or timestamps, in one type."""
    return pd.to_datetime(days).astype("datetime64[s]")


def _missing(rows: pd.DataFrame) -> str:
    """What training needs and the labelled rows do not have, in one line; empty if nothing."""
    if rows.empty:
        return "needs days with features whose churn horizon has ended: 0 rows"
    churned = int(rows["churned"].sum())
    if not churned:
        return "needs customers who churned: 0 rows"
    if churned == len(rows):
        return "needs customers who stayed: 0 rows"
    return ""
