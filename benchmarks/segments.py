"""Segmentation of a million customers: time and memory of fitting, scoring and describing them.

    python benchmarks/segments.py data            # a workspace that was run, such as the demonstration's
    python benchmarks/segments.py data 200000     # so many customers

The customers are those of the workspace's newest day, repeated under new identifiers with amounts up to 20% off. Features,
lifecycle and RFM cut points are taken as given; each step writes its rows as the pipeline does.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.features import CUSTOMER_FEATURES
from crm_assets.contracts.lifecycle import LIFECYCLE
from crm_assets.contracts.model import MONEY
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.lake.engine import Engine
from crm_assets.mining.cluster_scores import cluster_names_of
from crm_assets.mining.clustering import FEATURE_COLUMNS, fit_clusters
from crm_assets.mining.customer_dimensions import customer_dimensions
from crm_assets.mining.rfm import rfm_cuts
from crm_assets.mining.samples import as_floats, digest, sample_customers
from crm_assets.mining.segment_profiles import (
    described_customers,
    levels_by_segments,
    segment_overlap,
    segment_profiles,
    sums_by_segments,
)
from crm_assets.mining.segment_rules import SegmentRules, rule_ids
from crm_assets.mining.segment_trees import NUMBERS, WORDS, learn_rules
from crm_assets.mining.segments import customer_segments
from crm_assets.mining.strata import allocate, draw_strata, with_strata
from crm_assets.mining.value_curve import value_curve
from crm_assets.settings import load_settings

CUSTOMERS = 1_000_000
FIT, LEARN = 100_000, 500_000
"""Customers that clusters are fitted to and rules are learnt from, as in the pipeline."""

SEED = 20170101


def main() -> None:
    """Print the seconds of each step, and the most memory the process had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, nargs="?", default="data", help="a workspace that was run (default: data)")
    parser.add_argument("customers", type=int, nargs="?", default=CUSTOMERS, help=f"(default: {CUSTOMERS:,})")
    arguments = parser.parse_args()
    settings, count = load_settings(arguments.home), arguments.customers
    lake = lake_of(settings)
    contract = contract_of("features", CUSTOMER_FEATURES.name)
    as_of = date.fromisoformat(lake.partitions("features", contract)[-1][0])
    features = lake.read("features", contract)
    stages = lake.read("marts", contract_of("marts", LIFECYCLE.name))
    with tempfile.TemporaryDirectory() as scratch:
        step = Steps(lake.engine, Path(scratch))
        many = step.repeated(features.filter(features.as_of == as_of, features.orders_365d > 0), count)
        stages = step.repeated(stages.filter(stages.as_of == as_of), count)
        print(f"{many.count().to_pyarrow().as_py():,} customers as of {as_of}, {settings.threads} threads")
        started = time.perf_counter()
        with step("fit clusters"):
            drawn = sample_customers(many, FIT, SEED)
            rows = drawn.select("customer_id", **as_floats(drawn, FEATURE_COLUMNS)).to_pandas()
            model = fit_clusters(rows, SEED)
        with step("refit clusters"):
            model = fit_clusters(rows, SEED, model, review=False)
        with step("learn rules"):
            sampled = sample_customers(many, LEARN, SEED)
            table = sampled.select("as_of", "customer_id", *WORDS, label="amount_30d", **as_floats(sampled, NUMBERS))
            learnt = table.to_pandas()
            rules = SegmentRules({"value": learn_rules("value", learnt, learnt.head(1_000), SEED)[0]})
        measures = many.select(
            "as_of", "customer_id", "recency_days", frequency="orders", monetary=many.amount.cast(MONEY)
        )
        with step("score segments"):
            cuts = step.kept("cuts", rfm_cuts(measures))
            scored = customer_segments(measures, cuts, cluster_names_of(model, many), rule_ids(rules, many))
            segments = step.kept("segments", scored)
        with step("dimensions"):
            dimensions = step.kept("dimensions", customer_dimensions(many))
        with step("strata"):
            strata = with_strata(segments, ["value_tier", "cluster_name"])
            sizes = strata.group_by("stratum").agg(customers=strata.count()).to_pandas()
            quotas = allocate(dict(zip(sizes["stratum"], sizes["customers"], strict=True)), 1_000, {})
            step.kept("strata", draw_strata(strata, quotas, SEED))
        with (
            step("profiles and overlap"),
            lake.engine.held(described_customers(segments, dimensions, many, stages)) as customers,
        ):
            sums, levels = sums_by_segments(customers).to_pandas(), levels_by_segments(customers).to_pandas()
            segment_profiles(sums, levels)
            segment_overlap(sums)
        with step("value curve"):
            value_curve(segments).to_pandas()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"{'all':22} {time.perf_counter() - started:6.1f} s, at most {peak:.2f} GB of memory")


class Steps:
    """Times steps, and keeps tables as files."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Print how long a step takes."""
        started = time.perf_counter()
        yield
        print(f"{name:22} {time.perf_counter() - started:6.1f} s")

    def kept(self, name: str, table: ir.Table) -> ir.Table:
        """The table's rows, written and read as the lake does."""
        path = self.folder / f"{name}.parquet"
        self.engine.write_file(table, path, ["customer_id"] if "customer_id" in table.columns else [])
        return self.engine.scan(str(path), {}, name=name)

    def repeated(self, table: ir.Table, count: int) -> ir.Table:
        """The customers of a day again and again under new identifiers, so many of them."""
        times = -(-count // max(1, table.count().to_pyarrow().as_py()))
        numbers = ibis.range(times).unnest().name("copy").as_table()
        copies = table.cross_join(numbers)
        customer = copies.customer_id + "-" + copies["copy"].cast("string")
        changed: dict[str, Any] = {"customer_id": customer}
        # Four digits of the digest say by how much amounts are off: the same in every run.
        off = _fraction(digest([customer]))
        for name in (name for name in table.columns if name.startswith("amount_") and name.endswith("d")):
            changed[name] = copies[name].cast("float64") * (0.8 + 0.4 * off)
        rows = copies.mutate(**changed).drop("copy").limit(count)
        return self.kept(f"repeated_{'_'.join(table.columns[2:4])}", rows)


def _fraction(text: ir.StringValue) -> ir.FloatingValue:
    """A number from 0 to 1 from the first hexadecimal digits of a text."""
    total: ir.Value = ibis.literal(0.0)
    for place in range(3):
        total = total + ibis.literal("0123456789abcdef").find(text.substr(place, 1)) / 16.0 ** (place + 1)
    return total


if __name__ == "__main__":
    main()
