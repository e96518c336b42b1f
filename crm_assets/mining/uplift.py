"""What a contact changes: uplift of persons, and how well a ranking by uplift finds those whom a contact moves.

Belongs here: scoring, Qini curve and uplift of the best. Not here: training (`uplift_training.py`).

Customers who were held out at random say what would have happened without a contact. Two ways to learn from both sides:
one model of each side, whose difference is the uplift (two-model approach, T-learner; Radcliffe and Surry, Differential
Response Analysis, 1999), and the class transformation of Jaskowski and Jaroszewicz (Uplift modeling for clinical trial
data, 2012), a model of whether a customer was contacted and responded or was held out and did not; sides are weighted
with the share that was contacted, which is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.response import DO_NOT_DISTURB, LOST_CAUSE, PERSUADABLE, SURE_THING
from crm_assets.mining.classifiers import raw_scores
from crm_assets.mining.model_metrics import interval
from crm_assets.mining.response_inputs import ResponseInputs

AVERAGE = "average_effect"
T_LEARNER, CLASS_TRANSFORMATION = "t_learner", "class_transformation"
TOPS = (10, 20, 30)
"""Percentages of customers, those with the highest uplift first, whose uplift is measured."""

METRICS = ("qini", *(f"uplift_at_{top}" for top in TOPS), "uplift_at_30_gain")

_STEPS = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Uplift:
    """The model of uplift of a kind of campaign, as plain values.

    Attributes:
        champion: `average_effect`, or a way and a learner, such as `t_learner_logistic`.
        average: Response rate of those contacted less that of those held out.
        base: Response rate of those held out.
        estimators: `contacted` and `control`, or `transformed` and `control`; empty for the average effect.
        inputs: How rows become numbers, see `response_inputs.ResponseInputs`.
    """

    champion: str
    average: float
    base: float
    estimators: dict[str, Any]
    inputs: dict[str, Any]


@dataclass(frozen=True)
class FoundUplift:
    """Uplift of some rows.

    Attributes:
        uplift: What a contact adds to the probability of a response.
        groups: What a contact does to each; None where the uplift is the average effect.
    """

    uplift: Floats
    groups: list[str] | None

    @property
    def is_promoted(self) -> bool:
        """Whether rows differ in uplift."""
        return self.groups is not None


def uplift_of(model: Uplift, rows: pd.DataFrame, threads: int = 1) -> FoundUplift:
    """What a contact adds for each row, and the group it belongs to.

    Groups: do not disturb, whom a contact makes less likely to respond; persuadable, whom it moves more than the average;
    of the others, sure things respond without a contact at least as often as customers did on average, lost causes less
    often.

    Args:
        model: as `uplift_training.train_uplift` gives it.
        rows: as `response_cases` gives them.
        threads: for trees.
    """
    if not model.estimators:
        return FoundUplift(np.full(len(rows), model.average), None)
    if rows.empty:
        return FoundUplift(np.zeros(0), [])
    from scipy.special import expit

    matrix = ResponseInputs.from_document(model.inputs).matrix(rows, np.zeros(len(rows)))
    uplift = predicted_uplift(model.estimators, matrix, threads)
    without = expit(raw_scores(model.estimators["control"], matrix, threads))
    groups = np.select(
        [uplift < 0, uplift > max(model.average, 0.0), without >= model.base],
        [DO_NOT_DISTURB, PERSUADABLE, SURE_THING],
        LOST_CAUSE,
    )
    return FoundUplift(uplift, [str(group) for group in groups])


def predicted_uplift(estimators: Mapping[str, Any], matrix: pd.DataFrame, threads: int = 1) -> Floats:
    """Uplift by learnt estimators: `transformed`, or `contacted` and `control`."""
    from scipy.special import expit

    if "transformed" in estimators:
        return np.asarray(2 * expit(raw_scores(estimators["transformed"], matrix, threads)) - 1)
    contacted, control = (expit(raw_scores(estimators[side], matrix, threads)) for side in ("contacted", "control"))
    return np.asarray(contacted - control)


@dataclass(frozen=True)
class QiniCurve:
    """How many more respond when customers are contacted from the highest uplift down.

    Attributes:
        share: Share of the customers who are contacted, from 0 to 1.
        gained: Responses more per customer of all, of those who are contacted and those who are not.
        figures: `METRICS` of all rows, and `average_effect`.
        resampled: The same of each resample.
    """

    share: Floats
    gained: Floats
    figures: dict[str, float]
    resampled: dict[str, Floats]

    def interval(self, metric: str) -> tuple[float, float]:
        """Ends of the 95% bootstrap interval of a figure."""
        return interval(self.resampled[metric])


def qini(
    uplift: Floats,
    contacted: NDArray[np.bool_],
    outcome: Floats,
    propensity: Floats,
    resamples: int,
    seed: int,
) -> QiniCurve:
    """The Qini curve of a ranking (Radcliffe, Using control groups to target on predicted lift, 2007).

    `qini` is the area between the curve and the straight line of contacting as many at random, in responses per customer:
    zero for a ranking at random. `uplift_at_30` is the response rate of contacted customers less that of held-out ones
    among the 30% ranked highest, `uplift_at_30_gain` that less the effect on everyone. Each customer stands for as many
    as the share contacted says, so that shares may differ from day to day.

    Args:
        uplift: by which customers are ranked, highest first; ties are broken by chance.
        contacted: who was; the others were held out.
        outcome: 0 or 1 of each.
        propensity: share contacted of those among whom each was drawn, above 0 and below 1.
        resamples: of the bootstrap over customers.
        seed: of ties and resamples.
    """
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.permutation(len(uplift)), -uplift))
    steps = min(_STEPS, len(order))
    place = np.empty(len(order))
    place[order] = np.arange(len(order)) * steps // len(order)
    # Customers of a step, a side and an outcome are alike, so how often each such cell is drawn is all of a resample.
    cells, counts = np.unique(np.column_stack([place, contacted, outcome, propensity]), axis=0, return_counts=True)
    drawn = generator.multinomial(len(order), counts / len(order), size=resamples)
    every = np.vstack([counts, drawn]).astype(np.float64)
    starts = np.searchsorted(cells[:, 0], np.arange(steps))
    side, responded, share_contacted = cells[:, 1] > 0, cells[:, 2], cells[:, 3]
    stands_for = every * np.where(side, 1 / share_contacted, 1 / (1 - share_contacted))

    def so_far(values: Floats) -> Floats:
        return np.asarray(np.cumsum(np.add.reduceat(values, starts, axis=1), axis=1))

    rows = so_far(every)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = [so_far(stands_for * group * responded) / so_far(stands_for * group) for group in (side, ~side)]
    # A step without a side says nothing of its effect.
    effect = np.nan_to_num(rates[0] - rates[1])
    share = np.pad(rows / rows[:, -1:], ((0, 0), (1, 0)))
    gained = np.pad(effect, ((0, 0), (1, 0))) * share
    area = (np.diff(share, axis=1) * (gained[:, 1:] + gained[:, :-1]) / 2).sum(axis=1) - gained[:, -1] / 2
    found = {"qini": area, AVERAGE: effect[:, -1]}
    for top in TOPS:
        found[f"uplift_at_{top}"] = effect[:, np.abs(share[0, 1:] - top / 100).argmin()]
    found["uplift_at_30_gain"] = found["uplift_at_30"] - found[AVERAGE]
    return QiniCurve(
        share[0],
        gained[0],
        {name: float(values[0]) for name, values in found.items()},
        {name: values[1:] for name, values in found.items()},
    )
