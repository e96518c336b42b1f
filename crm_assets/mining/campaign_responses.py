"""What past campaigns got, of those contacted and of those held out.

Belongs here: counts and intervals. Not here: what a campaign brought beyond what customers would have done anyway
(`campaign_effects.py`), who responds next (`response.py`).
"""

from collections.abc import Sequence
from statistics import NormalDist

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.response import CAMPAIGN_RESPONSES

_NORMAL = NormalDist().inv_cdf(0.975)

Floats = NDArray[np.float64]


def campaign_response_sums(cases: ir.Table) -> ir.Table:
    """How many were contacted and responded, and what responses were worth, by campaign and whether held out.

    Args:
        cases: as `response_cases.campaign_cases` gives them.

    Returns:
        campaign_id, is_control, campaign_kind, first_day, contacts, responses, valued (responses whose value is told),
        buyers (whose response has a value above 0), value and squared_value (sums over contacts); by the first two.
    """
    value = cases.response_value.cast("decimal(18,4)").fill_null(0)
    known = cases.mutate(value=value, squared_value=(value * value).cast("decimal(38,8)"))
    return (
        known.group_by("campaign_id", "is_control")
        .agg(
            campaign_kind=known.campaign_kind.min(),
            first_day=known.day.min(),
            contacts=known.count(),
            responses=known.responded_on.count(),
            valued=cases.response_value.count(),
            buyers=known.count(where=known.value > 0),
            value=known.value.sum(),
            squared_value=known.squared_value.sum(),
        )
        .order_by("campaign_id", "is_control")
    )


def campaign_response_rates(sums: pd.DataFrame) -> pd.DataFrame:
    """Rates with their 95% intervals.

    Those of shares are Wilson's (Probable inference, the law of succession, and statistical inference, 1927), those of the
    mean value normal; the latter are null for a single contact. Conversion and value are null where no response tells one.

    Args:
        sums: as `campaign_response_sums` gives them.

    Returns:
        Rows of `contracts.response.CAMPAIGN_RESPONSES`.
    """
    contacts = sums["contacts"].to_numpy(np.float64)
    value, squared = (sums[name].astype("float64").to_numpy() for name in ("value", "squared_value"))
    found = sums.drop(columns=["value", "squared_value"])
    for name, counts in (("response", sums["responses"]), ("conversion", sums["buyers"])):
        low, high = _wilson(counts.tolist(), sums["contacts"].tolist())
        found = found.assign(
            **{f"{name}_rate": counts.to_numpy(np.float64) / contacts, f"{name}_low": low, f"{name}_high": high}
        )
    mean = value / contacts
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(contacts > 1, (squared - contacts * mean**2) / (contacts - 1), np.nan)
    half = _NORMAL * np.sqrt(np.maximum(variance, 0) / contacts)
    found = found.assign(mean_value=mean, value_low=mean - half, value_high=mean + half)
    untold = (found["responses"] > 0) & (found["valued"] == 0)
    of_values = [
        name for name in CAMPAIGN_RESPONSES.by_name if name.startswith(("buyers", "conversion", "mean", "value"))
    ]
    found = found.assign(**{name: found[name].astype("float64").mask(untold) for name in of_values})
    return found[list(CAMPAIGN_RESPONSES.by_name)]


def _wilson(hits: Sequence[int], rows: Sequence[int]) -> tuple[Floats, Floats]:
    """Ends of the 95% interval of shares of so many rows, above 0."""
    from scipy.stats import binomtest

    found = [binomtest(hit, count).proportion_ci(method="wilson") for hit, count in zip(hits, rows, strict=True)]
    return np.array([ends.low for ends in found]), np.array([ends.high for ends in found])
