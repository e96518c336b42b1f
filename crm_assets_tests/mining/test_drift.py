"""The population stability index of features and scores."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.mining.drift import added, count_rows, drift, population_stability, reference_of

AS_OF = date(2020, 5, 1)


def day(shift=0.0, rows=3_000, seed=1):
    chance = np.random.default_rng(seed)
    frame = pd.DataFrame({"moves": chance.normal(shift, 1, rows), "stays": chance.normal(0, 1, rows)})
    return frame, 1 / (1 + np.exp(-frame["moves"].to_numpy()))


def measured(later):
    reference = reference_of(*day())
    rows = drift("churn", "churn-2020-05-01", reference, count_rows(reference, *later), AS_OF)
    return rows.set_index(["kind", "name"])


def test_the_index_by_hand():
    """Shares move from 50:50 to 75:25: (0.25 ln 1.5) + (-0.25 ln 0.5) = 0.2747."""
    assert population_stability(np.array([5_000, 5_000]), np.array([7_500, 2_500])) == pytest.approx(0.2747, abs=2e-4)


def test_the_same_population_is_stable_and_another_one_is_named():
    same = measured(day(seed=2))
    assert set(same["verdict"]) == {"stable"}
    moved = measured(day(shift=1.0, seed=2))
    assert moved.loc[("feature", "moves"), "verdict"] == "another population"
    assert moved.loc[("score", "score"), "verdict"] == "another population"
    assert moved.loc[("feature", "stays"), "verdict"] == "stable"
    assert moved.loc[("population", "customers"), ["customers", "reference_customers"]].tolist() == [3_000, 3_000]


def test_half_as_many_customers_are_another_population():
    verdicts = {
        rows: measured(day(rows=rows)).loc[("population", "customers"), "verdict"] for rows in (2_900, 2_000, 1_500)
    }
    assert verdicts == {2_900: "stable", 2_000: "shifted", 1_500: "another population"}


def test_nulls_are_a_bin_of_their_own():
    frame, scores = day(seed=3)
    assert measured((frame.assign(stays=np.nan), scores)).loc[("feature", "stays"), "verdict"] == "another population"


def test_few_rows_do_not_cry_wolf():
    verdicts = [measured(day(rows=25, seed=seed)).loc[("feature", "moves"), "verdict"] for seed in range(2, 30)]
    assert verdicts.count("stable") >= 26


def test_batches_add_up():
    reference = reference_of(*day())
    frame, scores = day(seed=4)
    parts = [count_rows(reference, frame.iloc[part], scores[part]) for part in (slice(0, 100), slice(100, None))]
    whole, together = count_rows(reference, frame, scores), added(parts)
    assert all((whole["feature"][name] == together["feature"][name]).all() for name in frame)
    empty = drift("churn", "m", reference, added([]), AS_OF)
    assert empty[["kind", "customers"]].to_numpy().tolist() == [["population", 0]]
    assert empty["verdict"].tolist() == ["another population"]


def test_a_constant_feature_and_one_without_values_have_an_index():
    frame = pd.DataFrame({"constant": np.ones(50), "empty": np.full(50, np.nan)})
    reference = reference_of(frame, np.full(50, 0.5))
    rows = drift("churn", "m", reference, count_rows(reference, frame, np.full(50, 0.5)), AS_OF)
    assert rows.loc[rows["kind"] == "feature", "psi"].tolist() == [0.0, 0.0]


def test_the_few_below_the_greatest_value_have_a_bin_of_their_own():
    """95 of 100 have a one; were the zeros counted with them, nobody would see that half are zeros later."""
    rows = {
        name: pd.DataFrame({"has it": np.repeat([0.0, 1.0], [zeros, 100 - zeros])})
        for name, zeros in (("trained", 5), ("later", 50))
    }
    reference = reference_of(rows["trained"], np.full(100, 0.5))
    counts = count_rows(reference, rows["later"], np.full(100, 0.5))
    assert counts["feature"]["has it"].tolist() == [50, 50, 0]
    found = drift("churn", "m", reference, counts, AS_OF).set_index("kind")
    assert found.loc["feature", "verdict"] == "another population"


def test_contracts_are_counted_by_their_own_name_and_fields_by_their_words():
    frame, scores = day()
    reference = reference_of(frame, scores)
    counts = count_rows(reference, frame, scores)
    rows = drift("subscription_churn", "m", reference, counts, AS_OF, scored="contracts", names={"stays": "plan is a"})
    assert rows[["model", "kind", "name"]].to_numpy().tolist() == [
        ["subscription_churn", "feature", "moves"],
        ["subscription_churn", "feature", "plan is a"],
        ["subscription_churn", "population", "contracts"],
        ["subscription_churn", "score", "score"],
    ]


@given(st.lists(st.integers(0, 1_000), min_size=2, max_size=12))
def test_the_index_is_never_below_zero_and_zero_for_equal_counts(counts):
    rows = np.array(counts)
    assert population_stability(rows, rows) == 0.0
    assert population_stability(rows, rows[::-1]) >= 0.0
