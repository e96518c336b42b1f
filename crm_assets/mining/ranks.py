"""Numbers in order and places within groups, of arrays with millions of rows.

Belongs here: what numpy has no fast function for. Not here: what the numbers mean (`recommender.py`).
"""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def distinct(values: Integers) -> Integers:
    """The distinct values in order; `numpy.unique` hashes them first, which takes ten times as long."""
    ordered = np.sort(values)
    return ordered[begins(ordered)]


def begins(values: Integers) -> NDArray[np.bool_]:
    """Where a value differs from the one before."""
    return np.concatenate([np.ones(min(len(values), 1), bool), values[1:] != values[:-1]])


def place_in_run(groups: Integers) -> Integers:
    """Place of each row among those of its group, where groups stand together."""
    starts = np.flatnonzero(begins(groups))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def rank_within(groups: Integers) -> Integers:
    """Place of each row among those of its group, in their order."""
    order = np.argsort(groups, kind="stable")
    rank = np.empty(len(groups), np.int64)
    rank[order] = place_in_run(groups[order])
    return rank


def grouped(groups: Integers) -> Integers:
    """Places that bring groups together, in the order of their numbers; numpy sorts small numbers by their digits."""
    small = np.uint16 if groups.max(initial=0) < 2**16 else np.int64
    return np.argsort(groups.astype(small), kind="stable")


def find(keys: Integers, wanted: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Places of wanted keys among keys in order, and which of them are there."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted
