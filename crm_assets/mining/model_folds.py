"""What a yes-or-no outcome is told from, and the folds in time on which candidates are compared.

Belongs here: which rows are learnt from and which are held out. Not here: what is done with them (`model_choice.py`).

Folds have a rolling origin: the newest labelled days are held out, candidates learn from days whose labels had ended
before the first of them, and so on into the past (Tashman, Out-of-sample tests of forecasting accuracy, 2000). A source
that delivered one day of labels only has no time to hold out: five folds of customers stand in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.mining.classifiers import LEARNERS

HELD_OUT_DAYS = 3
FOLDS = 3
LEAST_OUTCOMES = 30
"""Rows of each outcome that a part needs, to learn from or to judge by."""

_CROSS_FOLDS = 5

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Estimator = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """What is to be told, from which rows, and against which rule.

    Attributes:
        inputs: One row per observation.
        outcome: 0 or 1 of each.
        days: As_of day of each, `datetime64[D]`.
        customers: Whose each row is; resamples redraw customers whole.
        horizon_days: Days after the as_of day by which the outcome is known.
        rule_name: Name of the rule every model must beat.
        rule: What `classifiers.rule` gives.
        order_process: The fitted order process as of a day, where there is one.
        one_snapshot: Folds of customers may stand in for folds in time.
        preference: Candidates, the one that is kept between equals first.
        level: Column with the log-odds that hold for everyone at the time, to which learners add what tells rows apart;
            folds then compare how candidates rank the rows of a day.
        waves: First day of the days that are held out together with each row's, `datetime64[D]`; each day alone if None.
        held_out_waves: Most waves that a fold holds out.
    """

    inputs: pd.DataFrame
    outcome: Floats
    days: NDArray[Any]
    customers: pd.Series
    horizon_days: int
    rule_name: str
    rule: Estimator
    order_process: Callable[[date], Estimator | None] = lambda day: None
    one_snapshot: bool = False
    preference: tuple[str, ...] = LEARNERS
    level: str | None = None
    waves: NDArray[Any] | None = None
    held_out_waves: int = HELD_OUT_DAYS

    @property
    def marks(self) -> NDArray[Any]:
        """The days by which rows are held out."""
        return self.days if self.waves is None else self.waves


@dataclass(frozen=True)
class Fold:
    """Rows to learn from and rows to judge by, in one part or, for folds of customers, in several.

    Attributes:
        parts: What to learn from beside what is held out of it; an empty first mask where no label had ended.
        held_out_days: As text.
    """

    parts: tuple[tuple[Mask, Mask], ...]
    held_out_days: tuple[str, ...]

    @property
    def held_out(self) -> Mask:
        """All rows that are held out."""
        return np.logical_or.reduce([held_out for _, held_out in self.parts])

    @property
    def can_teach(self) -> bool:
        """Whether learners have rows to learn from."""
        return all(train.any() for train, _ in self.parts)


def rolling_folds(problem: Problem) -> tuple[list[Fold], str]:
    """Folds, the newest first, and what is missing for more candidates or figures; empty text if nothing.

    Returns:
        No fold where too few rows of either outcome can be held out. One fold without rows to learn from where no label
        had ended before it.
    """
    days, outcome = problem.marks, problem.outcome
    distinct = np.unique(days)
    folds: list[Fold] = []
    end = len(distinct)
    while end > 0 and len(folds) < FOLDS:
        fold, end = _newest_fold(problem, distinct[:end])
        if fold is None:
            break
        folds.append(fold)
    if folds:
        return folds, ""
    if problem.one_snapshot and (few := _too_few(outcome, 2 * LEAST_OUTCOMES)) == "":
        return [_folds_of_customers(problem)], ""
    for count in range(min(problem.held_out_waves, len(distinct)), 0, -1):
        held_out = days >= distinct[-count]
        if len(distinct) > 1 and not (few := _too_few(outcome[held_out])):
            known = problem.days < distinct[-count] - np.timedelta64(problem.horizon_days)
            needs = _too_few(outcome[known])
            fold = Fold(((np.zeros(len(days), dtype=bool), held_out),), tuple(map(str, distinct[-count:])))
            return [fold], f"learners need rows whose outcome was known before the held-out days: {needs}"
    few = _too_few(outcome) or "no earlier days to hold later ones out of"
    return [], f"comparing candidates needs held-out rows: {few}"


def _newest_fold(problem: Problem, distinct: NDArray[Any]) -> tuple[Fold | None, int]:
    """The fold that holds out the last of some days, and where its first held-out day stands among them."""
    known = problem.marks <= distinct[-1]
    for count in range(min(problem.held_out_waves, len(distinct)), 0, -1):
        first = distinct[-count]
        held_out = known & (problem.marks >= first)
        train = problem.days < first - np.timedelta64(problem.horizon_days)
        if not _too_few(problem.outcome[train]) and not _too_few(problem.outcome[held_out]):
            return Fold(((train, held_out),), tuple(map(str, distinct[-count:]))), len(distinct) - count
    return None, 0


def _folds_of_customers(problem: Problem) -> Fold:
    """Five folds of customers, alike in outcome, drawn by the order of their identifiers' digests."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(_CROSS_FOLDS, shuffle=True, random_state=0)
    codes = pd.factorize(problem.customers, sort=True)[0]
    parts = []
    for train, held_out in folds.split(problem.inputs, problem.outcome, codes):
        masks = np.zeros((2, len(codes)), dtype=bool)
        masks[0, train], masks[1, held_out] = True, True
        parts.append((masks[0], masks[1]))
    return Fold(tuple(parts), tuple(map(str, np.unique(problem.days))))


def _too_few(outcome: Floats, least: int = LEAST_OUTCOMES) -> str:
    """Which outcome occurs too seldom; empty if none."""
    counts = {"who left": int(outcome.sum()), "who stayed": int(len(outcome) - outcome.sum())}
    short = [f"{count} of {least} {who}" for who, count in counts.items() if count < least]
    return ", ".join(short)


def sampled_customers(codes: NDArray[np.intp], rows: Mask, most: int, seed: int) -> Mask:
    """The rows, or those of so many whole customers that there are no more than `most`."""
    if int(rows.sum()) <= most:
        return rows
    counts = np.bincount(codes[rows], minlength=int(codes.max()) + 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    drawn = np.zeros(len(counts), dtype=bool)
    drawn[order[np.cumsum(counts[order]) <= most]] = True
    return rows & drawn[codes]
