"""What loading the code location takes beside `import dagster`: at most twice as long.

Dagster's webserver, daemon and each run load it anew. Both are timed in turn, each time in a new process, on an empty
workspace.

    python benchmarks/code_location.py --help
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from processes import Taken, take

TARGET = 2.0


def main() -> int:
    """Time both and print the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7, help="how often each is timed (default: 7)")
    times = parser.parse_args().times
    taken: dict[str, list[Taken]] = {"import dagster": [], "import crm_assets.app": []}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(1 + times):
            for statement, found in taken.items():
                found.append(take([sys.executable, "-c", statement], Path(home)))
    # The first of each may read from disk.
    counted = {statement: found[1:] for statement, found in taken.items()}
    wall, processor = (
        {statement: median(getattr(each, what) for each in found) for statement, found in counted.items()}
        for what in ("wall", "processor")
    )
    print(f"{'median of ' + str(times):<24}{'wall':>8}{'processor':>12}")
    for statement in counted:
        print(f"{statement:<24}{wall[statement]:>6.2f} s{processor[statement]:>10.2f} s")
    dagster, location = counted
    ratio = processor[location] / processor[dagster]
    print(f"{'ratio':<24}{wall[location] / wall[dagster]:>7.2f}x{ratio:>11.2f}x   target {TARGET:.0f}x")
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())
