"""What each asset costs as the order lines grow: time, peak memory, bytes, growth, floors, and one more day.

Belongs here: timing `crm-assets run` on exports made by `scaled_exports.py`. Not here: making them.

At each size a process of its own ingests, cleans, trains and scores the exports of eleven months and a day, as
`crm-assets run` does; then one more daily export lands, and another process does the same with it. Marts of all history
are made anew on Sundays (`history_refresh_days = 7`), so that day, a Saturday, is one of six alike; on the seventh those
marts come on top, which take as long as in the rebuild. Steps are timed by what Dagster recorded; memory is what is
resident, looked at ten times a second. An asset's growth is the exponent of its time between two sizes: 1 is linear. A
floor is the engine reading the same columns of the same rows once; for an asset whose rows are many beside what it reads,
the engine reading and writing these once is named too.

    python benchmarks/scale.py [--lines N ...] [--memory-limit LIMIT ...] [--home FOLDER]

100 million lines want a limit of 5GB, 60 GB of disk and an hour and a half. What was made and measured in a folder that
was named is kept there and not measured again, so that sizes can be added one at a time.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import scaled_exports
from processes import take
from pydantic import TypeAdapter

from crm_assets import demo
from crm_assets.automation.history import HISTORY
from crm_assets.settings import write_settings
from crm_assets.sources.deliveries import Delivery

WEEK = 7
DAYS = 2
"""Daily exports after the historical one: the first lands with it, so that the rebuild trains the models of the month."""

HEAVIEST = 24
FLOORS = {
    "clean__transactions": ("validated/transactions", None),
    "profile__customer_days": (
        "clean/transactions",
        "customer_id, order_id, product_id, ordered_at, quantity, amount, discount, coupon_discount, is_return",
    ),
    "features__customer_features": ("clean/transactions", "customer_id, product_id, amount, is_return, day"),
    "features__training_features": ("clean/transactions", "customer_id, product_id, amount, is_return, day"),
    "marts__cross_sell_rules": ("clean/transactions", "order_id, product_id"),
}
"""For each heavy step the table it reads most of, and the columns of it; None for all."""

OF_HISTORY = {*(key.to_python_identifier() for key in HISTORY), "up_sell_offers"}
"""Steps that make marts of all history."""

NOTICED, LINEAR = 5, 1.1
"""Seconds from which a step's growth is held against the exponent that is aimed at."""

WRITTEN = {
    step: step.replace("__", "/")
    for step in ("clean__transactions", "profile__customer_days", "features__customer_features")
}
"""Tables that are written anew by their steps, for how long the engine takes to read and write them once."""


@dataclass
class Measured:
    """What one process of the pipeline took."""

    wall: float
    processor: float
    peak: int
    steps: defaultdict[str, float]
    peaks: dict[str, int]
    outside_steps: float


@dataclass
class Size:
    """What was measured at one size."""

    lines: int
    customers: int
    memory_limit: str
    whole: Measured
    more: Measured
    written: Counter[str] = field(default_factory=Counter)
    floors: dict[str, float] = field(default_factory=dict)
    copies: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure every size and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 10_000_000], help="order lines, about")
    parser.add_argument(
        "--memory-limit", nargs="+", default=["1200MB"], help="the engine's limit at each size, or at all"
    )
    parser.add_argument("--home", type=Path, help="a folder for the workspaces (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        limits = arguments.memory_limit * (len(arguments.lines) if len(arguments.memory_limit) == 1 else 1)
        home = arguments.home or Path(temporary)
        sizes = [known(home / str(lines), lines, limit) for lines, limit in zip(arguments.lines, limits, strict=True)]
    report(sizes)


def known(home: Path, lines: int, memory_limit: str) -> Size:
    """What was measured in a folder before, or is now."""
    kept, sizes = home / "measured.json", TypeAdapter(Size)
    if kept.exists():
        return sizes.validate_json(kept.read_bytes())
    size = measure(home, lines, memory_limit)
    kept.write_bytes(sizes.dump_json(size))
    return size


def measure(home: Path, lines: int, memory_limit: str) -> Size:
    """Run the pipeline at one size, then once more with one more day."""
    customers = lines // scaled_exports.LINES_A_CUSTOMER
    made = exported(home, lines, customers)
    waiting = home / "waiting"
    waiting.mkdir()
    first, later = (demo.HISTORY_ENDS + timedelta(days=number) for number in (DAYS - 1, DAYS))
    _folder(home, later).rename(waiting / later.isoformat())
    # Steps that are made beside each other could not be told apart.
    write_settings(home, end_date=demo.LAST_DAY, memory_limit=memory_limit, processes=1, history_refresh_days=WEEK)
    print(f"running {made:,} order lines ...", file=sys.stderr, flush=True)
    whole = run(home, first)
    (waiting / later.isoformat()).rename(_folder(home, later))
    print(f"running {later} ...", file=sys.stderr, flush=True)
    size = Size(made, customers, memory_limit, whole, run(home, later))
    for path in (home / "lake").rglob("*.parquet"):
        layer, table = path.relative_to(home / "lake").parts[:2]
        size.written[f"{layer}/{table}"] += path.stat().st_size
    size.floors = {step: floor(home, memory_limit, *reads) for step, reads in FLOORS.items()}
    size.copies = {step: copied(home, memory_limit, table) for step, table in WRITTEN.items()}
    return size


def exported(home: Path, lines: int, customers: int) -> int:
    """Make the exports, unless they were made before, and say how many order lines they have."""
    kept = home / "exported.txt"
    if not kept.exists():
        print(f"making about {lines:,} order lines ...", file=sys.stderr, flush=True)
        made = scaled_exports.scaled_exports(home, lines, customers, DAYS)
        kept.write_text(str(made), "utf-8")
    return int(kept.read_text("utf-8"))


def _folder(home: Path, day: date) -> Path:
    return Delivery(scaled_exports.SOURCE, day).folder(home / "exports")


def run(home: Path, as_of: date) -> Measured:
    """`crm-assets run --as-of` in a process of its own."""
    return measured(home, "-m", "crm_assets.cli", "run", "--as-of", as_of.isoformat())


def measured(home: Path, *arguments: str) -> Measured:
    """What Python takes with some arguments that make runs of a workspace, step by step."""
    began = time.time()
    taken = take([sys.executable, "-W", "ignore", *arguments], home)
    spans = _spans(home, began)
    steps, peaks = defaultdict(float), Counter()
    for step, start, end in spans:
        steps[step] += end - start
        peaks[step] = max(peaks[step], *(size for moment, size in taken.looks if start <= moment <= end), 0)
    inside = sum(steps.values())
    return Measured(taken.wall, taken.processor, taken.peak, steps, peaks, taken.wall - inside)


def _spans(home: Path, since: float) -> list[tuple[str, float, float]]:
    """Each step of the runs since a moment, with its start and end."""
    import dagster as dg

    from crm_assets.automation.instance import open_instance

    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
    spans = []
    with open_instance(home) as instance:
        for record in instance.get_run_records():
            if record.start_time < since:
                continue
            started = {}
            for entry in instance.all_logs(record.dagster_run.run_id, of_type=kinds):
                if entry.dagster_event.event_type is dg.DagsterEventType.STEP_START:
                    started[entry.step_key] = entry.timestamp
                else:
                    spans.append((entry.step_key, started[entry.step_key], entry.timestamp))
    return spans


def floor(home: Path, memory_limit: str, table: str, columns: str | None) -> float:
    """Seconds in which the engine, started anew with the pipeline's limits, reads these columns once."""
    rows = f"SELECT {columns or '*'} FROM {_files(home, table)}"
    return engine_alone(
        memory_limit,
        f"""
    names = c.sql("SELECT * FROM ({rows}) LIMIT 0").columns
    c.sql("SELECT " + ", ".join(f"bit_xor(hash({{name}}))" for name in names) + " FROM ({rows})").fetchall()
""",
    )


def copied(home: Path, memory_limit: str, table: str) -> float:
    """Seconds in which it reads and writes the newest rows of a table, or all of one that is made at once."""
    newest = max((home / "lake" / table).glob("as_of=*"), default=home / "lake" / table)
    with tempfile.TemporaryDirectory(dir=home) as temporary:
        rows = _files(home, newest.relative_to(home / "lake").as_posix())
        return engine_alone(
            memory_limit,
            f"""
    c.sql("COPY (SELECT * FROM {rows}) TO '{temporary}/copy.parquet' (COMPRESSION zstd)")
""",
        )


def _files(home: Path, table: str) -> str:
    return f"read_parquet('{home}/lake/{table}/**/*.parquet', hive_partitioning = true, union_by_name = true)"


def engine_alone(memory_limit: str, work: str) -> float:
    """Seconds of some work with a connection `c` in a process of its own, with the pipeline's limits."""
    script = f"""
import duckdb, time
with duckdb.connect(config={{'memory_limit': '{memory_limit}', 'threads': {os.cpu_count()}}}) as c:
    c.sql("SET enable_progress_bar = false")
    start = time.perf_counter()
{work}
    print(time.perf_counter() - start)
"""
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def growth(before: Size, largest: Size, step: str) -> float:
    """The exponent of a step's time between two sizes."""
    grown = math.log(max(largest.whole.steps[step], 0.01) / max(before.whole.steps[step], 0.01))
    return grown / math.log(largest.lines / before.lines)


def report(sizes: list[Size]) -> None:
    """Print the tables as markdown."""
    print(
        "| order lines | customers | memory_limit | wall | processor | peak memory | outside of steps | lake "
        "| one more day | on the seventh | mean of a week, of the rebuild |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for size in sizes:
        whole, day = size.whole, size.more.wall
        seventh = day + sum(seconds for step, seconds in whole.steps.items() if step in OF_HISTORY)
        mean = ((WEEK - 1) * day + seventh) / WEEK
        print(
            f"| {size.lines:,} | {size.customers:,} | {size.memory_limit} | {whole.wall:,.0f} s | {whole.processor:,.0f} s "
            f"| {max(whole.peak, size.more.peak) / 1e9:.2f} GB | {whole.outside_steps / whole.wall:.1%} "
            f"| {size.written.total() / 1e9:.2f} GB | {day:,.1f} s, {day / whole.wall:.1%} "
            f"| {seventh:,.1f} s, {seventh / whole.wall:.1%} | {mean / whole.wall:.1%} |"
        )
    before, largest = sizes[-2] if len(sizes) > 1 else None, sizes[-1]
    heads = [f"{size.lines / 1e6:.1f} million" for size in sizes]
    print(
        "\n| step | "
        + " | ".join(f"{head}: time, peak, one more day" for head in heads)
        + " | growth | floor | times the floor | written once |"
    )
    print("|---|" + "---|" * (len(sizes) + 4))
    heaviest = sorted(largest.whole.steps.items(), key=lambda step: -step[1])[:HEAVIEST]
    for step, seconds in heaviest:
        cells = [
            f"{size.whole.steps[step]:.1f} s, {size.whole.peaks.get(step, 0) / 1e9:.2f} GB, "
            f"{size.more.steps[step]:.1f} s"
            for size in sizes
        ]
        least, copy = largest.floors.get(step), largest.copies.get(step)
        grown = f"{growth(before, largest, step):.2f}" if before else ""
        floors = f"{least:.1f} s | {seconds / least:.1f} |" if least else " | |"
        print(f"| {step} | {' | '.join(cells)} | {grown} | {floors} {f'{copy:.1f} s' if copy else ''} |")
    if before:
        grown_by = {
            step: growth(before, largest, step) for step, took in largest.whole.steps.items() if took >= NOTICED
        }
        faster = sorted(f"{step} {exponent:.2f}" for step, exponent in grown_by.items() if exponent > LINEAR)
        print(
            f"\nSteps of {NOTICED} s and more that grow faster than lines to the {LINEAR}: {', '.join(faster) or 'none'}."
        )
    print("\n| table | " + " | ".join(heads) + " |\n|---|" + "---|" * len(sizes))
    for table, _ in largest.written.most_common(HEAVIEST):
        print(f"| {table} | " + " | ".join(f"{size.written[table] / 1e6:,.1f} MB" for size in sizes) + " |")


if __name__ == "__main__":
    main()
