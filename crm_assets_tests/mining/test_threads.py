"""Pieces of work that go on beside each other: their order, an error in one, and that arithmetic stays on one thread."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from crm_assets.mining.threads import in_threads, one_algebra_thread


def algebra_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_results_come_in_the_order_of_the_pieces(threads: int, pieces: int) -> None:
    assert list(in_threads(lambda number: number**2, iter(range(pieces)), threads)) == [n * n for n in range(pieces)]


def test_two_pieces_are_worked_on_at_a_time_and_few_are_read_ahead() -> None:
    both, read = threading.Barrier(2, timeout=10), []

    def pieces() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            yield number

    def work(number: int) -> int:
        both.wait()
        return number

    found = in_threads(work, pieces(), 2)
    assert next(found) == 0
    assert len(read) == 3
    assert list(found) == list(range(1, 10))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_one_piece_ends_the_work(threads: int) -> None:
    def work(number: int) -> float:
        return 1 / (3 - number)

    found = in_threads(work, range(100), threads)
    assert [next(found) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_linear_algebra_stays_on_one_thread_until_all_are_done() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))

    def work(_: int) -> set[int]:
        with one_algebra_thread():
            pass
        return algebra_threads()

    before = algebra_threads()
    assert list(in_threads(work, range(6), 2)) == [{1}] * 6
    assert algebra_threads() == before
