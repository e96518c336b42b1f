"""What a process takes: time and memory, that of the processes it starts included.

Belongs here: starting a command and looking at it. Not here: which commands are compared.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOOKS_A_SECOND = 10


@dataclass
class Taken:
    """What a process and those it started took.

    Attributes:
        wall: Seconds.
        processor: Seconds of all cores.
        looks: Unix times and bytes then resident, memory that two of them share counted twice.
    """

    wall: float
    processor: float
    looks: list[tuple[float, int]] = field(repr=False)

    @property
    def peak(self) -> int:
        """Most bytes that were seen."""
        return max((size for _, size in self.looks), default=0)


def take(command: Sequence[str], home: Path, output: int | None = subprocess.DEVNULL) -> Taken:
    """Run a command on a workspace to its end, and end with it where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**environment, "CRM_HOME": str(home)}, stdout=output)
    looks: list[tuple[float, int]] = []
    while True:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        looks.append((time.time(), sum(map(_resident, _tree(process.pid)))))
        time.sleep(1 / LOOKS_A_SECOND)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
    return Taken(wall, used.ru_utime + used.ru_stime, looks)


def _tree(process: int) -> Iterator[int]:
    yield process
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield from _tree(child)


def _resident(process: int) -> int:
    """Bytes of a process in memory; 0 when it has just ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (FileNotFoundError, IndexError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
