"""Processes, and folders that belong to one: what a killed one left behind is found and removed.

Belongs here: naming a process so that it is known again. Not here: runs (`automation/requests.py`).
"""

import atexit
import functools
import os
import shutil
import socket
from pathlib import Path


def this_process() -> str:
    """This process as `host:number:start`; the start, since numbers come again."""
    return _process(os.getpid())


def is_alive(process: str | None) -> bool:
    """Whether a process, as `this_process` named it, still runs; those of other machines, which cannot be seen, do."""
    host, *numbers = (process or "").rsplit(":", 2)
    if host != socket.gethostname():
        return True
    pid = int(numbers[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _process(pid) == process


def folder_of_this_process(parent: Path) -> Path:
    """A folder in `parent` for this process alone, removed when it ends; those that killed ones left are removed now."""
    return _folder(parent, this_process())


@functools.cache
def _folder(parent: Path, process: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.iterdir():
        if (owner := _owner(folder.name)) and not is_alive(owner):
            shutil.rmtree(folder, ignore_errors=True)
    own = parent / process.replace(":", "-")
    own.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _owner(folder: str) -> str | None:
    """The process that a folder is named after; None where it is named after none."""
    host, *numbers = folder.rsplit("-", 2)
    return ":".join([host, *numbers]) if len(numbers) == 2 and all(map(str.isdigit, numbers)) else None


def _process(pid: int) -> str:
    try:
        started = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    except OSError:
        started = ""
    return f"{socket.gethostname()}:{pid}:{started}"
