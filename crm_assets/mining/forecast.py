"""Forecasts of sales: the champion of each series by rolling origins, and forecasts that add up.

Belongs here: choosing, reconciling, intervals. Not here: the ways to forecast a series (`forecast_methods.py`), the
series (`sales_series.py`).

Errors are those of forecasts from earlier origins, each knowing earlier periods only, scaled by the mean error of
repeating the last period, or the same one of last year once there are two years (MASE; Hyndman and Koehler, Another look
at measures of forecast accuracy, 2006). A candidate that is not better than this naive forecast on average is not used.
Parts are scaled to the total of their dimension by their forecast proportions (Athanasopoulos, Ahmed and Hyndman,
Hierarchical forecasts for Australian domestic tourism, 2009), which keeps them above zero. Intervals reach as far as
four of five of the champion's errors did after the worst origin: as in split conformal prediction (Vovk, Gammerman and
Shafer, 2005), with no assumption on the form of errors, but made for few origins that lie near each other.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from crm_assets.contracts.behaviour import TOTAL
from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.contracts.forecast import MONTH, SALES_FORECAST, WEEK
from crm_assets.mining.forecast_methods import (
    CAMPAIGNS,
    MONTH_DAYS_CAMPAIGNS,
    NAIVE,
    SEASONAL_NAIVE,
    SEASONS,
    Floats,
    candidates,
    forecast_by,
    naive_of,
)
from crm_assets.mining.sales_series import Key, largest_parts, later_periods, whole_periods

LEAST = {WEEK: 26, MONTH: 6}
"""Fewest periods that a forecast from an earlier origin must know."""

MOST_ORIGINS = 6
ENOUGH_ORIGINS = 3
"""Origins from which the reach of errors can be told."""

COVERAGE = 0.8
RESAMPLES = 1_000


@dataclass(frozen=True)
class SeriesModel:
    """How one series is forecast.

    Attributes:
        method: The champion.
        mase: Its mean absolute scaled error over the origins; None where there were too few.
        width: How far the interval reaches to either side, in the unit of the series.
        growth: How much further it does with each period beyond the `steady` ones.
        steady: Periods after the first until it grows.
    """

    method: str
    mase: float | None
    width: float
    growth: float = 0.0
    steady: float = 0.0


@dataclass(frozen=True)
class ForecastModel:
    """The champions of a month: plain values, so that they can be stored without pickle.

    Attributes:
        model_id: Names the model in the mart.
        parts: Values of each dimension with a series of their own.
        series: How each series is forecast, by its name.
        card: Data window, figures and limits.
    """

    model_id: str
    parts: dict[str, list[str]]
    series: dict[str, SeriesModel]
    card: dict[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The model as plain values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ForecastModel":
        """The model that `to_document` wrote."""
        series = {name: SeriesModel(**model) for name, model in document["series"].items()}
        return cls(**{**document, "series": series})


def series_name(key: Key) -> str:
    """A series in words, such as `revenue by week: category GROCERY`."""
    measure, grain, dimension, value = key
    return f"{measure} by {grain}: {TOTAL if dimension == TOTAL else f'{dimension} {value}'}"


def choose_forecasters(
    days: pd.DataFrame,
    first_day: date,
    month_start: date,
    horizons: Mapping[str, int],
    most_parts: int,
    seed: int,
    campaigns: pd.DataFrame | None = None,
) -> tuple[ForecastModel | None, pd.DataFrame, str]:
    """The champion of each series, from sales before a month.

    Args:
        days: As `sales_by_day` gives them.
        first_day: First day of the data.
        month_start: First day that may be forecast from; later sales are ignored.
        horizons: Periods ahead, by grain.
        most_parts: Most parts of a dimension with a series of their own.
        seed: Of the bootstrap.
        campaigns: As `dated_campaigns` gives them; each origin sees those that were known by then.

    Returns:
        The model, None without a whole period; the leaderboard of the totals, in the columns of `MODEL_LEADERBOARD`; and
        one line on the choice.
    """
    last = month_start - timedelta(days=1)
    before = days[pd.to_datetime(days["day"]) < pd.Timestamp(month_start)]
    parts = largest_parts(before, most_parts)
    found: dict[str, SeriesModel] = {}
    board: list[tuple[Any, ...]] = []
    held: list[float] = []
    for key, known in whole_periods(before, parts, first_day, last).items():
        if known.empty:
            continue
        _, grain, dimension, _ = key
        # What an earlier origin knows is what candidates must do with.
        least = max(1, len(known) - horizons[grain])
        names = candidates(grain, dimension, least, campaigns is not None and not campaigns.empty)
        trial = _trial(known, grain, [naive_of(grain, len(known)), *names[1:]], horizons[grain], campaigns)
        found[series_name(key)] = trial.champion
        held += trial.covered
        if dimension == TOTAL:
            board += trial.rows(f"forecast {series_name(key)}", month_start, seed)
    leaderboard = pd.DataFrame(board, columns=list(MODEL_LEADERBOARD.by_name))
    if not found:
        return None, leaderboard, "needs a whole week of sales: 0"
    naive = sum(model.method in (NAIVE, SEASONAL_NAIVE) for model in found.values())
    tried = [model for model in found.values() if model.mase is not None]
    message = f"{len(found)} series, {naive} of them naive"
    message += "" if tried else "; there is too little history to compare candidates"
    totals = {name: asdict(model) for name, model in found.items() if name.endswith(TOTAL)}
    card = {
        "model": "sales_forecast",
        "trained_for": month_start.isoformat(),
        "choice": message,
        "known": f"{first_day} to {last}",
        "totals": totals,
        "interval": f"{COVERAGE:.0%}, as far as errors reached after the worst earlier origin, wider as they grew",
        "interval held": None if not held else round(float(np.mean(held)), 3),
        "horizons": dict(horizons),
        "limits": "no price or holiday to come is known, nor a campaign that was not delivered and has not begun; of one "
        "year of data no season can be told",
        "versions": {"statsforecast": version("statsforecast")},
    }
    return ForecastModel(f"sales_forecast-{month_start}", parts, found, card), leaderboard, message


def forecast_sales(
    model: ForecastModel,
    days: pd.DataFrame,
    first_day: date,
    as_of: date,
    horizons: Mapping[str, int],
    campaigns: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The periods to come of every series, so that the parts of a dimension add up to the total.

    Args:
        model: The champions.
        days: As `sales_by_day` gives them.
        first_day: First day of the data.
        as_of: Last day seen.
        horizons: Periods ahead, by grain.
        campaigns: As `dated_campaigns` gives them.

    Returns:
        Rows of `contracts.forecast.SALES_FORECAST`, by its key.
    """
    seen = days[pd.to_datetime(days["day"]) <= pd.Timestamp(as_of)]
    series = {key: known for key, known in whole_periods(seen, model.parts, first_day, as_of).items() if len(known)}
    expected = {}
    for key, known in series.items():
        chosen = model.series.get(series_name(key), _UNKNOWN)
        raw = forecast_by(chosen.method, known, horizons[key[1]], key[1], campaigns)
        expected[key] = np.maximum(raw, 0.0), chosen
    rows = []
    for key, (own, chosen) in expected.items():
        measure, grain, dimension, value = key
        reconciled = _reconciled(key, expected, series)
        width = _width(chosen, series[key])
        later = later_periods(grain, series[key].index[-1], len(own))
        reaches = _reaches(width, chosen.growth, chosen.steady, len(own))
        for period, middle, reach in zip(later, reconciled, reaches, strict=True):
            low, high = max(0.0, middle - reach), middle + reach
            place = measure, grain, dimension, value
            how = chosen.method, chosen.mase, model.model_id
            rows.append((as_of, series_name(key), period.date(), middle, low, high, *place, *how))
    frame = pd.DataFrame(rows, columns=list(SALES_FORECAST.by_name))
    return frame.sort_values(list(SALES_FORECAST.key), ignore_index=True)


_UNKNOWN = SeriesModel(NAIVE, None, float("nan"))
"""Of a part that came up after the champions had been chosen."""


def _width(chosen: SeriesModel, known: pd.Series) -> float:
    """Where no errors are known, as far as a period was from the one before in four of five cases."""
    if np.isfinite(chosen.width):
        return chosen.width
    steps = known.diff().abs().dropna()
    return float(steps.quantile(COVERAGE)) if len(steps) else float(known.abs().max())


def _reconciled(
    key: Key, expected: Mapping[Key, tuple[Floats, SeriesModel]], series: Mapping[Key, pd.Series]
) -> Floats:
    """Forecasts of a part, scaled so that the parts of its dimension add up to the total."""
    measure, grain, dimension, _ = key
    own = expected[key][0]
    if dimension == TOTAL:
        return own
    alike = [other for other in expected if other[:3] == (measure, grain, dimension)]
    total = next(values for other, (values, _) in expected.items() if other[:3] == (measure, grain, TOTAL))
    together = np.sum([expected[other][0] for other in alike], axis=0)
    # Where no part is forecast to sell anything but the total is, their past tells their shares.
    past = {other: max(0.0, float(series[other].sum())) for other in alike}
    all_past = sum(past.values())
    usual = past[key] / all_past if all_past > 0 else 1 / len(alike)
    return total * np.divide(own, together, out=np.full(len(own), usual), where=together > 0)


@dataclass(frozen=True)
class _Trial:
    """Candidates of one series and their errors from each origin."""

    champion: SeriesModel
    mase: dict[str, Floats]
    covered: list[float]

    def rows(self, model: str, month: date, seed: int) -> list[tuple[Any, ...]]:
        """Rows of the leaderboard: the interval resamples the origins."""
        rows = []
        for name, errors in self.mase.items():
            draws = np.random.default_rng(seed).integers(0, len(errors), (RESAMPLES, len(errors)))
            low, high = np.quantile(errors[draws].mean(axis=1), [0.025, 0.975])
            is_champion = name == self.champion.method
            rows.append((model, month, name, "mase", float(errors.mean()), float(low), float(high), is_champion))
        return rows


def _trial(
    known: pd.Series, grain: str, names: list[str], horizon: int, campaigns: pd.DataFrame | None = None
) -> _Trial:
    """Forecast from earlier origins and compare; naive stays where nothing is better on average."""
    step = max(1, horizon // MOST_ORIGINS)
    origins = list(range(len(known) - horizon, LEAST[grain] - 1, -step))[:MOST_ORIGINS]
    if not origins and len(known) > LEAST[grain]:
        origins = [LEAST[grain]]
    if not origins:
        return _Trial(SeriesModel(names[0], None, float("nan")), {}, [])
    if len(origins) < ENOUGH_ORIGINS:
        # What looks at campaigns knows few of them, so it must not win by one lucky origin.
        names = [name for name in names if name not in (CAMPAIGNS, MONTH_DAYS_CAMPAIGNS)]
    errors = {name: [_errors(name, known, origin, horizon, grain, campaigns) for origin in origins] for name in names}
    lag = SEASONS[grain] if names[0] == SEASONAL_NAIVE else 1
    scales = np.array([_scale(known.to_numpy(np.float64)[:origin], lag) for origin in origins])
    mase = {name: np.array([np.abs(own).mean() for own in found]) / scales for name, found in errors.items()}
    best = min(names, key=lambda name: (mase[name].mean(), names.index(name)))
    champion = best if mase[best].mean() < mase[names[0]].mean() else names[0]
    absolute = [np.abs(own) for own in errors[champion]]
    usual = _usual_spread(known)
    # Whether an interval from the other origins holds what happened after one.
    covered = [
        float(np.mean(own <= _reaches(*_reach(rest, usual), len(own))))
        for number, own in enumerate(absolute)
        if (rest := [other for place, other in enumerate(absolute) if place != number])
    ]
    return _Trial(SeriesModel(champion, float(mase[champion].mean()), *_reach(absolute, usual)), mase, covered)


def _reaches(width: float, growth: float, steady: float, count: int) -> Floats:
    """How far the intervals of the periods to come reach."""
    return width + growth * np.maximum(np.arange(count) - steady, 0.0)


def _reach(errors: list[Floats], usual: float) -> tuple[float, float, float]:
    """How far four of five errors reached after the worst origin: origins are few and near, so their mean flatters.

    Returns:
        Width, growth and steady periods, as `SeriesModel` has them: the same reach for all distances, and beyond it a line
        in proportion to one through the mean errors of each distance, where that rises. With fewer than `ENOUGH_ORIGINS`
        the reach does not grow, and is not less than the usual spread.
    """
    least = max(float(np.quantile(own, COVERAGE)) for own in errors)
    if len(errors) < ENOUGH_ORIGINS:
        return max(least, usual), 0.0, 0.0
    steps = np.arange(max(map(len, errors)))
    by_step = [np.mean([own[step] for own in errors if len(own) > step]) for step in steps]
    level = float(np.mean(by_step))
    slope = max(0.0, float(np.polyfit(steps, by_step, 1)[0])) if len(steps) > 1 else 0.0
    # The first period is never surer than half of the mean of all.
    slope = min(slope, level / 2 / max(steps.mean(), 1.0))
    line = level + slope * (steps - steps.mean())
    if slope == 0:
        return least, 0.0, 0.0
    worst = max(float(np.quantile(own / line[: len(own)], COVERAGE)) for own in errors)
    first = worst * float(line[0])
    return max(least, first), worst * slope, max(0.0, least - first) / (worst * slope)


def _usual_spread(known: pd.Series) -> float:
    """How far four of five periods are from the mean of all."""
    return float((known - known.mean()).abs().quantile(COVERAGE))


def _errors(
    name: str, known: pd.Series, origin: int, horizon: int, grain: str, campaigns: pd.DataFrame | None
) -> Floats:
    actual = known.iloc[origin : origin + horizon].to_numpy(np.float64)
    return np.maximum(forecast_by(name, known.iloc[:origin], len(actual), grain, campaigns), 0.0) - actual


def _scale(values: Floats, lag: int) -> float:
    """Mean error of the naive forecast within what is known; 1 where it has none."""
    steps = np.abs(values[lag:] - values[:-lag])
    return float(steps.mean()) or 1.0 if len(steps) else 1.0
