"""Arithmetic on one thread, since the order of a sum over several would change the last digits.

Belongs here: what keeps libraries to one thread, and pieces of work that go on beside each other. Not here: how many fits
go on at a time (`model_choice.py`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_threads(work: Callable[[Piece], Result], pieces: Iterable[Piece], threads: int) -> Iterator[Result]:
    """What work gives for each piece, in the order of the pieces.

    Args:
        work: Gives the same whatever goes on beside it.
        pieces: Read by the calling thread, one more than there are threads at a time.
        threads: Pieces that are worked on at a time.
    """
    if threads == 1:
        yield from map(work, pieces)
        return
    # Where one piece is done, linear algebra must not take more threads in another.
    with one_algebra_thread(), ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[Result]] = deque()
        try:
            for piece in pieces:
                begun.append(pool.submit(work, piece))
                if len(begun) > threads:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


def one_thread() -> AbstractContextManager[object]:
    """While it lasts, linear algebra and loops of OpenMP use one thread."""
    return _every_library().limit(limits=1)


def one_algebra_thread() -> AbstractContextManager[object]:
    """While it lasts, linear algebra uses one thread; loops of OpenMP, such as LightGBM's, use what they are told to."""
    return _algebra().limit(limits=1, user_api="blas")


# Looking for the libraries of a process takes milliseconds, and models ask hundreds of times, so it is done once, after
# all of a kind have been loaded: NumPy and SciPy each bring a BLAS, scikit-learn brings OpenMP.


@cache
def _algebra() -> "ThreadpoolController":
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@cache
def _every_library() -> "ThreadpoolController":
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
