"""Ways to forecast one series: naive ones, the mean, those of statsforecast, and exponential smoothing beside effects.

Belongs here: which candidates a series has, and what each says of the periods to come. Not here: which one is champion,
and what becomes of its forecast (`forecast.py`).

Beside effects means regression with errors that are smoothed: least squares takes the effects of the first days of the
month or of campaigns from the series, and what is left is forecast as a series of its own (Hyndman and Athanasopoulos,
Forecasting: Principles and Practice, 2021, chapter 10).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.behaviour import TOTAL
from crm_assets.contracts.forecast import MONTH, WEEK
from crm_assets.mining.sales_series import campaigns_running, later_periods

NAIVE, SEASONAL_NAIVE = "naive", "seasonal_naive"
MEAN, ETS, THETA, ARIMA = "mean", "ets", "theta", "arima"
MONTH_DAYS = "ets_month_days"
"""Exponential smoothing of what is left beside an effect of the first days of the month, when many are paid."""

CAMPAIGNS, MONTH_DAYS_CAMPAIGNS = "ets_campaigns", "ets_month_days_campaigns"
"""The same beside an effect of the campaigns that run, and beside both."""

SEASONS = {WEEK: 52, MONTH: 12}

ENOUGH = 10
"""Periods without which nothing is estimated but a mean."""

FIRST_DAYS = 10

_EARLY, _RUNNING = "first days of the month", "campaigns"
_BESIDE = {MONTH_DAYS: (_EARLY,), CAMPAIGNS: (_RUNNING,), MONTH_DAYS_CAMPAIGNS: (_EARLY, _RUNNING)}
"""Beside the effects of what exponential smoothing is done."""

Floats = NDArray[np.float64]


def naive_of(grain: str, known: int) -> str:
    """The naive forecast of a series with so many periods."""
    return SEASONAL_NAIVE if known >= 2 * SEASONS[grain] else NAIVE


def candidates(grain: str, dimension: str, known: int, campaigns: bool = False) -> list[str]:
    """Ways to forecast a series with so many periods, the naive one first; the slow ones for totals only.

    Parts are scaled to their total, so they move with its campaigns.
    """
    found = [naive_of(grain, known), MEAN]
    if known < ENOUGH:
        return found
    weekly = grain == WEEK
    found += [ETS, *([MONTH_DAYS] if weekly else [])]
    if dimension != TOTAL:
        return found
    beside = [CAMPAIGNS, *([MONTH_DAYS_CAMPAIGNS] if weekly else [])] if campaigns else []
    return [*found, *beside, THETA, ARIMA]


def forecast_by(method: str, known: pd.Series, count: int, grain: str, campaigns: pd.DataFrame | None = None) -> Floats:
    """The next periods of a series by one method.

    Args:
        method: One of `candidates`.
        known: The series, by first day of its periods, at least one.
        count: How many periods.
        grain: Their length.
        campaigns: As `dated_campaigns` gives them, for methods that look at them; those that were not known by the end of
            the series are not seen.
    """
    values = known.to_numpy(np.float64)
    if method == SEASONAL_NAIVE:
        return np.resize(values[-SEASONS[grain] :], count)
    if method == NAIVE:
        return np.repeat(values[-1], count)
    if method == MEAN or len(values) < ENOUGH or np.ptp(values) == 0:
        return np.repeat(values.mean(), count)
    if method in _BESIDE:
        later = later_periods(grain, known.index[-1], count)
        last_day = (later[0] - pd.Timedelta(days=1)).date()
        starts = pd.DatetimeIndex([*known.index, *later])
        beside = np.zeros((len(starts), len(_BESIDE[method])))
        for number, sign in enumerate(_BESIDE[method]):
            if sign == _EARLY:
                beside[:, number] = _first_days(starts)
            elif campaigns is not None:
                beside[:, number] = campaigns_running(campaigns, starts, grain, last_day)
        own, ahead = beside[: len(values)], beside[len(values) :]
        # The least of equal solutions leaves out what never changed, and shares what always changes together.
        effects = np.linalg.lstsq(own - own.mean(axis=0), values - values.mean(), rcond=1e-9)[0]
        return _library(ETS, values - own @ effects, count, 1) + ahead @ effects
    season = SEASONS[grain] if len(values) >= 2 * SEASONS[grain] else 1
    return _library(method, values, count, season)


def _first_days(starts: pd.DatetimeIndex) -> Floats:
    """How many of the days of each week are among the first of their month."""
    days = [[(start + pd.Timedelta(days=number)).day <= FIRST_DAYS for number in range(7)] for start in starts]
    return np.array(days, dtype=np.float64).sum(axis=1)


def _library(method: str, values: Floats, count: int, season: int) -> Floats:
    from statsforecast.models import AutoARIMA, AutoETS, AutoTheta

    model = {ETS: AutoETS, THETA: AutoTheta, ARIMA: AutoARIMA}[method](season_length=season)
    return np.asarray(model.forecast(values, h=count)["mean"], np.float64)
