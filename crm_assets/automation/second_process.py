"""A second process that works while this one does.

Belongs here: starting it, handing it work, and ending it with this one. Not here: what it works on (`runs.py`).

Queries use all cores; building, compiling, checking and recording them uses one.
"""

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Event
from typing import Any

Wait = Callable[[], None]


class SecondProcessError(RuntimeError):
    """The second process ended before its work was done; the message says what to do."""


@contextmanager
def second_process(
    get_ready: Callable[..., Callable[[Any], None]], *arguments: object
) -> Iterator[Callable[[Sequence[Any]], Wait]]:
    """A process that takes seconds to start, and is done at the end of the `with` block.

    Args:
        get_ready: a function of a module, called once in the process; it gives the one that does a piece of work.
        arguments: what it is called with.

    Yields:
        What hands over pieces of work, to be done one after the other behind those before, and gives what waits for them
        and raises what one of them raised, after which the rest of them is left. What has not begun at the end of the block
        is left too.

    Raises:
        SecondProcessError: It ended before its work was done.
    """
    # A copy of this process by `fork` would have its engine's locks without the threads that hold them.
    spawn = multiprocessing.get_context("spawn")
    is_over = spawn.Event()
    pool = ProcessPoolExecutor(1, spawn, partial(_start, is_over, get_ready, *arguments))
    others = multiprocessing.active_children()
    # A pool starts its process with the first piece.
    pool.submit(_work, [])
    # None where it was killed already: handing work over tells.
    started = set(multiprocessing.active_children()).difference(others)
    is_needed = False

    def begin(pieces: Sequence[Any]) -> Wait:
        nonlocal is_needed
        is_needed = True
        return pool.submit(_work, list(pieces)).result

    try:
        yield begin
    except BrokenProcessPool as error:
        raise SecondProcessError(
            "the second process ended before its work was done, perhaps for want of memory; what was made stays: run "
            "again, or set processes = 1 in crm.toml"
        ) from error
    finally:
        # What has been handed over cannot be taken back; an error before that does not wait for libraries.
        is_over.set()
        if not is_needed:
            for process in started:
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _start(is_over: Event, get_ready: Callable[..., Callable[[Any], None]], *arguments: object) -> None:
    global _do, _is_over
    _is_over = is_over
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    _do = get_ready(*arguments)


def _work(pieces: Sequence[Any]) -> None:
    for piece in pieces:
        if not _is_over.is_set():
            _do(piece)


def _end_with_the_first() -> None:
    """A killed process tells nobody, and nobody would wait for what is being done here."""
    first = multiprocessing.parent_process()
    assert first is not None
    multiprocessing.connection.wait([first.sentinel])
    os._exit(1)


_do: Callable[[Any], None]
_is_over: Event
