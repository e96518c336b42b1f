"""Ranks, groups and places of numbers are what counting them one by one gives."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.mining.ranks import distinct, find, grouped, place_in_run, rank_within

NUMBERS = st.lists(st.integers(0, 100_000), max_size=30)


def array(numbers):
    return np.array(numbers, np.int64)


@given(NUMBERS)
def test_the_rank_of_a_row_counts_those_of_its_group_before_it(groups):
    seen: Counter[int] = Counter()
    expected = []
    for group in groups:
        expected.append(seen[group])
        seen[group] += 1
    assert rank_within(array(groups)).tolist() == expected
    together = sorted(groups)
    assert place_in_run(array(together)).tolist() == rank_within(array(together)).tolist()


@given(NUMBERS)
def test_groups_are_brought_together_and_rows_of_a_group_keep_their_order(groups):
    order = grouped(array(groups)).tolist()
    assert order == sorted(range(len(groups)), key=lambda row: (groups[row], row))
    assert distinct(array(groups)).tolist() == sorted(set(groups))


@given(NUMBERS, NUMBERS)
def test_numbers_are_found_where_they_stand(numbers, wanted):
    keys = distinct(array(numbers))
    place, is_there = find(keys, array(wanted))
    assert is_there.tolist() == [number in numbers for number in wanted]
    assert keys[place[is_there]].tolist() == [number for number in wanted if number in numbers]
