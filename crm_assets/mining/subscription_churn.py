"""Which contracts end soon: training the model of a month, and scores with reasons.

Belongs here: the model of contracts. Not here: which contracts run on a day (`subscriptions.py`), how they become numbers
(`subscription_inputs.py`), how a champion is chosen (`model_choice.py`).
"""

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.subscriptions import SUBSCRIPTION_CHURN_SCORES
from crm_assets.mining.calibration import calibrated
from crm_assets.mining.challenger import against_previous
from crm_assets.mining.churn import ChurnModel, risk_bands
from crm_assets.mining.churn_training import SCREENING_ROWS, TrainedChurn, card_of, without_model
from crm_assets.mining.classifiers import BLEND, LEARNERS, raw_scores, rule
from crm_assets.mining.drift import reference_of
from crm_assets.mining.explaining import lowered_by_theme
from crm_assets.mining.leaks import leak_message, leaking_features
from crm_assets.mining.look_ahead import look_ahead_message, looking_ahead
from crm_assets.mining.model_choice import choose
from crm_assets.mining.model_folds import Problem
from crm_assets.mining.model_grade import grade
from crm_assets.mining.subscription_inputs import Encoding, encode, fit_encoding, subscription_reasons, typical_of
from crm_assets.mining.subscriptions import HORIZON_DAYS

MODEL = "subscription_churn"

RULE = "tenure"
"""The rule every model must beat: the younger a contract, the likelier it ends."""

PREFERENCE = (BLEND, *(name for name in LEARNERS if name != BLEND))
"""Contracts have fewer fields than customers have features, so trees and weights see different things in them."""


def train_subscription_churn(
    rows: pd.DataFrame,
    month_start: date,
    *,
    known: pd.DataFrame | None = None,
    previous: ChurnModel | None = None,
    horizon_days: int = HORIZON_DAYS,
    screening_rows: int = SCREENING_ROWS,
    seed: int = 0,
    threads: int = 2,
) -> TrainedChurn:
    """Train the model of a month.

    Args:
        rows: as `running_subscriptions` gives them, on days whose labels had ended before the month.
        month_start: first day the model may score.
        known: some rows of one day as they are by tables cut off at it, for contracts delivered by then; a field in which
            they differ stops the model. None or no rows where nothing was delivered so early.
        previous: the model of the month before, to compare with; what is trained does not depend on it.
        horizon_days: length of the label.
        screening_rows: most rows that candidates which seldom win learn from on the newest fold.
        seed: of everything drawn.
        threads: fits at a time; the result does not depend on it.
    """
    rows = rows.sort_values(["as_of", "subscription_id"]).reset_index(drop=True)
    ended = int(rows["ended"].sum())
    if not ended or ended == len(rows):
        what = (
            "running contracts whose horizon has ended"
            if rows.empty
            else "contracts that ended"
            if not ended
            else "contracts that went on"
        )
        return without_model(f"needs {what}: 0 rows", MODEL)
    encoding = fit_encoding(rows)
    inputs = encode(rows, encoding)
    outcome = rows["ended"].to_numpy(dtype=float)
    leaks = {encoding.label(name): auc for name, auc in leaking_features(inputs, outcome).items()}
    if leaks:
        return without_model(leak_message(leaks), MODEL, leaks)
    if known is not None and not known.empty:
        ahead = _looking_ahead(rows, known, encoding)
        if ahead:
            return without_model(look_ahead_message(ahead, known["as_of"].iloc[0]), MODEL, ahead)
    days = pd.to_datetime(rows["as_of"]).to_numpy().astype("datetime64[D]")
    problem = Problem(
        inputs=inputs,
        outcome=outcome,
        days=days,
        customers=rows["customer_id"],
        horizon_days=horizon_days,
        rule_name=RULE,
        rule=rule("tenure_days", -1),
        one_snapshot=True,
        preference=PREFERENCE,
    )
    choice = choose(problem, seed, threads, screening_rows)
    month = month_start.isoformat()
    folds = "Folds of customers, since one day only has labels. " if len(np.unique(days)) == 1 else ""
    model = ChurnModel(
        model_id=f"{MODEL}-{month}-{choice.champion}",
        champion=choice.champion,
        estimator=choice.estimator,
        calibration=choice.calibration,
        typical=typical_of(inputs, encoding),
        card={
            "model": MODEL,
            "trained_for": month,
            "definition": f"the contract ends in {horizon_days} days, among contracts that run",
            "horizon_days": horizon_days,
            **card_of(problem, choice, seed, screening_rows),
            "features": [encoding.label(name) for name in encoding.columns],
            "grade": grade(outcome[choice.judged], choice.chance, None, horizon_days).card(),
            "limits": f"{folds}{_limits(known)}",
        },
        features=tuple(encoding.columns),
        reference=reference_of(inputs[days == days.max()], choice.chance),
        encoding=encoding.to_document(),
    )
    challenge = None
    if previous is not None and previous.card["definition"] == model.card["definition"]:
        judged = rows.loc[choice.judged]
        challenge = against_previous(
            previous.model_id,
            previous.estimator,
            previous.card["training_days"],
            judged[["as_of", "customer_id"]].assign(churned=judged["ended"]),
            encode(judged, Encoding(**previous.encoding)),
            choice.chance,
            seed,
        )
    return TrainedChurn(model, choice.leaderboard(MODEL, month_start), choice.message, {}, MODEL, challenge)


def _looking_ahead(rows: pd.DataFrame, known: pd.DataFrame, encoding: Encoding) -> dict[str, float]:
    """Fields of contracts that need data from after the day, with the share of contracts they differ in."""
    key = ["as_of", "subscription_id"]
    known = known.astype(rows[key].dtypes.to_dict())
    of_day = rows.merge(known[key], on=key)
    trained, cut = (pd.concat([some[key], encode(some, encoding)], axis=1) for some in (of_day, known))
    found = looking_ahead(trained, cut, key, encoding.columns)
    return {encoding.label(name): share for name, share in found.items()}


def _limits(known: pd.DataFrame | None) -> str:
    if known is None or known.empty:
        return (
            "Plan, fee and attributes are as first delivered, which was after the days learnt from: whether they were "
            "known on these cannot be told."
        )
    return "Plan, fee and attributes are as told by the day; of contracts first delivered later, as first delivered."


def score_subscriptions(model: ChurnModel, rows: pd.DataFrame) -> pd.DataFrame:
    """Probability that each running contract ends, with band and reasons.

    Args:
        model: a trained model.
        rows: as `running_subscriptions` gives them.

    Returns:
        The columns of `SUBSCRIPTION_CHURN_SCORES`, by as_of and subscription_id.
    """
    rows = rows.sort_values(["as_of", "subscription_id"]).reset_index(drop=True)
    columns = list(SUBSCRIPTION_CHURN_SCORES.by_name)
    if rows.empty:
        return pd.DataFrame(columns=columns)
    encoding = Encoding(**model.encoding)
    inputs = encode(rows, encoding)

    def score(some: pd.DataFrame) -> NDArray[np.float64]:
        return raw_scores(model.estimator, some)

    raw = score(inputs)
    probability = calibrated(model.calibration, raw)
    lowered = lowered_by_theme(score, raw, inputs, model.typical, encoding.theme)
    scores = rows[["as_of", "subscription_id", "customer_id"]].assign(
        churn_probability=probability,
        risk_band=risk_bands(probability),
        reasons=pd.Series(subscription_reasons(inputs, lowered, model.typical, encoding), dtype=object),
        model_id=model.model_id,
    )
    return scores[columns]
