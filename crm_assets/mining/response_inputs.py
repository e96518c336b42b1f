"""Contacts as numbers, and the level at which a kind of campaign was answered at the time.

Belongs here: frames to matrices. Not here: reading contacts (`response_cases.py`), the models (`response_training.py`).

The share of those contacted who respond drifts with season, offer and economy, and moves everyone alike. So it is no
feature: the level is the share of responses to the newest contacts of the kind whose horizon had ended by then, and
learners tell who stands above or below it. For the same reason fields that are the same for nearly everyone contacted on
a day, such as the month or an interest rate, are left out: they cannot tell whom to contact on a day, and what they stood
for in the past changes.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.mining.response_cases import CATEGORIES, NUMBERS, PROSPECT_NUMBERS
from crm_assets.mining.subscription_inputs import Encoding, encode, fit_encoding

LEVEL, PAST_RESPONSES = "_level", "_past_responses"
"""Columns of log-odds that learners do not see: the kind's level, and the customer's own past responses drawn to it."""

LEVEL_CONTACTS = 1_000
"""Newest contacts that a level is taken of, whole days of them."""

_PRIOR_RATE, _PRIOR_CONTACTS = 0.05, 20
_OWN_PRIOR = 2.0
"""Contacts at the level that stand beside a customer's own."""

_NEARLY_ALL = 0.99

_SAME_ON_A_DAY = 0.8
"""Share of a field's variance that lies between days, beyond which it says which day it is."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ResponseInputs:
    """How contacts of a kind become numbers.

    Attributes:
        encoding: Of the fields that are read.
        of_the_day: Fields that are left out since they are the same for nearly everyone on a day.
    """

    encoding: Encoding
    of_the_day: list[str]

    def to_document(self) -> dict[str, Any]:
        """As plain values."""
        return {"encoding": self.encoding.to_document(), "of_the_day": self.of_the_day}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "ResponseInputs":
        """What `to_document` wrote."""
        return cls(Encoding(**document["encoding"]), list(document["of_the_day"]))

    def matrix(self, rows: pd.DataFrame, level: Floats) -> pd.DataFrame:
        """What models see of rows of `response_cases`, with the level of each."""
        return self.with_level(encode(rows, self.encoding), rows, level)

    def with_level(self, fields: pd.DataFrame, rows: pd.DataFrame, level: Floats) -> pd.DataFrame:
        """The same of rows whose fields, and maybe others, are encoded already."""
        from scipy.special import expit, logit

        own = rows["kind_contacts"].to_numpy(np.float64), rows["kind_responses"].to_numpy(np.float64)
        rate = (own[1] + _OWN_PRIOR * expit(level)) / (own[0] + _OWN_PRIOR)
        return fields[self.encoding.columns].assign(**{LEVEL: level, PAST_RESPONSES: logit(rate)})


def fit_response_inputs(rows: pd.DataFrame, for_prospects: bool) -> tuple[ResponseInputs, Encoding, pd.DataFrame]:
    """Fields that tell contacts apart, and all fields that differ at all.

    Args:
        rows: as `response_cases.contacted_rows` gives them.
        for_prospects: leave out what was bought.

    Returns:
        How rows become numbers, the encoding of all fields, and the rows by it.
    """
    every = fit_encoding(rows, PROSPECT_NUMBERS if for_prospects else NUMBERS, CATEGORIES)
    fields = encode(rows, every)
    dropped = fields_of_the_day(fields, every, rows["day"].to_numpy())
    kept = [number for number, source in enumerate(every.sources) if source not in dropped]
    encoding = replace(
        every,
        columns=[every.columns[number] for number in kept],
        sources=[every.sources[number] for number in kept],
        values=[every.values[number] for number in kept],
    )
    return ResponseInputs(encoding, dropped), every, fields


def fields_of_the_day(matrix: pd.DataFrame, encoding: Encoding, days: NDArray[Any]) -> list[str]:
    """Fields most of whose variance lies between days, less what chance puts there, in order.

    Args:
        matrix: as `encode` gives it.
        encoding: of the matrix.
        days: the day of each row.
    """
    codes = np.unique(days, return_inverse=True)[1]
    count = int(codes.max()) + 1 if len(codes) else 0
    if count < 2 or len(codes) <= 2 * count:
        return []
    sizes = np.bincount(codes)
    within: dict[str, float] = {}
    total: dict[str, float] = {}
    for name, source in zip(encoding.columns, encoding.sources, strict=True):
        values = matrix[name].to_numpy(np.float64)
        values = np.where(np.isnan(values), np.nanmean(values) if (~np.isnan(values)).any() else 0.0, values)
        means = np.bincount(codes, values) / sizes
        within[source] = within.get(source, 0.0) + float(((values - means[codes]) ** 2).sum())
        total[source] = total.get(source, 0.0) + float(((values - values.mean()) ** 2).sum())
    degrees = (len(codes) - 1) / (len(codes) - count)
    return sorted(
        source
        for source in total
        if total[source] > 0 and 1 - degrees * within[source] / total[source] > _SAME_ON_A_DAY
    )


def levels(rates: pd.DataFrame, days: NDArray[Any], horizon_days: int) -> Floats:
    """Log-odds of a response to the newest contacts of a kind, as of days.

    Args:
        rates: day, delay_days and contacts of one kind, as `response_cases.response_rates` gives them.
        days: last days seen, `datetime64[D]`.
        horizon_days: days from the contact in which a response counts; a contact counts once they have gone.

    Returns:
        One for each day; before the first horizon has ended, those of 5 in 100.
    """
    from scipy.special import logit

    responses = rates["contacts"].where(rates["delay_days"] <= horizon_days, 0)
    by_day = rates.assign(responses=responses).groupby("day")[["contacts", "responses"]].sum()
    known = by_day.index.to_numpy().astype("datetime64[D]") + np.timedelta64(horizon_days)
    contacts = np.r_[0, np.cumsum(by_day["contacts"].to_numpy(np.float64))]
    responses = np.r_[0, np.cumsum(by_day["responses"].to_numpy(np.float64))]
    ends = np.searchsorted(known, days, side="right")
    starts = np.maximum(np.searchsorted(contacts, contacts[ends] - LEVEL_CONTACTS, side="right") - 1, 0)
    got, of = responses[ends] - responses[starts], contacts[ends] - contacts[starts]
    return np.asarray(logit((got + _PRIOR_RATE * _PRIOR_CONTACTS) / (of + _PRIOR_CONTACTS)))


def horizon_of(rates: pd.DataFrame, most_days: int) -> int:
    """Days in which nearly all responses to a kind of campaign came, at least one.

    A phone call is answered at once and a coupon in weeks. The sooner an answer counts as none, the newer the contacts that
    a model learns from.

    Args:
        rates: delay_days and contacts of one kind, as `response_cases.response_rates` gives them.
        most_days: most days; what is given where nobody responded.
    """
    of_responses = rates[rates["delay_days"].notna()].groupby("delay_days")["contacts"].sum()
    if of_responses.empty:
        return most_days
    share = of_responses.cumsum() / of_responses.sum()
    return min(most_days, max(1, int(share.index[share >= _NEARLY_ALL][0])))


def waves(days: NDArray[Any], outcome: Floats, least: int, share: float) -> NDArray[Any]:
    """First day of the days that are held out together, of each row.

    Days are joined from the newest one backwards until they hold a share of the rows and enough of either outcome; what
    is left over at the beginning is one wave.

    Args:
        days: day of each contact.
        outcome: 0 or 1 of each.
        least: rows of each outcome that a wave needs.
        share: share of all rows that a wave needs.
    """
    distinct, codes = np.unique(days, return_inverse=True)
    rows, hits = np.bincount(codes), np.bincount(codes, outcome)
    starts, first = np.empty(len(distinct), dtype=distinct.dtype), len(distinct)
    while first > 0:
        end, first = first, first - 1
        while first > 0 and not _is_wave(rows[first:end].sum(), hits[first:end].sum(), len(days) * share, least):
            first -= 1
        starts[first:end] = distinct[first]
    return np.asarray(starts[codes])


def _is_wave(rows: float, hits: float, least_rows: float, least: int) -> bool:
    return bool(rows >= least_rows and min(hits, rows - hits) >= least)
