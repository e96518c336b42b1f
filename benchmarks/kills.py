"""Kill ingestion with `kill -9` again and again: nothing is lost, and nothing is there twice.

Belongs here: killing processes and comparing what is left. Not here: the small version that the tests run.

The small shop of the tests is ingested by processes that are killed at random moments; each kill is followed by another
try, and some deliveries land in between. The last try is left alone. Every table that ingestion and cleaning write is
then compared, file by file and byte by byte, with that of a workspace that nobody disturbed.

    python benchmarks/kills.py [--kills N] [--seed N]
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crm_assets.automation.instance import open_instance
from crm_assets.runs import Runs
from crm_assets.settings import load_settings, write_settings

# The tests are not installed with the package.
sys.path.insert(0, str(Path(__file__).parents[1]))
from crm_assets_tests import shop

SKIPPED = {("quality", "landed_files"), ("quality", "delivered_files")}
"""They hold modification times, which differ between two workspaces."""


def main() -> int:
    """Print what happened; 1 when a table differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20240630)
    parser.add_argument("--ingest", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ingest:
        ingest(arguments.ingest)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        calm, killed = Path(temporary) / "calm", Path(temporary) / "killed"
        for home in (calm, killed):
            shop.lay_down(home)
            write_settings(home, end_date=shop.LAST_DAY)
        start = time.perf_counter()
        subprocess.run(command(calm), check=True)
        seconds = time.perf_counter() - start
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        kill_often(killed, arguments.kills, seconds, random.Random(arguments.seed))
        different = compare(calm, killed)
    print(f"{len(different)} files differ{': ' + ', '.join(different[:10]) if different else ''}")
    return int(bool(different))


def kill_often(home: Path, kills: int, seconds: float, chance: random.Random) -> None:
    """Ingest with processes that are killed, until `kills` were, and once to the end."""
    waiting = sorted((home / "exports" / "shop").iterdir())[1:]
    late = home / "late"
    late.mkdir()
    for folder in waiting:
        shutil.move(folder, late / folder.name)
    done = finished = 0
    while done < kills:
        # Deliveries land before, between and during the tries; each killed try leaves the next something to do.
        process = subprocess.Popen(command(home), start_new_session=True)
        time.sleep(chance.uniform(0.1, 1.0) * seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            done += 1
        elif process.returncode:
            raise RuntimeError(f"a try ended by itself with code {process.returncode}; its error stands above")
        else:
            finished += 1
        process.wait()
        if left := sorted(late.iterdir()):
            if done >= (kills // 6) * (6 - len(left)):
                shutil.move(left[0], home / "exports" / "shop" / left[0].name)
        elif process.returncode == 0:
            # Everything is there, so a delivery comes again.
            again = chance.choice(sorted((home / "exports" / "shop").iterdir()))
            os.utime(again / "orders.csv")
    for folder in late.iterdir():
        shutil.move(folder, home / "exports" / "shop" / folder.name)
    print(f"{done} killed, {finished} finished before they were", flush=True)
    subprocess.run(command(home), check=True)


def compare(calm: Path, killed: Path) -> list[str]:
    """Files of the lake that are not the same in both workspaces."""
    first, second = digests(calm), digests(killed)
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def digests(home: Path) -> dict[str, str]:
    """Digest of every file of the lake's tables."""
    lake = home / "lake"
    return {
        str(path.relative_to(lake)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in lake.rglob("*.parquet")
        if path.relative_to(lake).parts[:2] not in SKIPPED and ".staging" not in path.parts
    }


def command(home: Path) -> list[str]:
    """What ingests and cleans a workspace in a process of its own."""
    return [sys.executable, __file__, "--ingest", str(home)]


def ingest(home: Path) -> None:
    """What `crm-assets run` does before it scores."""
    os.environ.pop("DAGSTER_HOME", None)
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.ingest()
        runs.clean()


if __name__ == "__main__":
    sys.exit(main())
