"""Python's garbage collector in a process that builds queries.

Belongs here: how often it looks. Not here: memory of the engine (`lake/duckdb_engine.py`).
"""

import atexit
import gc

OBJECTS = 50_000
GENERATIONS = 20


def collect_seldom() -> None:
    """Look for cycles after 50,000 new objects, where Python does after 700, and not once more when the process ends.

    A query is a tree of thousands of small objects that live for a moment, while libraries keep some million for good:
    looking through them took 6% of the demonstration's processor time, and two seconds at the end of each process.
    """
    gc.set_threshold(OBJECTS, GENERATIONS, GENERATIONS)
    atexit.register(gc.freeze)
