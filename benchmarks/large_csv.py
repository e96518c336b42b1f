"""Peak memory and time of ingesting one large csv, beside the engine reading the same file once: at most 2 GB for 2 GB.

Belongs here: a made-up export of order lines of any size, through raw, validated and quarantine. Not here: what comes
after ingestion.

Ingestion runs in a process of its own; its peak is its largest resident set. The floor counts the file's rows in a
process that does nothing else. One line in a thousand has an amount that is no number.

    python benchmarks/large_csv.py [--gigabytes N] [--home FOLDER]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crm_assets.automation.instance import open_instance
from crm_assets.runs import Runs
from crm_assets.settings import load_settings, write_settings

HEADER = "order_id,line_id,customer_id,product_id,ordered_at,quantity,amount\n"
MEBIBYTE_KIB = 1024
TARGET_MIB = 2_000


def main() -> int:
    """Print sizes, times and peaks; 1 when the peak is over the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the csv")
    parser.add_argument("--home", type=Path, help="an empty folder for the workspace; default a temporary one")
    parser.add_argument("--ingest", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--floor", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ingest:
        ingest(arguments.ingest)
        return 0
    if arguments.floor:
        read_once(arguments.floor)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        return measure(arguments.home or Path(temporary), int(arguments.gigabytes * 1e9))


def measure(home: Path, size: int) -> int:
    """Make the file, ingest it, read it, and compare."""
    path = home / "exports" / "canonical" / "2024-12-31" / "transactions.csv"
    lines = write_lines(path, size)
    print(f"{path.stat().st_size / 1e9:.2f} GB, {lines:,} lines", flush=True)
    write_settings(home)
    floor, floor_peak = run("--floor", path)
    print(f"the engine reads it once: {floor:7.1f} s, peak {floor_peak:6.0f} MiB", flush=True)
    taken, peak = run("--ingest", home)
    print(f"ingestion:                {taken:7.1f} s, peak {peak:6.0f} MiB; target {TARGET_MIB} MiB")
    print(f"{taken / floor:.1f} times the floor, {lines / taken:,.0f} lines a second")
    return int(peak > TARGET_MIB)


def write_lines(path: Path, size: int) -> int:
    """Write order lines of a year until the file has about `size` bytes; gives how many."""
    path.parent.mkdir(parents=True)
    lines = 0
    with path.open("w", encoding="utf-8", buffering=1 << 20) as file:
        file.write(HEADER)
        while file.tell() < size:
            block = []
            for number in range(lines, lines + 100_000):
                order, day = number // 4, number % 366
                amount = "n/a" if number % 1000 == 999 else f"{number % 9973 / 100:.2f}"
                when = f"2024-{day // 31 + 1:02}-{day % 28 + 1:02} {number % 24:02}:{number % 60:02}:00"
                block.append(
                    f"o{order:09},{number % 4 + 1},c{order % 1_000_003},p{number % 20_011},{when},1,{amount}\n"
                )
            file.writelines(block)
            lines += len(block)
    return lines


def run(step: str, target: Path) -> tuple[float, float]:
    """Seconds and peak MiB of one step in a process of its own."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-W", "ignore", __file__, step, str(target)])
    _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{step} failed with exit code {process.returncode}")
    return time.perf_counter() - begin, used.ru_maxrss / MEBIBYTE_KIB


def ingest(home: Path) -> None:
    """What `crm-assets run` does before it cleans; fails unless every line is valid or in quarantine."""
    with open_instance(home) as instance:
        Runs(load_settings(home), instance, lambda doing: None).ingest()


def read_once(path: Path) -> None:
    """Count the file's rows with every column read."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '1GB'")
        connection.execute("SELECT count(COLUMNS(*)) FROM read_csv(?, all_varchar = true)", [str(path)]).fetchall()


if __name__ == "__main__":
    sys.exit(main())
