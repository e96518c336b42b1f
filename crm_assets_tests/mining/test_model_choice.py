"""Which candidate becomes champion, and on which folds."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from crm_assets.mining.classifiers import LEARNERS, rule
from crm_assets.mining.model_choice import choose
from crm_assets.mining.model_folds import Problem, rolling_folds


def problem_of(inputs, outcome, days, customers=None, **more):
    names = pd.Series(np.arange(len(outcome)) if customers is None else customers).astype(str)
    return Problem(
        inputs, outcome, np.array(days, "datetime64[D]"), names, 30, "first", rule(inputs.columns[0], 1), **more
    )


def made_up(days=8, customers=300, signal=1.0, seed=0):
    chance = np.random.default_rng(seed)
    rows = days * customers
    inputs = pd.DataFrame(chance.normal(size=(rows, 5)), columns=list("abcde"))
    odds = signal * (0.5 * inputs["a"] + 1.5 * inputs["b"]) - 0.5
    outcome = (chance.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)
    dates = np.repeat([date(2020, 1, 31) + timedelta(15 * number) for number in range(days)], customers)
    return problem_of(inputs, outcome, dates, np.tile(np.arange(customers), days))


def test_folds_roll_back_in_time_and_never_learn_from_labels_that_had_not_ended():
    problem = made_up()
    folds, missing = rolling_folds(problem)
    assert missing == ""
    assert [fold.held_out_days for fold in folds] == [
        ("2020-04-15", "2020-04-30", "2020-05-15"),
        ("2020-03-16", "2020-03-31"),
    ]
    for fold in folds:
        ((train, held_out),) = fold.parts
        assert problem.days[train].max() + np.timedelta64(30) < problem.days[held_out].min()


def test_a_snapshot_of_one_day_is_folded_by_customers():
    chance = np.random.default_rng(1)
    inputs = pd.DataFrame({"a": chance.normal(size=400)})
    outcome = (inputs["a"] + chance.normal(size=400) > 0).to_numpy(float)
    one_day = [date(2020, 1, 1)] * 400
    folds, _ = rolling_folds(problem_of(inputs, outcome, one_day, one_snapshot=True))
    assert len(folds[0].parts) == 5
    assert np.sum([held_out for _, held_out in folds[0].parts], axis=0).tolist() == [1] * 400
    assert rolling_folds(problem_of(inputs, outcome, one_day))[0] == []


def test_a_learner_that_sees_more_than_the_rule_is_promoted_and_the_board_names_all():
    choice = choose(made_up(), seed=1, threads=2, screening_rows=10_000)
    assert choice.champion in LEARNERS
    assert set(choice.figures) == {"first", *LEARNERS}
    board = choice.leaderboard("churn", date(2020, 7, 1))
    assert board.groupby("candidate")["is_champion"].all().sum() == 1
    assert {"mean_auc", "folds"} <= set(board["metric"])


@pytest.mark.parametrize("seed", range(5))
def test_random_labels_promote_nothing(seed):
    problem = made_up(signal=0.0, seed=seed)
    assert choose(problem, seed=seed, threads=2, screening_rows=10_000).champion == "first"


def test_threads_change_nothing():
    one, two = (choose(made_up(), seed=1, threads=threads, screening_rows=500) for threads in (1, 2))
    assert one.estimator == two.estimator
    assert one.leaderboard("m", date(2020, 7, 1)).equals(two.leaderboard("m", date(2020, 7, 1)))
