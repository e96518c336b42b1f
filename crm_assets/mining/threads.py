"""Arithmetic on one thread, since the order of a sum over several would change the last digits.

Belongs here: what keeps libraries to one thread. Not here: how many fits go on at a time (`model_choice.py`).
"""

from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


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
