"""Training the value model of a month and choosing its champion.

Belongs here: candidates, the split in time and the choice. Not here: scoring (`customer_value.py`), figures in general
(`value_metrics.py`).

The newest training day whose held-out days had ended before the month is the day of the test: candidates know what was
known on it, and are judged by what every customer spent in the days after. Then the champion learns again from all days
before the month.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.mining.bg_nbd import BgNbd, TooFewOrdersError, fit_bg_nbd
from crm_assets.mining.churn import training_days
from crm_assets.mining.customer_value import (
    INTERVAL,
    VALUE_FEATURES,
    ValueModel,
    aligned,
    boosted_spend,
    expected_order_value,
    past_pace,
    score_value,
    value_matrix,
)
from crm_assets.mining.gamma_gamma import GammaGamma, fit_gamma_gamma, value_frequency_correlation
from crm_assets.mining.model_metrics import interval
from crm_assets.mining.value_metrics import LOWER_IS_BETTER, METRICS, RANKING_METRICS, Judged, judge

BASELINE = "past_spend"
"""What every model must beat: customers go on spending as they did."""

PROCESS = "mbg_nbd"
"""The order process that values one-time buyers like everyone; with Gamma-Gamma for what an order is worth."""

PLAIN_PROCESS = "bg_nbd"
"""For comparison only: it takes one-time buyers to be customers for ever."""

LEARNER = "lightgbm"

LEADERBOARD_COLUMNS = tuple(MODEL_LEADERBOARD.by_name)

_MODEL = "customer_value"
_LEAST_REPEATERS = 30
_LEAST_ROWS = 500
_ROWS_OF_THREAD = 50_000
_SHOWN_FREQUENCIES = 7
_ROUNDS = 60
_LIGHTGBM: dict[str, Any] = {
    "objective": "tweedie",
    "learning_rate": 0.1,
    "num_leaves": 8,
    "min_child_samples": 50,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}

Floats = NDArray[np.float64]


def value_training_days(month_start: date, first_day: date, holdout_days: int) -> list[date]:
    """Last days of months that may train the model of a month: what is predicted of them had ended before it.

    Args:
        month_start: first day the model may score; only days before it may be used.
        first_day: first day with an order.
        holdout_days: days after a training day that are predicted.
    """
    days = training_days(month_start, first_day, holdout_days)
    return [day for day in days if (day + timedelta(days=1)).day == 1]


@dataclass(frozen=True)
class Histories:
    """Order histories as of a day, as fits need them.

    Attributes:
        counts: frequency, recency, age and customers, the number of those alike in the three.
        values: orders and amount, their sum, of each customer.
    """

    counts: pd.DataFrame
    values: pd.DataFrame

    @classmethod
    def of(cls, measures: pd.DataFrame) -> "Histories":
        """From columns of `value_measures`, which need no names."""
        key = ["frequency", "recency", "age"]
        counts = measures.groupby(key, as_index=False, sort=True).agg(customers=("amount", "size"))
        return cls(counts, pd.DataFrame({"orders": measures["frequency"] + 1, "amount": measures["amount"]}))


@dataclass(frozen=True)
class Terms:
    """What is predicted.

    Attributes:
        holdout_days: Days of spend that are held out.
        horizon_days: Days ahead that a customer is valued for.
        discount_rate: Per year.
        seed: Of bagging, bootstrap and futures.
    """

    holdout_days: int
    horizon_days: int
    discount_rate: float
    seed: int = 0


@dataclass(frozen=True)
class HeldOut:
    """What candidates learn from and are judged by.

    Attributes:
        day: The day of the test, the newest of the training days.
        measures: As `value_measures` gives them, of this day.
        spend: As `later_spend` gives it, of all training days.
        features: as_of, customer_id and `VALUE_FEATURES` of these days.
    """

    day: date
    measures: pd.DataFrame
    spend: pd.DataFrame
    features: pd.DataFrame

    def rows(self) -> pd.DataFrame:
        """Features of customers who had ordered, with what they spent in the days after; nothing where they did not."""
        known = self.features[self.features["recency_days"].notna()]
        known, later = (frame.assign(as_of=_days(frame["as_of"])) for frame in (known, self.spend))
        rows = known.merge(later, on=["as_of", "customer_id"], how="left", validate="one_to_one")
        return rows.fillna({"spend": 0.0}).sort_values(["as_of", "customer_id"]).reset_index(drop=True)

    def as_of_rows(self) -> pd.DataFrame:
        """Features of the day of the test."""
        return self.features[_days(self.features["as_of"]) == pd.Timestamp(self.day)]

    def outcome(self) -> pd.DataFrame:
        """Orders and spend after that day of the customers of `measures`, in their order."""
        rows = self.spend[_days(self.spend["as_of"]) == pd.Timestamp(self.day)].set_index("customer_id")
        return rows.reindex(self.measures["customer_id"])[["orders", "spend"]].fillna(0.0).reset_index(drop=True)


@dataclass(frozen=True)
class TrainedValue:
    """What came of training a month.

    Attributes:
        model: The champion, or None when there was nothing to learn from.
        leaderboard: Figures of every candidate on the held-out days, in `LEADERBOARD_COLUMNS`.
        calibration: frequency (text), expected, realised (mean orders in the held-out days), customers.
        message: One line on the choice, or on what is missing.
    """

    model: ValueModel | None
    leaderboard: pd.DataFrame
    calibration: pd.DataFrame
    message: str


def train_value(
    histories: Histories, held_out: HeldOut | None, month_start: date, first_day: date, terms: Terms, threads: int = 1
) -> TrainedValue:
    """Train the value model of a month on days before it.

    Args:
        histories: as of the last day before the month.
        held_out: what candidates learn from and are judged by; None where history is too short to hold days out.
        month_start: first day the model may score.
        first_day: first day with an order.
        terms: what is predicted.
        threads: for LightGBM; the result does not depend on it.

    Returns:
        The champion, the leaderboard, its calibration and a line that says why.
    """
    try:
        fitted = _fit(histories)
    except TooFewOrdersError as missing:
        return TrainedValue(None, *_not_tested(), str(missing))
    try:
        past = _fit(Histories.of(held_out.measures)) if held_out else None
    except TooFewOrdersError:
        past = None
    if held_out is None or past is None:
        message = f"{PROCESS} is champion untested: too little history to hold {terms.holdout_days} days out"
        model = _model(PROCESS, fitted, month_start, first_day, terms, {"choice": message})
        return TrainedValue(model, *_not_tested(), message)

    rows = held_out.rows()
    earlier = rows[rows["as_of"] <= pd.Timestamp(held_out.day - timedelta(days=terms.holdout_days))]
    predictions = _predictions(past, held_out, first_day, terms)
    if len(earlier) >= _LEAST_ROWS:
        booster = _boost(earlier, terms.seed, threads)
        predictions[LEARNER] = boosted_spend(booster, aligned(held_out.as_of_rows(), held_out.measures), threads)
    actual = held_out.outcome()
    judged = {name: judge(actual["spend"], forecast, terms.seed) for name, forecast in predictions.items()}
    champion, message = _choice(judged)
    about = {
        "choice": message,
        "test_day": held_out.day.isoformat(),
        "held_out_until": (held_out.day + timedelta(days=terms.holdout_days)).isoformat(),
        "customers_judged": len(actual),
        "figures": {name: result.values for name, result in judged.items()},
        "interval": {"promised": INTERVAL, "held": _share_held(past, held_out, first_day, terms, actual["spend"])},
        "learner_rows": len(earlier),
    }
    booster = _boost(rows, terms.seed, threads) if champion == LEARNER else ""
    return TrainedValue(
        _model(champion, fitted, month_start, first_day, terms, about, booster),
        _leaderboard(judged, month_start, champion),
        _calibration(past, held_out, terms.holdout_days, actual["orders"]),
        message,
    )


@dataclass(frozen=True)
class _Fitted:
    """Order process and order values of one day's histories."""

    orders: BgNbd
    values: GammaGamma
    correlation: dict[str, Any]


def _fit(histories: Histories) -> _Fitted:
    counts = histories.counts
    repeaters = int(counts["customers"][counts["frequency"] > 0].sum())
    if repeaters < _LEAST_REPEATERS:
        raise TooFewOrdersError(f"needs {_LEAST_REPEATERS} customers who ordered again: {repeaters}")
    # What was returned as a whole says nothing of what orders are worth.
    kept = histories.values[histories.values["amount"] > 0]
    number, amount = kept["orders"].to_numpy(np.float64), kept["amount"].to_numpy(np.float64)
    return _Fitted(
        fit_bg_nbd(*_history(counts), customers=counts["customers"], modified=True),
        fit_gamma_gamma(number, amount / number),
        value_frequency_correlation(number, amount / number),
    )


def _history(measures: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    frequency, recency, age = (measures[name].to_numpy(np.float64) for name in ("frequency", "recency", "age"))
    return frequency, recency, age


def _predictions(fitted: _Fitted, held_out: HeldOut, first_day: date, terms: Terms) -> dict[str, Floats]:
    """What each candidate but the learner expects every customer to spend."""
    measures, days = held_out.measures, terms.holdout_days
    value, history = expected_order_value(fitted.values, measures), _history(measures)
    return {
        PROCESS: fitted.orders.expected_orders(*history, horizon=days) * value,
        PLAIN_PROCESS: fit_bg_nbd(*history).expected_orders(*history, horizon=days) * value,
        BASELINE: past_pace(measures, first_day, held_out.day, days),
    }


def _share_held(fitted: _Fitted, held_out: HeldOut, first_day: date, terms: Terms, spend: pd.Series) -> float:
    """Share of customers whose spend in the held-out days lay in the interval drawn for these days."""
    in_test = replace(terms, horizon_days=terms.holdout_days, discount_rate=0.0)
    model = _model(PROCESS, fitted, held_out.day, first_day, in_test, {})
    drawn = score_value(model, held_out.measures, held_out.day)
    return float(spend.between(drawn["clv_low"], drawn["clv_high"]).mean())


def _days(days: pd.Series) -> pd.Series:
    return pd.to_datetime(days).astype("datetime64[s]")


def _boost(rows: pd.DataFrame, seed: int, threads: int) -> str:
    import lightgbm

    # On fewer rows threads wait for each other longer than they work.
    threads = max(1, min(threads, len(rows) // _ROWS_OF_THREAD))
    parameters = {**_LIGHTGBM, "num_threads": threads, "seed": seed}
    target = np.maximum(rows["spend"].to_numpy(np.float64), 0.0)
    data = lightgbm.Dataset(value_matrix(rows), target, params=parameters)
    text = lightgbm.train(parameters, data, num_boost_round=_ROUNDS).model_to_string()
    # A model's text names the threads it was trained with, which are no part of it.
    return str(text).replace(f"[num_threads: {threads}]", "[num_threads: 0]")


def _choice(judged: dict[str, Judged]) -> tuple[str, str]:
    """The baseline, unless a candidate ranks customers better than what stands before it and is worse in nothing."""
    best, reasons = BASELINE, []
    for name in (PROCESS, LEARNER):
        if name in judged:
            is_better, words = _compared(judged[name], judged[best])
            reasons.append(f"{name} against {best}: {words}")
            best = name if is_better else best
    verdict = "past spend stays champion" if best == BASELINE else f"{best} is champion"
    return best, f"{verdict}: {'; '.join(reasons)}"


def _compared(one: Judged, other: Judged) -> tuple[bool, str]:
    """Whether one ranks better than the other beyond chance and is worse in no figure, and the figures in words.

    A lower error alone promotes nothing: one and the same amount for everyone may have it, where spend is random.
    """
    verdicts, words = {}, []
    for metric in METRICS:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        low, high = interval(sign * (one.resampled[metric] - other.resampled[metric]))
        verdicts[metric] = "better" if low > 0 else "worse" if high < 0 else "alike"
        words.append(f"{metric} {one.values[metric]:.3f} to {other.values[metric]:.3f} ({verdicts[metric]})")
    ranks_better = any(verdicts[metric] == "better" for metric in RANKING_METRICS)
    return ranks_better and "worse" not in verdicts.values(), ", ".join(words)


def _leaderboard(judged: dict[str, Judged], month: date, champion: str) -> pd.DataFrame:
    rows = [
        (_MODEL, month, name, metric, result.values[metric], *interval(result.resampled[metric]), name == champion)
        for name, result in judged.items()
        for metric in METRICS
    ]
    return pd.DataFrame(rows, columns=list(LEADERBOARD_COLUMNS))


def _calibration(fitted: _Fitted, held_out: HeldOut, days: int, realised: pd.Series) -> pd.DataFrame:
    """Mean orders expected and realised by orders before, as in Fader, Hardie and Lee's figure."""
    history = _history(held_out.measures)
    expected = fitted.orders.expected_orders(*history, horizon=days)
    shown = np.minimum(history[0], _SHOWN_FREQUENCIES).astype(int)
    frame = pd.DataFrame({"expected": expected, "realised": realised.to_numpy(np.float64), "customers": 1})
    means = frame.groupby(shown).agg({"expected": "mean", "realised": "mean", "customers": "size"})
    names = [f"{count}+" if count == _SHOWN_FREQUENCIES else str(count) for count in means.index]
    return means.reset_index(drop=True).assign(frequency=names)


def _model(
    champion: str,
    fitted: _Fitted,
    month_start: date,
    first_day: date,
    terms: Terms,
    about: Mapping[str, Any],
    booster: str = "",
) -> ValueModel:
    month = month_start.isoformat()
    card = {
        "model": _MODEL,
        "trained_for": month,
        "champion": champion,
        **about,
        **asdict(terms),
        "orders": fitted.orders.to_document(),
        "order_values": fitted.values.to_document(),
        "value_and_frequency": fitted.correlation,
        "one_time_buyers": "MBG/NBD lets customers leave after their first order, so their P(alive) falls with time; "
        "BG/NBD, shown for comparison, holds them to be customers for ever and cannot be champion",
        "features": list(VALUE_FEATURES) if champion == LEARNER else [],
        "parameters": {**_LIGHTGBM, "rounds": _ROUNDS} if champion == LEARNER else {},
        "versions": {name: version(name) for name in ("lightgbm", "numpy", "pandas", "scipy")},
        "limits": "Revenue, not margin. An order is a day with an order. Orders are taken to come at a steady rate, "
        "without seasons.",
    }
    return ValueModel(
        model_id=f"{_MODEL}-{month}-{champion}",
        champion=champion,
        orders=fitted.orders,
        values=fitted.values,
        booster=booster,
        first_day=first_day,
        **asdict(terms),
        card=card,
    )


def _not_tested() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A leaderboard and a calibration without rows."""
    shown = ["frequency", "expected", "realised", "customers"]
    return pd.DataFrame(columns=list(LEADERBOARD_COLUMNS)), pd.DataFrame(columns=shown)
