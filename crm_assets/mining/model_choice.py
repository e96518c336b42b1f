"""Choosing the model of a yes-or-no outcome among candidates.

Belongs here: the comparison and the champion, as every such model shares them. Not here: the candidates
(`classifiers.py`), folds (`model_folds.py`), figures (`model_metrics.py`), features and labels (`churn_training.py`,
`subscription_churn.py`).

All candidates are tried on the newest fold, those that seldom win on a bounded sample of customers. The best learner, the
preferred one of those it does not beat beyond chance, the order process and the rule go on to all folds and all rows.
There again the preferred one of those that the best does not beat beyond chance is champion, so that chance does not change
champions every month, if its mean AUC is above the rule's beyond chance; else the rule stays.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crm_assets.contracts.churn import MODEL_LEADERBOARD
from crm_assets.mining.calibration import calibration, cross_calibrated, nearer_to
from crm_assets.mining.classifiers import (
    BLEND,
    BLENDED,
    LEARNERS,
    ORDER_PROCESS,
    blended,
    fit,
    levelled,
    raw_scores,
)
from crm_assets.mining.model_folds import (
    Estimator,
    Floats,
    Fold,
    Mask,
    Problem,
    rolling_folds,
    sampled_customers,
)
from crm_assets.mining.model_metrics import METRICS, bootstrap_weights, evaluate, interval
from crm_assets.mining.threads import one_algebra_thread

LEADERBOARD_COLUMNS = tuple(MODEL_LEADERBOARD.by_name)

FOLD_METRICS = ("mean_auc", "folds")
"""Mean AUC over all folds, of those who went on to them, and how many folds a candidate was judged on.

Where a problem has a level, rows are ranked against the rows of their day.
"""

_FROM_ALL_ROWS = (*BLENDED, BLEND)
"""What learns from all rows at once: it gains most from them and mostly wins."""

_MOST_JUDGED = 50_000


@dataclass(frozen=True)
class Choice:
    """The champion and how it was found.

    Attributes:
        champion: Its name.
        estimator: Learnt from all rows.
        calibration: From raw score to probability, see `calibrated`.
        message: One line on the choice.
        missing: What other candidates lack, in one line; empty if nothing.
        figures: Of every candidate on the newest fold, and the mean AUC of those who went on.
        resampled: The same of each resample.
        folds: Held-out days of each fold, the newest first.
        judged: Rows of the newest fold that the figures are of.
        chance: The champion's probabilities of these rows, each calibrated on other customers.
    """

    champion: str
    estimator: Estimator
    calibration: dict[str, Any]
    message: str
    missing: str
    figures: dict[str, dict[str, float]]
    resampled: dict[str, dict[str, Floats]] = field(repr=False)
    folds: list[list[str]] = field(default_factory=list)
    judged: Mask = field(default_factory=lambda: np.zeros(0, dtype=bool), repr=False)
    chance: Floats = field(default_factory=lambda: np.zeros(0), repr=False)

    def leaderboard(self, model: str, month: date) -> pd.DataFrame:
        """The figures in `LEADERBOARD_COLUMNS`."""
        rows = [
            (model, month, name, metric, value, *self._interval(name, metric), name == self.champion)
            for name, known in self.figures.items()
            for metric, value in known.items()
        ]
        return pd.DataFrame(rows, columns=list(LEADERBOARD_COLUMNS))

    def _interval(self, name: str, metric: str) -> tuple[float, float]:
        values = self.resampled[name].get(metric)
        return interval(values) if values is not None else (self.figures[name][metric],) * 2


def choose(problem: Problem, seed: int, threads: int, screening_rows: int) -> Choice:
    """Compare candidates and let the champion learn from all rows.

    Args:
        problem: rows of both outcomes.
        seed: of everything drawn.
        threads: fits at a time; the result does not depend on it.
        screening_rows: most rows that candidates which seldom win learn from on the newest fold.
    """
    # Threads that import a library at once may meet half of it, so all are there before the threads are.
    import lightgbm  # noqa: F401
    import sklearn.linear_model
    import sklearn.neural_network
    import sklearn.svm  # noqa: F401

    folds, missing = rolling_folds(problem)
    if not folds:
        return _rule_without_comparison(problem, missing)
    # The order of a sum over several threads would change the last digits, so the threads are the pool's.
    with one_algebra_thread(), ThreadPoolExecutor(threads) as pool:
        trial = _Trial(problem, folds, seed, pool, screening_rows)
        finalists = trial.screen([name for name in LEARNERS if name in problem.preference and folds[0].can_teach])
        champion, message = trial.finish(finalists)
        estimator = trial.promote(champion)
    raw, judged = trial.raw[champion, 0], trial.judged[0]
    outcome = problem.outcome[judged]
    curve = calibration(champion == problem.rule_name, raw, outcome)
    # Neither folds of customers nor scores on top of a level of the time are off for being older.
    if champion in LEARNERS and len(folds[0].parts) == 1 and not problem.level:
        curve = nearer_to(curve, raw_scores(estimator, problem.inputs[judged], threads), outcome)
    return Choice(
        champion=champion,
        estimator=estimator,
        calibration=curve,
        message=message,
        missing=missing,
        figures=trial.figures,
        resampled=trial.resampled,
        folds=[list(fold.held_out_days) for fold in folds],
        judged=judged,
        chance=trial.chance[champion],
    )


class _Trial:
    """Candidates on folds; what was fitted once is used again."""

    def __init__(
        self, problem: Problem, folds: Sequence[Fold], seed: int, pool: ThreadPoolExecutor, screening_rows: int
    ) -> None:
        self.problem, self.folds, self.seed, self.pool, self.most = problem, folds, seed, pool, screening_rows
        self.codes = pd.factorize(problem.customers, sort=True)[0]
        self.judged = [sampled_customers(self.codes, fold.held_out, _MOST_JUDGED, seed) for fold in folds]
        everyone = np.logical_or.reduce(self.judged)
        weights = bootstrap_weights(int(everyone.sum()), self.codes[everyone].tolist(), seed=seed)
        self.weights = [weights[:, judged[everyone]] for judged in self.judged]
        self.raw: dict[tuple[str, int], Floats] = {}
        self.chance: dict[str, Floats] = {}
        self.figures: dict[str, dict[str, float]] = {}
        self.resampled: dict[str, dict[str, Floats]] = {}

    def screen(self, learners: Sequence[str]) -> list[str]:
        """Judge every candidate on the newest fold; those who go on to all folds."""
        self._score([self.problem.rule_name, ORDER_PROCESS, *learners], [0])
        judged = [name for name in (self.problem.rule_name, ORDER_PROCESS, *learners) if (name, 0) in self.raw]
        for name in judged:
            self._judge(name)
        if not learners:
            return judged
        best = max(learners, key=lambda name: self.figures[name]["auc"])
        kept = self._preferred([name for name in self.problem.preference if name in learners], best, "auc")
        return [name for name in judged if name in (best, kept) or name not in LEARNERS]

    def finish(self, finalists: Sequence[str]) -> tuple[str, str]:
        """Judge the finalists on all folds; the champion, and why."""
        sampled = [name for name in finalists if name not in _FROM_ALL_ROWS and self._is_sampled()]
        self._score(sampled, [0], whole=True)
        for name in sampled:
            self._judge(name)
        self._score(finalists, range(1, len(self.folds)), whole=True)
        compared = [name for name in finalists if self._average(name)]
        rule = self.problem.rule_name
        others = [name for name in (*self.problem.preference, ORDER_PROCESS) if name in compared]
        if not others:
            return rule, f"the {rule} rule stays champion: there is no other candidate"
        best = max(others, key=lambda name: self.figures[name]["mean_auc"])
        best = self._preferred(others, best, "mean_auc")
        gains = self.resampled[best]["mean_auc"] - self.resampled[rule]["mean_auc"]
        gain = self.figures[best]["mean_auc"] - self.figures[rule]["mean_auc"]
        low, high = interval(gains)
        over = f"over {len(self.folds)} folds" if len(self.folds) > 1 else "on the held-out rows"
        figure = f"AUC {gain:+.3f} ({low:+.3f} to {high:+.3f}) against the {rule} rule {over}"
        # The best of many is flattered by chance, so the more were tried, the more it must win by.
        tried = max(1, len(self.figures) - 1)
        margin = NormalDist().inv_cdf(1 - 0.025 / tried) * float(np.nanstd(gains))
        if min(low, gain - margin) <= 0:
            return rule, f"the {rule} rule stays champion: {best} has {figure}, which chance explains"
        return best, f"{best} is champion: {figure}"

    def promote(self, name: str) -> Estimator:
        """Let the champion learn from every row, the held-out ones included."""
        every = np.ones(len(self.problem.outcome), dtype=bool)
        if name in LEARNERS:
            waiting = {part: self.pool.submit(self._fitted, part, every) for part in _parts(name)}
            learnt = {part: future.result() for part, future in waiting.items()}
            return blended(learnt) if name == BLEND else learnt[name]
        estimator = self._fixed(name, pd.Timestamp(self.problem.days.max()).date())
        if estimator is None:
            raise ValueError(f"{name} was champion on the held-out days and cannot be had as of the newest day")
        return estimator

    def _score(self, names: Sequence[str], folds: Iterable[int], whole: bool = False) -> None:
        """Raw scores of the judged rows of some folds; what cannot be had is left out."""
        single = dict.fromkeys(part for name in names for part in _parts(name))
        jobs = [(name, fold) for fold in folds for name in single]
        # The order process keeps what it fitted, so it is not asked by two threads at once.
        waiting = {job: self.pool.submit(self._scored, *job, whole) for job in jobs if job[0] in LEARNERS}
        found = {job: self._scored(*job) for job in jobs if job[0] not in LEARNERS}
        found |= {job: future.result() for job, future in waiting.items()}
        self.raw |= {job: raw for job, raw in found.items() if raw is not None}
        if BLEND in names:
            for fold in dict.fromkeys(fold for _, fold in jobs):
                self.raw[BLEND, fold] = np.mean([self.raw[part, fold] for part in BLENDED], axis=0)

    def _scored(self, name: str, number: int, whole: bool = False) -> Floats | None:
        fold, judged = self.folds[number], self.judged[number]
        scores = np.full(len(judged), np.nan)
        for train, held_out in fold.parts:
            part = held_out & judged
            if not part.any():
                continue
            if name in LEARNERS:
                sampled = not whole and name not in _FROM_ALL_ROWS
                rows = sampled_customers(self.codes, train, self.most, self.seed) if sampled else train
                estimator: Estimator | None = self._fitted(name, rows)
            else:
                estimator = self._fixed(name, pd.Timestamp(self.problem.days[held_out].min()).date())
            if estimator is None:
                return None
            scores[part] = raw_scores(estimator, self.problem.inputs[part], 1)
        return scores[judged]

    def _is_sampled(self) -> bool:
        return any(int(train.sum()) > self.most for train, _ in self.folds[0].parts)

    def _fitted(self, name: str, rows: Mask) -> Estimator:
        inputs = self.problem.inputs[rows]
        learnt = fit(name, inputs, self.problem.outcome[rows], self.seed, 1)
        return levelled(learnt, self.problem.level, inputs) if self.problem.level else learnt

    def _fixed(self, name: str, day: date) -> Estimator | None:
        """What learns from no outcome: the rule, and the order process as of a day."""
        if name == self.problem.rule_name:
            return self.problem.rule
        return self.problem.order_process(day) if name == ORDER_PROCESS else None

    def _judge(self, name: str) -> None:
        judged = self.judged[0]
        outcome, raw = self.problem.outcome[judged], self.raw[name, 0]
        steps = name == self.problem.rule_name
        self.chance[name] = cross_calibrated(steps, raw, outcome, self.codes[judged])
        known = evaluate(outcome, self.chance[name])
        self.figures[name] = {metric: float(known[metric][0]) for metric in METRICS}
        self.resampled[name] = evaluate(outcome, self.chance[name], self.weights[0])

    def _average(self, name: str) -> bool:
        """Take the mean AUC over all folds; whether there is one."""
        aucs, resampled = [], []
        for number, weights in enumerate(self.weights):
            raw = self.raw.get((name, number))
            if raw is None:
                return False
            outcome = self.problem.outcome[self.judged[number]]
            scores = self.chance[name] if number == 0 else raw
            if self.problem.level:
                scores = _beyond_the_day(raw, self.problem.days[self.judged[number]])
            aucs.append(float(evaluate(outcome, scores, only="auc")["auc"][0]))
            resampled.append(evaluate(outcome, scores, weights, only="auc")["auc"])
        self.figures[name] |= {"mean_auc": float(np.mean(aucs)), "folds": float(len(aucs))}
        self.resampled[name]["mean_auc"] = np.mean(resampled, axis=0)
        return True

    def _preferred(self, names: Sequence[str], best: str, metric: str) -> str:
        """The first of the names that the best one does not beat beyond chance."""
        for name in names:
            if interval(self.resampled[best][metric] - self.resampled[name][metric])[0] <= 0:
                return name
        return best


def _beyond_the_day(raw: Floats, days: NDArray[Any]) -> Floats:
    """Scores less the mean of their day: a level moves everyone alike, and who is chosen is chosen on a day."""
    codes = np.unique(days, return_inverse=True)[1]
    # Rounded, so that rows alike on a day stay alike.
    return np.asarray(np.round(raw - (np.bincount(codes, raw) / np.bincount(codes))[codes], 9))


def _parts(name: str) -> Sequence[str]:
    return BLENDED if name == BLEND else (name,)


def _rule_without_comparison(problem: Problem, missing: str) -> Choice:
    raw = raw_scores(problem.rule, problem.inputs)
    chance = cross_calibrated(True, raw, problem.outcome, pd.factorize(problem.customers, sort=True)[0])
    values = evaluate(problem.outcome, chance)
    return Choice(
        champion=problem.rule_name,
        estimator=problem.rule,
        calibration=calibration(True, raw, problem.outcome),
        message=f"the {problem.rule_name} rule stays champion: {missing}; figures are on the days it learnt",
        missing=missing,
        figures={problem.rule_name: {metric: float(values[metric][0]) for metric in METRICS}},
        resampled={problem.rule_name: evaluate(problem.outcome, chance, bootstrap_weights(len(chance)))},
        judged=np.ones(len(raw), dtype=bool),
        chance=chance,
    )
