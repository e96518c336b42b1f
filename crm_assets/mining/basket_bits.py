"""Itemsets counted over bit vectors: for each item, one bit per basket.

Belongs here: counting in memory, where the vectors fit. Not here: which baskets and items count, or what does not fit
(`itemsets.py`).
Source: Zaki, Scalable Algorithms for Association Mining (2000): Eclat, depth first from a prefix, each set's baskets
being the intersection of two sets'.
"""

import numpy as np
from numpy.typing import NDArray

LIMIT_BYTES = 256 * 2**20
"""Most memory for the vectors, for the pairs they are made from, and for the counts of pairs of items, each."""

_ROWS_AT_A_TIME = 64
_WORD = 64

Bits = NDArray[np.uint64]
Found = list[tuple[tuple[int, ...], int]]


def fits(items: int, baskets: int, pairs: int) -> bool:
    """Whether this many items in this many baskets, in all so many pairs of them, may be counted here."""
    return max(items * baskets // 8, 8 * pairs, 12 * items * items) <= LIMIT_BYTES


def frequent_sets(
    baskets: NDArray[np.int64], codes: NDArray[np.int64], items: int, minimum_count: int, max_length: int
) -> Found:
    """Sets of two to `max_length` items that at least `minimum_count` baskets hold.

    Args:
        baskets: basket of each distinct pair of basket and item, any numbers.
        codes: item of each pair, from 0; small codes for rare items keep intersections few.
        items: number of items.
        minimum_count: smallest number of baskets.
        max_length: most items in a set.

    Returns:
        Each set as ascending codes, with its baskets.
    """
    from scipy.sparse import csr_matrix

    numbers = np.unique(baskets, return_inverse=True)[1]
    shape = items, int(numbers.max()) + 1 if len(numbers) else 0
    held = csr_matrix((np.ones(len(codes), dtype=np.int32), (codes, numbers)), shape=shape)
    together = (held @ held.T).tocsr()
    bits = _bits(held.indptr, held.indices, shape)
    found: Found = []
    for code in range(items):
        part = slice(together.indptr[code], together.indptr[code + 1])
        others, counts = together.indices[part], together.data[part]
        kept = np.flatnonzero((others > code) & (counts >= minimum_count))
        kept = kept[np.argsort(others[kept])]
        partners = others[kept]
        found += [((code, other), count) for other, count in zip(partners.tolist(), counts[kept].tolist(), strict=True)]
        if max_length > 2 and len(partners) > 1:
            _extend((code,), partners, bits[partners] & bits[code], minimum_count, max_length, found)
    return found


def _extend(
    prefix: tuple[int, ...],
    members: NDArray[np.int64],
    vectors: Bits,
    minimum_count: int,
    max_length: int,
    found: Found,
) -> None:
    """The frequent sets of the prefix, one member and a later one, and what grows from them.

    `vectors` holds the baskets of the prefix with each member.
    """
    for position in range(len(members) - 1):
        later = vectors[position + 1 :]
        counts = np.concatenate(
            [
                np.bitwise_count(later[start : start + _ROWS_AT_A_TIME] & vectors[position]).sum(axis=1, dtype=np.int64)
                for start in range(0, len(later), _ROWS_AT_A_TIME)
            ]
        )
        kept = np.flatnonzero(counts >= minimum_count)
        grown, partners = (*prefix, int(members[position])), members[position + 1 :][kept]
        found += [
            ((*grown, other), count) for other, count in zip(partners.tolist(), counts[kept].tolist(), strict=True)
        ]
        if len(grown) + 1 < max_length and len(kept) > 1:
            _extend(grown, partners, later[kept] & vectors[position], minimum_count, max_length, found)


def _bits(starts: NDArray[np.int32], baskets: NDArray[np.int32], shape: tuple[int, int]) -> Bits:
    """One row of words for each item: the bits of the baskets that hold it."""
    items, width = shape[0], -(-shape[1] // _WORD) * _WORD
    packed = np.zeros((items, width // 8), dtype=np.uint8)
    row = np.zeros(width, dtype=bool)
    for item in range(items):
        holders = baskets[starts[item] : starts[item + 1]]
        row[holders] = True
        packed[item] = np.packbits(row)
        row[holders] = False
    return packed.view(np.uint64)
